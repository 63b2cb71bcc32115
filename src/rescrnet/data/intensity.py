"""Intensity scaling: fitted once on the training images, stored with the model, applied everywhere alike."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

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
