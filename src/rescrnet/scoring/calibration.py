"""Whether a model that says 0.8 is right four times in five."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE

BINS = 15


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
        "nll": float(-np.log(np.maximum(of_truth, 1e-7)).mean()),
    }
