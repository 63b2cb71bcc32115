"""Intensity scaling: fitted once on the training images, stored with the model, applied everywhere alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rescrnet.errors import DataError

_SAMPLES = 1_000_000  # pixels of an image that percentiles are taken from


class Intensity(BaseModel):
    """``(value - offset) / scale`` for each channel, of values in the unit range of their file type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "unit"
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, images: Iterable[NDArray[np.float32]], method: str) -> Intensity:
        """Fit to images (YXC float32): ``unit``, ``standard`` or ``percentile`` (see the configuration)."""
        pixels = [image.reshape(-1, image.shape[-1]) for image in images]
        sample = np.concatenate([p[:: max(1, len(p) // _SAMPLES)] for p in pixels]).astype(np.float64)
        if method == "standard":
            low, spread = sample.mean(0), sample.std(0)
        elif method == "percentile":
            low, high = np.percentile(sample, (0.5, 99.5), axis=0)
            spread = high - low
        else:
            low, spread = np.zeros(sample.shape[1]), np.ones(sample.shape[1])
        spread = np.where(spread > 0, spread, 1.0)
        return cls(method=method, offset=tuple(map(float, low)), scale=tuple(map(float, spread)))

    def apply(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """YXC float32 in the unit range → YXC float32 as the network sees it."""
        offset, scale = np.array(self.offset, np.float32), np.array(self.scale, np.float32)
        return (image - offset) / scale


def to_unit(array: NDArray[Any], *, alpha: bool | None = None) -> NDArray[np.float32]:
    """YX or YXC of any type → YXC float32: integers by the largest value of their type, floats as they are.

    The last channel is left out where it is ``alpha``; where that is not known, a second or fourth channel is.
    """
    return scale_to_unit(without_alpha(array if array.ndim == 3 else array[..., None], alpha))


def without_alpha(array: NDArray[Any], alpha: bool | None = None) -> NDArray[Any]:
    """YX or YXC without its last channel where that is ``alpha``; where not known, without a second or fourth."""
    known = array.shape[-1] in (2, 4) if alpha is None else alpha
    return array[..., :-1] if array.ndim == 3 and known and array.shape[-1] > 1 else array


def scale_to_unit(array: NDArray[Any]) -> NDArray[np.float32]:
    """Integers divided by the largest value of their type, floats as they are: float32, the same shape."""
    scale = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1
    return np.ascontiguousarray(array, dtype=np.float32) / np.float32(scale)


def check_finite(unit: NDArray[np.float32], name: object) -> None:
    """Raise :class:`DataError` where a value is NaN or infinite."""
    if not np.isfinite(unit).all():
        raise DataError(f"{name}: holds NaN or infinite values; expected finite intensities; mend them")


def match_channels(image: NDArray[np.float32], channels: int, name: object) -> NDArray[np.float32]:
    """``image`` (YXC) with the expected number of channels, or :class:`DataError`.

    An RGB image whose three channels are equal is a grey image in another form; nothing else is converted.
    """
    found = image.shape[-1]
    if found == channels:
        return image
    if found == 3 and channels == 1 and np.ptp(image, axis=-1).max() == 0:
        return image[..., :1]
    raise DataError(f"{name}: has {found} channel{'s' * (found > 1)}, expected {channels}; convert the image")
