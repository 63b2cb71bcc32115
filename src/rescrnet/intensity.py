"""Intensity scaling: fitted once on the training images, stored with the model, applied everywhere alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from rescrnet.errors import DataError
from rescrnet.no_data import NO_DATA, no_data
from rescrnet.records import Record
from rescrnet.wording import count

_SAMPLES = 1_000_000  # pixels of an image that percentiles are taken from
_ALL_SAMPLES = 16_000_000  # of all images together

Finite = Annotated[float, Field(allow_inf_nan=False)]


class IntensityScaling(Record):
    """``(value - offset) / scale`` for each channel, of values normalised to [0, 1] by the range of their file type."""

    method: str = "unit"
    offset: tuple[Finite, ...]
    scale: tuple[Finite, ...]

    @model_validator(mode="after")
    def _is_a_scaling(self) -> Self:
        if len(self.offset) != len(self.scale) or 0 in self.scale:
            raise ValueError("offset and scale must be as many, and no scale 0")
        return self

    @classmethod
    def fit(cls, images: Iterable[NDArray[np.float32]], method: str) -> IntensityScaling:
        """Fit to images (YXC float32): ``unit``, ``standard`` or ``percentile`` (see the configuration)."""
        sample = sampled([image.reshape(-1, image.shape[-1]) for image in images])
        if (known := (sample != NO_DATA).all(1)).any():
            sample = sample if known.all() else sample[known]
        if method == "standard":
            low, spread = sample.mean(0, dtype=np.float64), sample.std(0, dtype=np.float64)
        elif method == "percentile":
            low, high = percentiles(sample, (0.5, 99.5))
            spread = np.where(high > low, high, sample.max(0)) - low  # nearly all pixels are equal in a sparse field
        else:
            low, spread = np.zeros(sample.shape[1]), np.ones(sample.shape[1])
        spread = np.where(spread > 0, spread, 1.0)
        return cls(method=method, offset=tuple(map(float, low)), scale=tuple(map(float, spread)))

    def apply(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """YXC float32 normalised to [0, 1] → YXC float32 as the network sees it."""
        offset, scale = np.array(self.offset, np.float32), np.array(self.scale, np.float32)
        scaled = (image - offset) / scale
        missing = image == NO_DATA
        if missing.any():
            scaled[missing] = 0
        return scaled


def sampled(images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Pixels from all of ``images`` (n, C), evenly spread: at most a million of each, and 16 million together."""
    most = min(_SAMPLES, _ALL_SAMPLES // max(1, len(images)))
    return np.concatenate([pixels[:: max(1, len(pixels) // most)] for pixels in images])


def percentiles(pixels: NDArray[np.float32], percents: Sequence[float]) -> NDArray[np.float64]:
    """Percentiles of pixels (n, C) as ``numpy.percentile`` has them: (percents, C) float64.

    From sorted float32, which takes a fraction of the time and memory of NumPy's selection in float64.
    """
    places = np.asarray(percents, np.float64) / 100 * (len(pixels) - 1)
    below = np.floor(places).astype(np.int64)
    above, share = np.minimum(below + 1, len(pixels) - 1), (places - below)[:, None]
    ordered = [np.sort(np.ascontiguousarray(channel)) for channel in pixels.T]
    low, high = (np.stack([channel[at] for channel in ordered], axis=1).astype(np.float64) for at in (below, above))
    return np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))


def normalise_image(array: NDArray[Any], *, alpha: bool | None = None) -> NDArray[np.float32]:
    """YX or YXC of any type → YXC float32 as :func:`normalise` has it.

    The last channel is left out where it is ``alpha``; where that is not known, a second or fourth channel is.
    """
    return normalise(without_alpha(array if array.ndim == 3 else array[..., None], alpha))


def without_alpha(array: NDArray[Any], alpha: bool | None = None) -> NDArray[Any]:
    """YX or YXC without its last channel where that is ``alpha``; where not known, without a second or fourth."""
    known = array.shape[-1] in (2, 4) if alpha is None else alpha
    return array[..., :-1] if array.ndim == 3 and known and array.shape[-1] > 1 else array


def normalise(array: NDArray[Any]) -> NDArray[np.float32]:
    """Normalise to [0, 1]: integers divided by the largest value of their type, floats as they are; float32.

    What marks pixels without data, such as -9999, becomes :data:`NO_DATA`.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float32 is infinite, and refused as such
        return _normalised(array)


def _normalised(array: NDArray[Any]) -> NDArray[np.float32]:
    scale = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1
    missing = no_data(array)
    if missing is None:
        return np.ascontiguousarray(array, dtype=np.float32) / np.float32(scale)
    unit = np.ascontiguousarray(np.where(missing, 0, array), dtype=np.float32) / np.float32(scale)
    unit[missing] = NO_DATA
    return unit


def check_finite(image: NDArray[np.float32], name: object) -> None:
    """Raise :class:`DataError` where a value is NaN or infinite."""
    if not np.isfinite(image).all():
        raise DataError(name, "holds NaN or infinite values", "expected finite intensities; replace them")


def match_channels(image: NDArray[np.float32], channels: int, name: object) -> NDArray[np.float32]:
    """``image`` (YXC) with the expected number of channels, or :class:`DataError`.

    An RGB image whose three channels are equal is a grey image in another form; nothing else is converted.
    """
    found = image.shape[-1]
    if found == channels:
        return image
    if found == 3 and channels == 1 and np.ptp(image, axis=-1).max() == 0:
        return image[..., :1]
    raise DataError(name, f"has {count(found, 'channel')}, expected {channels}", "convert the image")
