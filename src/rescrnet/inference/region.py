"""Rectangles of an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rescrnet.ops.separable import Cut


class Region(NamedTuple):
    """Rows from y0 up to y1 and columns from x0 up to x1 of an image."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """What indexes the region in an array (Y, X)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def transposed(self) -> Region:
        """The same part of the image whose rows are the columns of this one."""
        return Region(self.x0, self.x1, self.y0, self.y1)

    def overlaps(self, other: Region) -> bool:
        """Whether a pixel lies in both."""
        return self.y0 < other.y1 and other.y0 < self.y1 and self.x0 < other.x1 and other.x0 < self.x1

    def with_halo(self, halo: int, shape: tuple[int, int]) -> Region:
        """The region with ``halo`` pixels more to every side, as far as an image of ``shape`` (Y, X) goes."""
        return Region(
            max(0, self.y0 - halo),
            min(shape[0], self.y1 + halo),
            max(0, self.x0 - halo),
            min(shape[1], self.x1 + halo),
        )

    def divided(self, side: int) -> Region:
        """The squares of ``side`` pixels that hold the region, as a region of an image with a pixel for each square."""
        return Region(self.y0 // side, -(-self.y1 // side), self.x0 // side, -(-self.x1 // side))

    def multiplied(self, side: int, shape: tuple[int, int]) -> Region:
        """The opposite of :meth:`divided`, as far as an image of ``shape`` (Y, X) goes."""
        y0, y1, x0, x1 = (place * side for place in self)
        return Region(y0, min(shape[0], y1), x0, min(shape[1], x1))

    def crop_within(self, outer: Region) -> Cut:
        """How much larger ``outer``, in which the region lies, is at each side."""
        return Cut(self.y0 - outer.y0, outer.y1 - self.y1, self.x0 - outer.x0, outer.x1 - self.x1)


def grid(shape: tuple[int, int], height: int, width: int) -> Iterator[tuple[tuple[int, int], Region]]:
    """The cells of an image of ``shape`` (Y, X), row by row: ((row, column), region); the last ones may be smaller."""
    for row, y0 in enumerate(range(0, shape[0], height)):
        for column, x0 in enumerate(range(0, shape[1], width)):
            yield (row, column), Region(y0, min(shape[0], y0 + height), x0, min(shape[1], x0 + width))
