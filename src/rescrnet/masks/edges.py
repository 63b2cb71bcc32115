"""Antialiased edges: in a mask drawn or resized smoothly, outlines hold values between those of the areas they part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

_REACH = 5  # side of the window about an edge pixel that must show both areas: edges are a few pixels wide
_FAR = 17  # side of the window about it that must show one: enlarged edges are wide
_NEARLY_ALL = 0.9
_MOST = 0.6
_MOST_OF_A_MASK = 0.6  # a mask of which more is in no area is a picture
_NEVER = np.iinfo(np.int32).max

Codes = NDArray[np.signedinteger[Any]]
"""YX: what a mask says of each pixel, as one integer; -1 where it says nothing."""

Points = Callable[[Codes], Codes]
"""Codes (n,) → what they mean as numbers that can be mixed (n, k): one grey level, or red, green and blue."""


class Mixtures(NamedTuple):
    """How many pixels of no area look like a mixture of areas.

    Attributes:
        pixels: of no area.
        mixed: those near an area that form no area of their own, with values such as there are about them.
        between: those of them whose value lies between others next to them; on thin walls none does.
    """

    pixels: int = 0
    mixed: int = 0
    between: int = 0

    @classmethod
    def of(cls, codes: Codes, areas: Sequence[int], points: Points) -> Mixtures:
        """Look at every pixel that is in no area.

        Args:
            codes: YX, negative where unlabelled.
            areas: the codes of the classes.
            points: see :data:`Points`.
        """
        area = np.isin(codes, areas)
        rest = ~area & (codes >= 0)
        if not rest.any():
            return cls()
        if rest.mean() > _MOST_OF_A_MASK:
            return cls(int(rest.sum()))
        solid = _solid(codes)
        near = maximum_filter((solid & area).view(np.uint8), _FAR)[rest] > 0
        inside = np.zeros(near.shape, bool)
        for channel in np.moveaxis(points(codes), -1, 0):
            value = channel[rest]
            low = minimum_filter(np.where(codes >= 0, channel, _NEVER), 3)[rest]
            high = maximum_filter(np.where(codes >= 0, channel, -1), 3)[rest]
            inside |= (low < value) & (value < high)
        mixed = near & ~solid[rest]
        return cls(int(rest.sum()), int(mixed.sum()), int((mixed & inside).sum()))

    def __add__(self, other: object) -> Mixtures:
        """Those of two masks together."""
        if not isinstance(other, Mixtures):
            return NotImplemented
        return Mixtures(self.pixels + other.pixels, self.mixed + other.mixed, self.between + other.between)

    @property
    def are_edges(self) -> bool:
        """Whether nearly all of the pixels are antialiased edges."""
        return self.mixed >= _NEARLY_ALL * self.pixels and self.are_interpolated

    @property
    def are_interpolated(self) -> bool:
        """Whether most of the pixels have values that no one drew."""
        return 0 < self.pixels <= self.between / _MOST


def slopes(codes: Codes, levels: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """Of each grey level: its pixels, those in the middle of a 3×3 square of it, and those with a lower level and a
    higher one next to them.

    Where walls of a pixel were enlarged smoothly by any factor, no level between is three pixels wide, and all but the
    highest lie on a slope.
    """
    low, high = minimum_filter(codes, 3), maximum_filter(codes, 3)
    found = {}
    for code in levels:
        here = codes == code
        solid, slope = here & (low == high), here & (low < code) & (high > code)
        found[code] = int(here.sum()), int(solid.sum()), int(slope.sum())
    return found


def touching(codes: Codes, levels: Sequence[int]) -> tuple[int, int]:
    """The pixels of some grey levels, and those of them that have another of these levels next to them."""
    here = np.isin(codes, levels)
    low = minimum_filter(np.where(here, codes, np.iinfo(codes.dtype).max), 3)
    high = maximum_filter(np.where(here, codes, np.iinfo(codes.dtype).min), 3)
    return int(here.sum()), int((here & (low < high)).sum())


def settle_edges(codes: Codes, areas: Sequence[int], points: Points) -> Codes:
    """The codes with those at edges replaced by the area next to them whose value is nearest.

    Between black and white a mixture is black or white, even where a class of its own has that very grey.
    """
    edge = ~_solid(codes) & (codes >= 0)
    near = _near(codes, areas, edge)
    near[near.sum(1) < 2] = True  # of a slit or wall so thin that the other area is nowhere pure
    distance = np.abs(points(codes[edge])[:, None] - points(np.array(areas))).sum(-1)
    settled = codes.copy()
    settled[edge] = np.array(areas)[np.where(near, distance, np.iinfo(np.int64).max).argmin(1)]
    return settled


def _near(codes: Codes, areas: Sequence[int], edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which areas are near each edge pixel: (pixels, areas)."""
    solid = _solid(codes)
    near = [maximum_filter((solid & (codes == area)).view(np.uint8), _REACH)[edge] > 0 for area in areas]
    return np.stack(near, axis=1)


def _solid(codes: Codes) -> NDArray[np.bool_]:
    """The pixels that belong to a 2×2 square of one code."""
    corner = codes[:-1, :-1]
    square = (corner == codes[1:, :-1]) & (corner == codes[:-1, 1:]) & (corner == codes[1:, 1:])
    square = np.pad(square, 1)
    return np.asarray(square[1:, 1:] | square[:-1, 1:] | square[1:, :-1] | square[:-1, :-1])
