"""Whether a model that says 0.8 is right four times in five."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE

BINS = 15
_MOST_PIXELS = 100_000  # of an image, that a temperature is fitted to
_LEAST, _LARGEST = 0.2, 5.0  # temperatures
_SMALLEST = 1e-7  # a probability of 0 has no logarithm


def calibration(probabilities: NDArray[np.float32], mask: NDArray[np.uint8]) -> dict[str, float]:
    """Expected calibration error, Brier score and negative log-likelihood over the labelled pixels of an image.

    Args:
        probabilities: (classes, Y, X), of a pixel they sum to 1.
        mask: class indices YX; unlabelled pixels count nowhere.

    Returns:
        ``ece``: the mean difference, over 15 bins of equal width weighted by their pixels, between the probability of
        the most probable class and how often it is right (https://arxiv.org/abs/1706.04599). ``brier``: the mean
        squared distance to the one-hot truth, summed over classes, 0 to 2. ``nll``: the mean of -log p of the truth.
    """
    labelled = mask != IGNORE
    p = probabilities[:, labelled].astype(np.float64)
    truth = mask[labelled]
    if not truth.size:
        return {"ece": float("nan"), "brier": float("nan"), "nll": float("nan")}
    confidence, right = p.max(0), p.argmax(0) == truth
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.abs(np.bincount(which, confidence, BINS) - np.bincount(which, right, BINS))
    of_truth = p[truth, np.arange(truth.size)]
    return {
        "ece": float(gaps.sum() / truth.size),
        "brier": float((np.square(p).sum(0) - 2 * of_truth + 1).mean()),
        "nll": float(-np.log(np.maximum(of_truth, _SMALLEST)).mean()),
    }


class Pixels(NamedTuple):
    """Labelled pixels of an image, by up to 100,000 spread evenly over it."""

    logits: NDArray[np.float64]
    """Logarithms of their probabilities, (classes, pixels)."""
    truth: NDArray[np.uint8]
    """Their true classes."""

    def log_loss(self, temperature: float) -> float:
        """The mean of -log p of the true class, where the logits are divided by ``temperature``."""
        divided = self.logits / temperature
        divided -= divided.max(axis=0)
        of_truth = divided[self.truth, np.arange(self.truth.size)]
        return float((np.log(np.exp(divided).sum(axis=0)) - of_truth).mean())


def labelled_pixels(probabilities: NDArray[np.float32], mask: NDArray[np.uint8]) -> Pixels:
    """Some labelled pixels of an image: of probabilities (classes, Y, X) and class indices YX, 255 unlabelled."""
    labelled = np.flatnonzero(mask != IGNORE)
    labelled = labelled[:: max(1, -(-labelled.size // _MOST_PIXELS))]
    chosen = probabilities.reshape(len(probabilities), -1)[:, labelled].astype(np.float64)
    return Pixels(np.log(np.maximum(chosen, _SMALLEST)), mask.reshape(-1)[labelled])


def fit_temperature(images: Iterable[Pixels]) -> float:
    """The temperature by which logits are divided for the best log loss (Guo et al. 2017, arXiv:1706.04599).

    Every image counts the same.

    Args:
        images: of which some are labelled, not trained on.

    Returns:
        From 0.2 to 5; 1 where no pixel is labelled.
    """
    from scipy.optimize import minimize_scalar

    some = [one for one in images if one.truth.size]
    if not some:
        return 1.0
    found = minimize_scalar(
        lambda logarithm: np.mean([one.log_loss(float(np.exp(logarithm))) for one in some]),
        bounds=(np.log(_LEAST), np.log(_LARGEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return round(float(np.exp(found.x)), 4)


def log_loss(images: Iterable[Pixels], temperatures: Iterable[float]) -> float:
    """The mean log loss of images, each at a temperature of its own; NaN where no pixel is labelled."""
    losses = [one.log_loss(t) for one, t in zip(images, temperatures, strict=True) if one.truth.size]
    return float(np.mean(losses)) if losses else float("nan")
