"""All scores of one image: each class by itself, and what the image as a whole is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE
from rescrnet.scoring.calibration import calibration
from rescrnet.scoring.surface import SurfaceDistances

TOLERANCES = (1, 2, 3)
"""Of the surface Dice, pixels."""
OF_CLASSES = ("iou", "dice", *(f"nsd_{tolerance}" for tolerance in TOLERANCES), "hd95")
"""Scores of a class."""
OF_IMAGES = ("mean_iou", "mean_dice", *(f"mean_nsd_{tolerance}" for tolerance in TOLERANCES), "ece", "brier", "nll")
"""Scores of an image."""


@dataclass(frozen=True)
class ImageScores:
    """The scores of an image.

    Attributes:
        image: by the names of :data:`OF_IMAGES`; means are over the classes that the reference holds.
        classes: of every class by the names of :data:`OF_CLASSES`; NaN where the reference does not hold it.
    """

    image: dict[str, float]
    classes: list[dict[str, float]]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], mask: NDArray[np.uint8]) -> ImageScores:
        """Score probabilities (classes, Y, X) against class indices (Y, X), labelled pixels alone."""
        labelled = mask != IGNORE
        predicted = probabilities.argmax(0)
        classes = [
            _of_class((mask == index) & labelled, (predicted == index) & labelled, labelled)
            for index in range(len(probabilities))
        ]
        means = {f"mean_{key}": _mean([scores[key] for scores in classes]) for key in OF_CLASSES if key != "hd95"}
        return cls({**means, **calibration(probabilities, mask)}, classes)


def _of_class(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], labelled: NDArray[np.bool_]
) -> dict[str, float]:
    if not reference.any():  # neither right nor wrong: an average over images must not count it
        return dict.fromkeys(OF_CLASSES, float("nan"))
    both, either = int((reference & predicted).sum()), int((reference | predicted).sum())
    distances = SurfaceDistances.between(reference, predicted, labelled)
    surface = {f"nsd_{tolerance}": distances.dice(tolerance) for tolerance in TOLERANCES}
    return {"iou": both / either, "dice": 2 * both / (both + either), **surface, "hd95": distances.percentile()}


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
