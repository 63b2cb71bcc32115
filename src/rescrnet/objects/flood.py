"""Seeded watershed of a window of an image, with a certificate: which of its pixels the whole image labels alike.

**Why it is exact.** Every pixel gets a height of its own: wall, then distance to the nearest seed, then place in the
image; seeds lie below all others. With distinct heights a flood is determined: a pixel takes the label of that
neighbour which water reached at the lowest level, and what happens elsewhere changes nothing. A window does not know
what flows in over its border. So the border pixels that are no seed are a flood of their own, *unknown*, which starts
before all others: no true flood can come in earlier. What unknown does not reach, then, nothing from outside reaches
either, and its labels are those of the whole image. Where unknown reaches the part that is asked for, a wider window is
tried::

      ┌──────────── window ───────────┐   ? unknown: may be flooded from outside
      │???????????????????????????????│
      │??┌──────── asked for ───────┐?│   none of it here: done; else a wider window
      │? │   1 1 1 2 2 2    3 3     │ │
      │??└──────────────────────────┘?│
      └───────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from rescrnet.errors import UsageError
from rescrnet.inference.region import Region
from rescrnet.objects.evidence import LEVELS

HALO = 64  # pixels around a tile in the first try
_NEAR = 31  # pixels: beyond, distances to a seed count as this
_EXACT = 2**53  # whole numbers up to this are exact as float64


class Window(NamedTuple):
    """What a flood needs of a region: inside (bool), walls (uint16) and seeds (int32, numbered alike everywhere)."""

    inside: NDArray[np.bool_]
    walls: NDArray[np.uint16]
    seeds: NDArray[np.int32]


def flood_tile(
    read: Callable[[Region], Window], tile: Region, shape: tuple[int, int], connectivity: int, most: int, name: str
) -> NDArray[np.int32]:
    """The labels of a tile as the watershed of the whole image gives them.

    Args:
        read: reads any region.
        tile: what is asked for.
        shape: rows and columns of the image.
        connectivity: 1 for neighbours at sides, 2 for those at corners too.
        most: pixels of the largest window that may be read.
        name: what to call the image in messages.

    Raises:
        UsageError: no window of that size is certain, since objects without a seed between them go on and on.
    """
    core = read(tile)
    if not (core.inside & (core.seeds == 0)).any():
        return np.where(core.inside, core.seeds, 0).astype(np.int32)
    halo = HALO
    while True:
        wide = tile.with_halo(halo, shape)
        if wide.height * wide.width > most and wide.height * wide.width > tile.height * tile.width:
            raise UsageError(
                name,
                f"objects around row {tile.y0}, column {tile.x0} hang together over more than {halo // 2} pixels with "
                "nothing sure between them, and a larger part does not fit the memory",
                "give more with --memory, or lower --seed-threshold",
            )
        labels = _flood(read, wide, shape, connectivity)
        top, bottom, left, right = tile.crop_within(wide)
        labels = labels[top : labels.shape[0] - bottom, left : labels.shape[1] - right]
        if not (labels < 0).any():
            return np.ascontiguousarray(labels)
        halo *= 2


def _flood(
    read: Callable[[Region], Window], region: Region, shape: tuple[int, int], connectivity: int
) -> NDArray[np.int32]:
    """Labels of a window, -1 where they may be others."""
    from skimage.segmentation import watershed

    around = region.with_halo(_NEAR + 1, shape)  # from which the distances to seeds follow
    top, bottom, left, right = region.crop_within(around)
    window = read(around)
    near = _to_seeds(window.seeds > 0)
    inner = np.s_[top : around.height - bottom, left : around.width - right]
    inside, walls, seeds, near = window.inside[inner], window.walls[inner], window.seeds[inner], near[inner]
    heights = _heights(walls, near, seeds > 0, region, shape)
    unknown = _outer(region, shape) & inside & (seeds == 0)
    heights[unknown] = -2.0 * shape[0] * shape[1]
    markers = np.where(unknown, np.int32(-1), seeds)
    labels = watershed(heights, markers, connectivity=connectivity, mask=inside)
    return np.asarray(labels, np.int32)


def _to_seeds(seeds: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Whole pixels to the nearest seed, at most :data:`_NEAR`."""
    if not seeds.any():
        return np.full(seeds.shape, _NEAR, np.uint8)
    return np.asarray(distance_transform_edt(~seeds).clip(max=_NEAR), np.uint8)


def _heights(
    walls: NDArray[np.uint16],
    near: NDArray[np.uint8],
    seeds: NDArray[np.bool_],
    region: Region,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """A height for each pixel that no other pixel of the image has, seeds below zero."""
    pixels = shape[0] * shape[1]
    rows, columns = np.ogrid[region.y0 : region.y1, region.x0 : region.x1]
    heights = (rows * shape[1] + columns).astype(np.float64)
    levels = max(1, min(LEVELS, _EXACT // (pixels * (_NEAR + 1))))  # fewer in an image of more than 17 gigapixels
    heights += (np.floor(walls * (levels / LEVELS)) * (_NEAR + 1) + near) * pixels
    heights[seeds] -= (np.floor(walls[seeds] * (levels / LEVELS)) * (_NEAR + 1) + near[seeds] + 1) * pixels
    return heights


def _outer(region: Region, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The outermost pixels of a region but those at the border of the image."""
    outer = np.zeros((region.height, region.width), bool)
    outer[0], outer[-1] = region.y0 > 0, region.y1 < shape[0]
    outer[:, 0] |= region.x0 > 0
    outer[:, -1] |= region.x1 < shape[1]
    return outer
