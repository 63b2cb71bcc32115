"""What each pixel says of objects: whether it belongs to one, surely belongs to one, and how high a wall it is.

All of it follows from the pixels within :attr:`Evidence.halo`, so that a window says of its middle what the whole image
says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, maximum_filter

from rescrnet.inference.region import Region
from rescrnet.object_settings import ObjectSettings

LEVELS = 2**14  # of walls; finer steps of probability part no objects
_TRUNCATE = 4.0  # sigmas


class Scores(Protocol):
    """Class probabilities of one plane, or a class mask, read by region."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def read(self, region: Region, index: int) -> NDArray[np.float32]:
        """The probability of the class ``index`` in a region, (rows, columns) in [0, 1]."""


@dataclass(frozen=True)
class ArrayScores:
    """Those of an array in memory: probabilities (classes, Y, X), or class indices (Y, X)."""

    array: NDArray[np.float32] | NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.array.shape[-2], self.array.shape[-1]

    def read(self, region: Region, index: int) -> NDArray[np.float32]:
        """See :class:`Scores`."""
        rows, columns = region.slices
        if self.array.ndim == 3:
            return np.asarray(self.array[index, rows, columns], np.float32)
        return np.asarray(self.array[rows, columns] == index, np.float32)


class Found(NamedTuple):
    """What a region says.

    Attributes:
        inside: pixels that belong to objects.
        seeds: pixels that surely belong to one, each connected part to another one.
        walls: height in [0, LEVELS): floods from the seeds meet where it is high.
    """

    inside: NDArray[np.bool_]
    seeds: NDArray[np.bool_]
    walls: NDArray[np.uint16]


@dataclass(frozen=True)
class Evidence:
    """The evidence for the objects of one class.

    Attributes:
        scores: probabilities or a mask.
        index: of the class.
        boundary: index of the class between objects, where there is one.
        settings: what to make of them.
    """

    scores: Scores
    index: int
    boundary: int | None
    settings: ObjectSettings

    @property
    def halo(self) -> int:
        """Pixels around a region that its evidence follows from."""
        sigma = self.settings.smoothing
        return int(_TRUNCATE * sigma + 0.5) if sigma else 0

    def read(self, region: Region) -> Found:
        """The evidence in a region; for a split by distance, what lies inside alone."""
        settings, wide = self.settings, region.with_halo(self.halo, self.scores.shape)
        interior = self._smoothed(wide, self.index, region)
        between = None if self.boundary is None else self._smoothed(wide, self.boundary, region)
        area = interior + between if between is not None and settings.with_boundary else interior
        inside = area > settings.threshold
        surplus = interior if between is None else interior - between
        if settings.split == "parts":
            return Found(inside, inside, np.zeros(inside.shape, np.uint16))
        seeds = inside & (surplus > settings.seed_threshold)
        walls = ((1 - surplus.clip(-1, 1)) * ((LEVELS - 1) / 2)).astype(np.uint16)
        return Found(inside, seeds, walls)

    def _smoothed(self, wide: Region, index: int, region: Region) -> NDArray[np.float32]:
        values = self.scores.read(wide, index)
        if self.settings.smoothing:
            values = gaussian_filter(values, self.settings.smoothing, mode="nearest", truncate=_TRUNCATE)
        top, bottom, left, right = region.crop_within(wide)
        return np.asarray(values[top : values.shape[0] - bottom, left : values.shape[1] - right])


def distance_halo(radius: int) -> int:
    """Pixels around a region that :func:`by_distance` needs."""
    return 5 * radius + 8


def by_distance(inside: NDArray[np.bool_], radius: int) -> Found:
    """Seeds and walls from how deep a pixel lies inside, for objects that touch without a boundary.

    Depths beyond four times ``radius`` count as that; what is further than :func:`distance_halo` changes nothing.
    """
    deepest = 4.0 * radius
    depth = np.full(inside.shape, deepest) if inside.all() else distance_transform_edt(inside).clip(max=deepest)
    smooth = gaussian_filter(depth, 1.0, mode="nearest", truncate=_TRUNCATE)
    smooth = np.round(smooth, 3)  # of equal depths none is higher by rounding
    seeds = inside & (smooth >= maximum_filter(smooth, 2 * radius + 1, mode="nearest"))
    walls = ((1 - (smooth / (deepest + 1)).clip(0, 1)) * (LEVELS - 1)).astype(np.uint16)
    return Found(inside, seeds, walls)
