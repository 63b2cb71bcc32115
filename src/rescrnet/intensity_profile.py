"""The intensities of the training images in a few numbers, and whether those of another image lie far outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy.ndimage import gaussian_filter

from rescrnet.intensity import Finite, percentiles, sampled
from rescrnet.no_data import NO_DATA, filled
from rescrnet.records import Record

_PERCENTS = (0.1, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9)
_LOW, _MEDIAN, _HIGH = 1, 5, 9  # places of 1, 50 and 99 percent
_PIXELS = 1_000_000  # of an image that percentiles are taken from
_SIDE = 1024  # of the middle of an image that detail is taken from
_DETAIL = 4.0  # pixels: what varies more slowly is no detail

# Measured on four published and two synthetic datasets: images of one dataset stay below 0.55 of the limit, images
# squeezed into a sixteenth of the range reach 1.4 of it or more, a fluorescence dataset 1.7 of the limit of another.
# Two kinds of electron microscopy may have the same intensities, and then nothing tells them apart.
_LIMIT, _PER_SPREAD, _PER_IMAGE = 0.05, 1.5, 0.15
_CLEAR = 0.05  # detail this asymmetric is dark on bright, or bright on dark


class Channel(Record):
    """One channel of the training images.

    Attributes:
        levels: percentiles of all images together, of values normalised to [0, 1] by the range of their file type.
        spread: largest distance of one image's levels to these, in units of the range from 1 to 99 percent.
        asymmetry: of detail, the smallest and the largest of an image; negative where it is dark on bright.
    """

    levels: Annotated[tuple[Finite, ...], Field(min_length=len(_PERCENTS), max_length=len(_PERCENTS))]
    spread: Finite
    asymmetry: tuple[Finite, Finite]

    def distance(self, levels: NDArray[np.float64]) -> float:
        """How far ``levels`` lie from those of training, in units of the range from 1 to 99 percent.

        In sparse fields all of these are one value: then only they count, in units of the whole range.
        """
        known = np.array(self.levels)
        differ, unit = np.abs(levels - known), known[_HIGH] - known[_LOW]
        if unit <= 0:
            differ, unit = differ[_LOW : _HIGH + 1], known[-1] - known[0]
        return float(differ.mean() / max(unit, 1e-6))


class IntensityProfile(Record):
    """The intensities of the training images, stored with a model."""

    images: PositiveInt
    channels: tuple[Channel, ...]

    @classmethod
    def fit(cls, images: Iterable[NDArray[np.float32]]) -> IntensityProfile:
        """Summarise images, YXC float32 normalised to [0, 1] by the range of their file type."""
        samples, single, sides = [], [], []
        for image in images:
            samples.append(_sample(image))
            single.append(_levels(samples[-1]))
            sides.append(_asymmetry(image))
        channels = []
        for place, levels in enumerate(_levels(sampled(samples))):
            known = Channel(levels=tuple(levels.tolist()), spread=0, asymmetry=(0, 0))
            spread = max(known.distance(own[place]) for own in single)
            extremes = [float(asymmetry[place]) for asymmetry in sides]
            channels.append(known.model_copy(update={"spread": spread, "asymmetry": (min(extremes), max(extremes))}))
        return cls(images=len(samples), channels=tuple(channels))

    def out_of_distribution(self, image: NDArray[np.float32]) -> str | None:
        """What is far outside of the training images about ``image``, in words; none where nothing is.

        Args:
            image: YXC float32 normalised to [0, 1], or a part of it that stands for the whole; as many channels.
        """
        if not np.isfinite(image).all():  # it is refused elsewhere, with the reason
            return None
        asymmetry = _asymmetry(image)
        for place, (channel, levels) in enumerate(zip(self.channels, _levels(_sample(image)), strict=True)):
            name = f" of channel {place + 1}" if len(self.channels) > 1 else ""
            limit = _LIMIT + _PER_SPREAD * channel.spread + _PER_IMAGE / self.images
            if channel.distance(levels) > limit:
                return (
                    f"the intensities{name}, {_range(levels)}, lie far from those of the training images, "
                    f"{_range(channel.levels)} (1, 50 and 99 percent, in shares of the file type's range)"
                )
            low, high = channel.asymmetry
            if (low > _CLEAR and asymmetry[place] < -_CLEAR) or (high < -_CLEAR and asymmetry[place] > _CLEAR):
                now, then = ("dark on bright", "bright on dark") if low > 0 else ("bright on dark", "dark on bright")
                return f"detail{name} is {now} but {then} in the training images: is the contrast inverted?"
        return None


def _range(levels: Iterable[float]) -> str:
    values = list(levels)
    return ", ".join(f"{values[place]:.3g}" for place in (_LOW, _MEDIAN, _HIGH))


def _sample(image: NDArray[np.float32]) -> NDArray[np.float32]:
    pixels = image.reshape(-1, image.shape[-1])
    if (known := (pixels != NO_DATA).all(1)).any() and not known.all():
        pixels = pixels[known]
    return pixels[:: max(1, len(pixels) // _PIXELS)]


def _levels(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Percentiles of pixels (n, C): (C, levels)."""
    return percentiles(pixels, _PERCENTS).T


def _asymmetry(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """For each channel, from -1 to 1, how much farther detail reaches to the bright than to the dark side."""
    top, left = (max(0, (n - _SIDE) // 2) for n in image.shape[:2])
    part = filled(image[top : top + _SIDE, left : left + _SIDE])
    detail = part - gaussian_filter(part, (_DETAIL, _DETAIL, 0))
    low, high = np.percentile(detail, (2, 98), axis=(0, 1))
    return np.asarray((high + low) / np.maximum(high - low, 1e-9), dtype=np.float64)
