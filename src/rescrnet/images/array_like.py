"""What people hand over as an array in Python: that it is one, and what else it is where it is none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from rescrnet.errors import DataError, UsageError


def check_array(image: Any, name: object) -> None:
    """Raise :class:`UsageError` where ``image`` is no array-like, and :class:`DataError` where it holds no numbers."""
    kind = kind_if_no_array(image)
    if kind == "a path":
        raise UsageError(
            name, f"is a path, {image}", "use rescrnet.predict_files for image files, or read it into an array first"
        )
    if kind is not None:
        write = "image.cpu().numpy()" if kind == "a PyTorch tensor" else "numpy.asarray(image)"
        raise UsageError(name, f"is {kind}", f"expected an array of NumPy, Zarr or Dask; write {write}")
    if np.dtype(image.dtype).kind not in "buif":
        raise DataError(
            name, f"holds {image.dtype} values", "expected integers or floats; write image.astype('float32')"
        )


def kind_if_no_array(value: Any) -> str | None:
    """What a value is that is no array-like; libraries are known by name, for they need not be imported."""
    library = type(value).__module__.split(".")[0]
    if isinstance(value, (str, os.PathLike)):
        return "a path"
    if library == "torch":
        return "a PyTorch tensor"
    if library == "PIL":
        return "a PIL image"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__}"
    if not all(hasattr(value, attribute) for attribute in ("shape", "dtype", "__getitem__")):
        return f"of type {type(value).__name__}"
    return None


def channels_come_first(shape: Sequence[int], channels: int) -> bool:
    """Whether an array (…, C, Y, X) was handed over for (…, Y, X, C): as many before two that are longer."""
    if len(shape) < 3 or shape[-1] == channels:
        return False
    return shape[-3] in (channels, 1, 3) and min(shape[-2:]) > max(4, shape[-3])


def why_unlike(image: Any, highest: float) -> str:
    """What about the type of an array explains that its intensities are unlike those of training.

    Args:
        image: an array of the intensities, or a part of it.
        highest: about the largest of the training images, as a share of the range of their type.
    """
    values, dtype = np.asarray(image), np.dtype(image.dtype)
    largest = float(values.max())
    if dtype.kind == "f" and largest > 1.5 and highest <= 1:
        full = 255 if largest <= 255 else 65535
        return f"; floats are taken as they are, and these reach {largest:.4g}: divide them by {full}, or pass integers"
    if dtype.kind in "iu" and largest <= np.iinfo(dtype).max / 128 and highest > 1 / 128:
        fitting = "uint8" if largest <= 255 else "uint16"
        if dtype == fitting:
            return ""
        return (
            f"; {dtype} is divided by {np.iinfo(dtype).max}, and the largest is {largest:.0f}: write "
            f"image.astype('{fitting}') where it was one"
        )
    return ""
