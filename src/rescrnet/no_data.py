"""Pixels that hold no data, which programs mark by a value far outside of all others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_DATA = -9999.0
"""The normalised value of a pixel that holds no data. Scaling leaves it out of its numbers and makes 0 of it."""
_MARKS = (-9999, -99999)  # that programs write where there are no data
_BEYOND = 1e30  # floats this far out are such marks too, as the largest of their type


def no_data(array: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where an array as stored has a mark that there are no data, or none where it has no such mark."""
    if array.dtype.kind not in "if" or array.dtype.itemsize == 1:
        return None
    marks = [mark for mark in _MARKS if array.dtype.kind == "f" or mark >= np.iinfo(array.dtype).min]
    missing = np.isin(array, np.array(marks, array.dtype if array.dtype.itemsize > 2 else None))
    if array.dtype.kind == "f" and array.dtype.itemsize > 2:
        missing |= np.isfinite(array) & (np.abs(array) > _BEYOND)
    return missing if missing.any() else None


def filled(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A normalised image, its pixels without data at the median of the others."""
    missing = image == NO_DATA
    if not missing.any():
        return image
    return np.where(missing, np.median(image[~missing]) if not missing.all() else 0, image).astype(np.float32)
