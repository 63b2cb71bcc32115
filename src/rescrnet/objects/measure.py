"""Measure the objects of a plane of any size, band by band: what adds up is summed, hulls are made when an object ends.

Lengths are in pixels; definitions are those of scikit-image's ``regionprops`` where it has one of that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, cKDTree

from rescrnet.inference.region import Region
from rescrnet.objects.find import Objects

Floats = NDArray[np.float64]

_SHIFTS = [(0, 1), (1, -1), (1, 0), (1, 1)]  # to half of the neighbours of a pixel
_BESIDE, _ACROSS = [(0, 1), (0, -1), (1, 0), (-1, 0)], [(1, 1), (1, -1), (-1, 1), (-1, -1)]


class Pixels(Protocol):
    """An intensity image, read by region."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels."""

    def read(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """(rows, columns, channels), as stored."""


class Hulls(NamedTuple):
    """Of each object, from the convex hull of its pixels, whose corners count.

    Attributes:
        area: pixels.
        longest: the largest width, Feret's diameter.
        shortest: the smallest.
        longest_um: as ``longest``, in micrometres; NaN where the size of a pixel is not known.
        shortest_um: likewise.
    """

    area: Floats
    longest: Floats
    shortest: Floats
    longest_um: Floats
    shortest_um: Floats


@dataclass(frozen=True)
class Measured:
    """What was measured of the objects 1, 2, … of a plane; arrays have one entry, or row, for each.

    Attributes:
        boxes: first row, row after the last, first column, column after the last; int.
        area: pixels.
        centroid: y and x; of a pixel its centre, which has whole coordinates.
        moments: central second moments by area, yy, xx and yx.
        perimeter: of lines through the outermost pixels, 4-connected (as ``skimage.measure.perimeter``).
        hulls: see :class:`Hulls`.
        neighbours: how many other objects it touches, at sides or corners.
        at_border: whether the border of the image cuts it.
        intensity: mean, std, min and max, (objects, channels) each; nothing without an image.
    """

    boxes: NDArray[np.int32]
    area: Floats
    centroid: Floats
    moments: Floats
    perimeter: Floats
    hulls: Hulls
    neighbours: NDArray[np.int64]
    at_border: NDArray[np.bool_]
    intensity: tuple[Floats, Floats, Floats, Floats] | None = None

    def nearest(self, step: tuple[float, float] = (1.0, 1.0)) -> Floats:
        """Distance of each centroid to the next one, pixels of ``step`` high and wide; NaN for an only object."""
        if len(self.area) < 2:
            return np.full(len(self.area), np.nan)
        scaled = self.centroid * step
        distances, _ = cKDTree(scaled).query(scaled, k=2)
        return np.asarray(distances, np.float64)[:, 1]


def measure(
    objects: Objects,
    image: Pixels | None = None,
    *,
    pixel_size: tuple[float, float] | None = None,
    band: int | None = None,
) -> Measured:
    """Measure all objects of a plane.

    Args:
        objects: numbered.
        image: of the same rows and columns, whose intensities are measured.
        pixel_size: height and width of a pixel, micrometres, where known.
        band: rows that are read at once; all where left out.
    """
    sums = _Sums.of(objects, image, pixel_size)
    rows, columns = objects.shape
    for y0 in range(0, rows, band or rows):
        y1 = min(rows, y0 + (band or rows))
        region = Region(y0, y1, 0, columns)
        wide = region.with_halo(2, objects.shape)
        numbers = np.pad(objects.read(wide), ((2 - (y0 - wide.y0), 2 - (wide.y1 - y1)), (2, 2)))
        sums.add_shapes(numbers, y0)
        if image is not None:
            sums.add_intensities(numbers[2:-2, 2:-2], image.read(y0, y1, 0, columns))
        sums.close_hulls(y1)
    return sums.measured()


@dataclass
class _Sums:
    """What adds up over bands; index 0 is the background's and means nothing."""

    objects: Objects
    pixel_size: tuple[float, float] | None
    area: Floats
    first: Floats  # sums of y and x from the corner of the box
    second: Floats  # of yy, xx and yx
    perimeter: Floats
    hulls: Floats
    totals: Floats  # (2, objects, channels): of intensities and their squares, from the first value of each object
    offsets: Floats
    lowest: Floats
    highest: Floats
    pairs: list[NDArray[np.int64]] = field(default_factory=list)
    open_runs: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 4), np.int32))

    @classmethod
    def of(cls, objects: Objects, image: Pixels | None, pixel_size: tuple[float, float] | None) -> _Sums:
        """Nothing summed yet."""
        count, channels = objects.count + 1, 0 if image is None else image.shape[2]
        return cls(
            objects,
            pixel_size,
            np.zeros(count),
            np.zeros((count, 2)),
            np.zeros((count, 3)),
            np.zeros(count),
            np.full((count, 5), np.nan),
            np.zeros((2, count, channels)),
            np.full((count, channels), np.nan),
            np.full((count, channels), np.inf),
            np.full((count, channels), -np.inf),
        )

    def add_shapes(self, numbers: NDArray[np.int32], y0: int) -> None:
        """Count the pixels of a band that begins at row ``y0``, ``numbers`` with two pixels around it."""
        middle, count = numbers[2:-2, 2:-2], len(self.area)
        rows, columns = np.nonzero(middle)
        found = middle[rows, columns]
        corners = self.objects.boxes[found - 1]
        y, x = (rows + y0 - corners[:, 0]).astype(np.float64), (columns - corners[:, 2]).astype(np.float64)

        def total(values: Floats | None) -> Floats:
            return np.bincount(found, values, count).astype(np.float64)

        self.area += total(None)
        self.first += np.stack([total(y), total(x)], axis=1)
        self.second += np.stack([total(y * y), total(x * x), total(y * x)], axis=1)
        self.perimeter += total(_contour(numbers)[rows, columns])
        runs = _runs(middle, y0)
        self.open_runs = np.concatenate([self.open_runs, runs])
        self.pairs.append(_touching(numbers[2:-1, 1:-1]))

    def add_intensities(self, numbers: NDArray[np.int32], image: NDArray[Any]) -> None:
        """Sum the intensities of a band."""
        inside = numbers > 0
        found, count = numbers[inside], len(self.area)
        for channel in range(image.shape[2]):
            values = image[..., channel][inside].astype(np.float64)
            present, at = np.unique(found, return_index=True)
            new = present[np.isnan(self.offsets[present, channel])]
            self.offsets[new, channel] = values[at[np.isin(present, new)]]
            relative = values - self.offsets[found, channel]
            self.totals[0, :, channel] += np.bincount(found, relative, count)
            self.totals[1, :, channel] += np.bincount(found, relative * relative, count)
            np.minimum.at(self.lowest[:, channel], found, values)
            np.maximum.at(self.highest[:, channel], found, values)

    def close_hulls(self, y1: int) -> None:
        """Make the hulls of the objects that end above row ``y1``."""
        ended = self.objects.boxes[self.open_runs[:, 0] - 1, 1] <= y1
        runs, self.open_runs = self.open_runs[ended], self.open_runs[~ended]
        for number, corners in _corners(runs):
            hull = ConvexHull(corners)
            points = corners[hull.vertices]
            self.hulls[number, :3] = (hull.volume, *_widths(points))
            if self.pixel_size:
                self.hulls[number, 3:] = _widths(points * self.pixel_size)

    def measured(self) -> Measured:
        """The measures of all objects."""
        area, boxes, rows_columns = self.area[1:], self.objects.boxes, self.objects.shape
        mean = self.first[1:] / area[:, None]
        square = np.stack([mean[:, 0] ** 2, mean[:, 1] ** 2, mean[:, 0] * mean[:, 1]], axis=1)
        moments = self.second[1:] / area[:, None] - square
        pairs = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *self.pairs]), axis=0)
        return Measured(
            boxes=boxes,
            area=area,
            centroid=mean + boxes[:, [0, 2]],
            moments=moments,
            perimeter=self.perimeter[1:],
            hulls=Hulls(*self.hulls[1:].T),
            neighbours=np.bincount(pairs.ravel(), minlength=len(area) + 1)[1:],
            at_border=(boxes[:, [0, 2]] == 0).any(1) | (boxes[:, [1, 3]] == rows_columns).any(1),
            intensity=self._intensity() if self.totals.shape[2] else None,
        )

    def _intensity(self) -> tuple[Floats, Floats, Floats, Floats]:
        mean, square = self.totals[:, 1:] / self.area[1:, None]
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        return mean + self.offsets[1:], spread, self.lowest[1:], self.highest[1:]


def _contour(numbers: NDArray[np.int32]) -> Floats:
    """What each pixel adds to the perimeter of its object; ``numbers`` with two pixels around those asked for.

    Of the pixels at the edge of an object, the way to the next of them is 1 or √2, by how many lie beside and across
    (Benkrid and Crookes 2000, as in scikit-image).
    """
    height, width = numbers.shape

    def shifted(array: NDArray[Any], margin: int, dy: int, dx: int) -> NDArray[Any]:
        return array[margin + dy : height - margin + dy, margin + dx : width - margin + dx]

    inner = shifted(numbers, 1, 0, 0)
    edge = np.zeros(numbers.shape, bool)
    edge[1:-1, 1:-1] = np.any([shifted(numbers, 1, dy, dx) != inner for dy, dx in _BESIDE], axis=0) & (inner > 0)
    own = shifted(numbers, 2, 0, 0)

    def edges(shifts: list[tuple[int, int]]) -> NDArray[np.int64]:
        same = [(shifted(numbers, 2, dy, dx) == own) & shifted(edge, 2, dy, dx) for dy, dx in shifts]
        return np.asarray(np.sum(same, axis=0), np.int64)

    return np.where(shifted(edge, 2, 0, 0), _STEPS[edges(_BESIDE), edges(_ACROSS)], 0.0)


def _steps() -> Floats:
    """The way that an edge pixel adds, by how many edge pixels lie beside and across it."""
    steps, root = np.zeros((5, 5)), np.sqrt(2.0)
    for beside, across, way in (
        *((beside, across, 1) for beside in (2, 3) for across in range(3)),
        (0, 2, root),
        (1, 3, root),
    ):
        steps[beside, across] = way
    for beside, across in ((1, 1), (1, 2)):
        steps[beside, across] = (1 + root) / 2
    return steps


_STEPS = _steps()


def _runs(numbers: NDArray[np.int32], y0: int) -> NDArray[np.int32]:
    """Of each object in each row: its number, the row, its first column, the column after its last; (runs, 4)."""
    rows, columns = np.nonzero(np.diff(numbers, axis=1, prepend=0, append=0))
    padded = np.pad(numbers, ((0, 0), (1, 1)))
    begins, ends = padded[rows, columns + 1], padded[rows, columns]
    start, stop = begins > 0, ends > 0
    runs = np.stack([begins[start], rows[start] + y0, columns[start], columns[stop]], axis=1)
    order = np.lexsort((runs[:, 2], runs[:, 1], runs[:, 0]))
    runs = runs[order]
    new = np.flatnonzero(np.any(np.diff(runs[:, :2], axis=0, prepend=-1), axis=1))
    if not new.size:
        return np.zeros((0, 4), np.int32)
    last = np.maximum.reduceat(runs[:, 3], new)
    return np.stack([runs[new, 0], runs[new, 1], runs[new, 2], last], axis=1).astype(np.int32)


def _touching(numbers: NDArray[np.int32]) -> NDArray[np.int64]:
    """Pairs of objects of which pixels are neighbours; ``numbers`` with a pixel around but above."""
    pairs = []
    height, width = numbers.shape
    for dy, dx in _SHIFTS:
        one = numbers[: height - 1, 1:-1]
        other = numbers[dy : height - 1 + dy, 1 + dx : width - 1 + dx]
        meet = (one != other) & (one > 0) & (other > 0)
        pairs.append(np.stack([one[meet], other[meet]], axis=1))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0).astype(np.int64)


def _corners(runs: NDArray[np.int32]) -> Iterator[tuple[int, Floats]]:
    """Of each object the corners of its outermost pixels in each row, (corners, 2)."""
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    new = np.flatnonzero(np.diff(runs[:, 0], prepend=0))  # numbers begin at 1
    y, x0, x1 = runs[:, 1], runs[:, 2], runs[:, 3]
    corners = np.stack([[y, x0], [y + 1, x0], [y, x1], [y + 1, x1]]).transpose(2, 0, 1).astype(np.float64)
    for start, stop in zip(new, [*new, len(runs)][1:], strict=True):
        yield int(runs[start, 0]), corners[start:stop].reshape(-1, 2)


def _widths(points: Floats) -> tuple[float, float]:
    """Largest and smallest width of a convex polygon; the smallest is across one of its sides."""
    apart = points[:, None] - points[None]
    sides = np.roll(points, -1, axis=0) - points
    across = np.abs(apart[..., 0, None] * sides[:, 1] - apart[..., 1, None] * sides[:, 0]).max((0, 1))
    return float(np.sqrt((apart**2).sum(-1).max())), float((across / np.hypot(*sides.T)).min())


def axes_of(moments: Floats, step: tuple[float, float]) -> tuple[Floats, Floats]:
    """Eccentricity, and orientation in degrees: of the long axis from the columns, counterclockwise, in (-90, 90].

    Fiji's angle and QuPath's; scikit-image counts radians from the rows.
    """
    yy, xx, yx = moments[:, 0] * step[0] ** 2, moments[:, 1] * step[1] ** 2, moments[:, 2] * step[0] * step[1]
    spread = np.hypot((yy - xx) / 2, yx)
    large, small = (yy + xx) / 2 + spread, (yy + xx) / 2 - spread
    ratio = np.divide(small, large, out=np.ones_like(large), where=large > 0)
    eccentricity = np.sqrt((1 - ratio).clip(0, 1))
    return eccentricity, np.degrees(np.arctan2(-2 * yx, xx - yy) / 2)
