"""How close outlines are to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
_CROSS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True)
class SurfaceDistances:
    """From every outline pixel of one mask to the nearest one of the other, pixels.

    Attributes:
        reference: of the reference's outline; infinite where the prediction has none.
        predicted: of the prediction's outline.
    """

    reference: NDArray[np.float64]
    predicted: NDArray[np.float64]

    @classmethod
    def between(cls, reference: Mask, predicted: Mask, labelled: Mask) -> SurfaceDistances:
        """Measure two masks YX. What is not labelled, and the border of the image, is no outline."""
        first, second = outline(reference, labelled), outline(predicted, labelled)
        return cls(_to(second)[first], _to(first)[second])

    def dice(self, tolerance: float) -> float:
        """Normalised surface Dice: the share of both outlines that lies within ``tolerance`` pixels of the other.

        NaN where the reference has no outline. S. Nikolov et al., https://doi.org/10.2196/26151
        """
        if not self.reference.size:
            return float("nan")
        near = (self.reference <= tolerance).sum() + (self.predicted <= tolerance).sum()
        return float(near / (self.reference.size + self.predicted.size))

    def percentile(self, share: float = 95) -> float:
        """The larger of the two percentiles of the distances, pixels; NaN where either has no outline."""
        if not self.reference.size or not self.predicted.size:
            return float("nan")
        return float(max(np.percentile(self.reference, share), np.percentile(self.predicted, share)))


def outline(mask: Mask, labelled: Mask) -> Mask:
    """The pixels of a mask YX that touch, side to side, a labelled pixel outside of it."""
    inside = ndimage.binary_erosion(mask | ~labelled, _CROSS, border_value=1)
    edge: Mask = mask & labelled & ~inside
    return edge


def _to(edge: Mask) -> NDArray[np.float64]:
    """The distance of every pixel to the nearest one of ``edge``."""
    if not edge.any():
        return np.full(edge.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~edge), np.float64)


def surface_dice(reference: Mask, predicted: Mask, tolerances: Sequence[float]) -> list[float]:
    """Normalised surface Dice of two masks YX that are labelled whole, at each of some tolerances, pixels."""
    distances = SurfaceDistances.between(reference, predicted, np.ones(reference.shape, bool))
    return [distances.dice(tolerance) for tolerance in tolerances]
