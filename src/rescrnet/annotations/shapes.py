"""Shapes of annotations, and the pixels that they cover: those whose centres they hold.

Coordinates are those of LabelMe, COCO, QuPath and ImageJ alike: x to the right and y down from the upper left corner of
the upper left pixel, whose centre is at (0.5, 0.5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rescrnet.errors import DataError
from rescrnet.wording import count, size

OBJECT = "object"
"""The class of outlines that say none."""
BACKGROUND = ("background", "_background_")
UNLABELLED = ("__ignore__", "ignore", "ignore*")
"""Classes, in small letters, that mean no class, and that nothing is said of these pixels (LabelMe, QuPath)."""
_BEYOND = 0.1  # share of a side by which an outline may stick out of the image; farther out it was drawn on another
_ROUNDING = 1e-8  # pixels by which an outline is moved, so that one that should pass through a centre does

Ring = NDArray[np.float64]
"""The corners of a closed outline, (n, 2), x and y."""


@dataclass(frozen=True, eq=False)
class Patch:
    """Pixels of a shape that is no polygon: its mask, YX bool, and the row and column where that begins."""

    mask: NDArray[np.bool_]
    row: int = 0
    column: int = 0


@dataclass(frozen=True, eq=False)
class Shape:
    """What a person outlined.

    Attributes:
        name: of its class.
        areas: polygons, each with the rings of its holes, and patches; the shape is all of them together.
        number: of the object, where several shapes are one; none for an object of its own.
    """

    name: str
    areas: Sequence[Sequence[Ring] | Patch]
    number: Hashable = None


@dataclass
class Annotated:
    """What a file says of one image.

    Attributes:
        image: the name of its file; nothing where the file does not say.
        size: its height and width, where the file says.
        shapes: what is outlined, in the order in which it is drawn.
        passed_over: shapes without an area, by what they are called, such as points and lines.
    """

    image: str = ""
    size: tuple[int, int] | None = None
    shapes: list[Shape] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, sorted; without those that mean background or unlabelled."""
        named = {shape.name for shape in self.shapes}
        return tuple(sorted(name for name in named if name.lower() not in (*BACKGROUND, *UNLABELLED)))


def ring(points: ArrayLike) -> Ring:
    """The ring of a list of points, or of x and y by turns. Raises :class:`ValueError` where they are none."""
    corners = np.asarray(points, np.float64)
    corners = corners.reshape(-1, 2) if corners.ndim == 1 else corners[:, :2]
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise ValueError("a point is not two numbers")
    return corners


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Ring:
    """The ring of a rectangle, from one corner to the opposite one."""
    return ring([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def ellipse(x: float, y: float, across: float, down: float) -> Patch:
    """The pixels of an ellipse about (x, y) with these half axes; a centre on its very outline is inside."""
    row, column = (int(np.floor(low)) for low in (y - down, x - across))
    rows = np.arange(row, np.ceil(y + down)) + 0.5
    columns = np.arange(column, np.ceil(x + across)) + 0.5
    if not (across > 0 and down > 0):
        return Patch(np.zeros((0, 0), bool), row, column)
    return Patch(((rows - y) / down)[:, None] ** 2 + ((columns - x) / across) ** 2 <= 1, row, column)


def fill(rings: Iterable[Ring], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of an image of ``shape`` whose centres lie within rings; where two overlap is a hole.

    A centre on the very outline belongs to the polygon below it, or to the left, as in ImageJ's PolygonFiller: of two
    polygons with a common side each pixel is in one.

    Returns:
        YX bool.
    """
    height, width = shape
    crossed = np.zeros((height, width + 1), np.int32)  # outlines that each row crosses before each centre
    for corners in rings:
        x0, y0 = corners.T
        x1, y1 = np.roll(corners, -1, axis=0).T
        first, last = (
            np.clip(np.ceil(y - 0.5), 0, height).astype(int) for y in (np.minimum(y0, y1), np.maximum(y0, y1))
        )
        sides = np.repeat(np.arange(len(corners)), last - first)
        rows = np.arange(len(sides)) - np.repeat(np.cumsum(last - first) - last, last - first)
        at = x0[sides] + (rows + 0.5 - y0[sides]) * (x1[sides] - x0[sides]) / (y1[sides] - y0[sides])
        columns = np.floor(at + 0.5 + _ROUNDING)
        np.add.at(crossed, (rows, np.clip(columns, 0, width).astype(int)), 1)
    return np.asarray(np.cumsum(crossed, axis=1)[:, :width] % 2 == 1)


def draw(found: Annotated, shape: tuple[int, int], where: object, *, numbered: bool = False) -> NDArray[np.int32]:
    """The mask that shapes mean, later ones over earlier ones; what no shape covers is background.

    Args:
        found: what was outlined.
        shape: height and width of the image.
        where: the file, for messages.
        numbered: number the objects from 1; otherwise 1 stands for the first of the classes, 2 for the second, …

    Returns:
        YX, 0 the background, -1 unlabelled.

    Raises:
        DataError: the file was made for an image of another size, or a shape lies outside of this one.
    """
    if found.size and found.size != shape:
        raise DataError(
            where,
            f"was drawn on an image of {size(found.size)}, but the image is {size(shape)}",
            "put the image beside it that it was drawn on, or draw it anew",
        )
    values = {name: value for value, name in enumerate(found.names, start=1)}
    values |= dict.fromkeys((one.name for one in found.shapes if one.name.lower() in BACKGROUND), 0)
    objects: dict[Any, int] = {}
    mask = np.zeros(shape, np.int32)
    for place, one in enumerate(found.shapes):
        _check_place(one, shape, where)
        value = values.get(one.name, -1)
        if numbered and value > 0:
            value = objects.setdefault(place if one.number is None else (one.name, one.number), len(objects) + 1)
        for area in one.areas:
            rows, columns, covered = _pixels(area, shape)
            mask[rows, columns][covered] = value
    return mask


def _pixels(area: Sequence[Ring] | Patch, shape: tuple[int, int]) -> tuple[slice, slice, NDArray[np.bool_]]:
    """A part of an image, and which pixels of it an area covers."""
    if isinstance(area, Patch):
        row, column = max(0, area.row), max(0, area.column)
        covered = area.mask[row - area.row :, column - area.column :]
        covered = covered[: max(0, shape[0] - row), : max(0, shape[1] - column)]
    else:
        low, high = _bounds(area)
        column, row = (int(np.clip(np.floor(edge), 0, side)) for edge, side in zip(low, shape[::-1], strict=True))
        right, below = (int(np.clip(np.ceil(edge), 0, side)) for edge, side in zip(high, shape[::-1], strict=True))
        covered = fill([corners - (column, row) for corners in area], (max(0, below - row), max(0, right - column)))
    return slice(row, row + covered.shape[0]), slice(column, column + covered.shape[1]), covered


def _bounds(area: Sequence[Ring] | Patch) -> NDArray[np.float64]:
    """The least and the greatest x and y of an area, (2, 2)."""
    if isinstance(area, Patch):
        height, width = area.mask.shape
        return np.array([[area.column, area.row], [area.column + width, area.row + height]], np.float64)
    corners = np.concatenate(list(area))
    return np.stack([corners.min(0), corners.max(0)])


def _check_place(one: Shape, shape: tuple[int, int], where: object) -> None:
    """Refuse a shape that was drawn on another image; what merely sticks out is cut off."""
    sides = np.array(shape[::-1], np.float64)
    for area in one.areas:
        low, high = _bounds(area)
        if (high <= 0).any() or (low >= sides).any() or (np.maximum(-low, high - sides) > _BEYOND * sides).any():
            reach = " to ".join(f"({x:.0f}, {y:.0f})" for x, y in (low, high))
            raise DataError(
                where,
                f"an outline of '{one.name}' reaches from {reach}, outside of the image of {size(shape)}",
                "put the image beside it that it was drawn on, at the same size",
            )


def nothing_drawn(found: Annotated, where: object) -> None:
    """Raise :class:`DataError` where a file holds shapes, but none that has an area."""
    if found.passed_over and not found.shapes:
        raise DataError(where, f"holds {listed(found.passed_over)}, which have no area", "outline the objects instead")


def listed(passed_over: Counter[str]) -> str:
    """``2 points, 1 line``."""
    return ", ".join(count(number, name) for name, number in sorted(passed_over.items()))
