"""Pyramids of a result: each level half the size of the one before, made band by band."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rescrnet.images.npy import RawArray

BAND = 16 << 20  # bytes that are read at once
SMALLEST = 512  # pixels: the longer side of the last level is no longer


def level_sizes(rows: int, columns: int, count: int | None = None) -> list[tuple[int, int]]:
    """Rows and columns of every level, the full size first: ``count`` of them, or until one fits a screen."""
    if count is None:
        count = 1
        while -(-max(rows, columns) // 2 ** (count - 1)) > SMALLEST:
            count += 1
    return [(-(-rows // 2**level), -(-columns // 2**level)) for level in range(count)]


def build_pyramid(base: RawArray, folder: Path, count: int | None = None) -> list[RawArray]:
    """``base`` (…, Y, X) and its smaller levels, as files in ``folder``.

    Classes (integers) take the upper left of each four pixels, so that no class appears that is not there;
    probabilities (floats) take their mean.
    """
    levels = [base]
    for number, (rows, columns) in enumerate(level_sizes(base.shape[-2], base.shape[-1], count)[1:], start=1):
        level = RawArray.create(
            folder / f"{base.path.stem}.level{number}.npy", (*base.shape[:-2], rows, columns), base.dtype
        )
        _halve(levels[-1], level)
        levels.append(level)
    return levels


def _halve(fine: RawArray, coarse: RawArray) -> None:
    rows, columns = fine.shape[-2:]
    step = max(2, BAND // (columns * fine.dtype.itemsize) // 2 * 2)
    for place in np.ndindex(*fine.shape[:-2]):
        for top in range(0, rows, step):
            band = fine[(*place, slice(top, min(top + step, rows)), slice(None))]
            if band.dtype.kind == "f":
                even = np.pad(band, [(0, n % 2) for n in band.shape], mode="edge")
                band = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).mean((1, 3), dtype=np.float32)
            else:
                band = band[::2, ::2]
            coarse[(*place, slice(top // 2, top // 2 + band.shape[0]), slice(None))] = band


def pyramid_bytes(rows: int, columns: int, itemsize: int, count: int | None = None) -> int:
    """Bytes that all levels take uncompressed."""
    return itemsize * sum(map(math.prod, level_sizes(rows, columns, count)))
