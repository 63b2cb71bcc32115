"""Counts that add up over images, and the scores that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE

Scores = dict[str, float | None]


@dataclass
class Counts:
    """What is kept of predictions and truths: sums over pixels, and class by class. ``a + b`` pools two.

    Attributes:
        sums: over all pixels and classes, float64: [1, Σp, Σt, Σpt, Σp², Σt²] with p probabilities, t one-hot truth.
        threshold: true positives, false positives and false negatives of ``p > 0.5``, pooled over classes.
        confusion: (classes, classes) pixels, a row for each true class, a column for each predicted one.
    """

    sums: NDArray[np.float64]
    threshold: NDArray[np.int64]
    confusion: NDArray[np.int64]

    @classmethod
    def none(cls, classes: int) -> Counts:
        """Nothing counted yet."""
        return cls(np.zeros(6), np.zeros(3, np.int64), np.zeros((classes, classes), np.int64))

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], mask: NDArray[np.uint8]) -> Counts:
        """Count the labelled pixels of an image: probabilities (classes, Y, X) against class indices (Y, X)."""
        classes = len(probabilities)
        labelled = mask != IGNORE
        if not labelled.all():
            probabilities, mask = probabilities[:, None, labelled], mask[None, labelled]
        truth = np.arange(classes)[:, None, None] == mask
        on = probabilities > 0.5
        hits = probabilities[truth].sum(dtype=np.float64)
        sums = (
            truth.size,
            probabilities.sum(dtype=np.float64),
            truth.sum(),
            hits,
            np.square(probabilities, dtype=np.float64).sum(),
            truth.sum(),
        )
        pairs = mask.astype(np.int64) * classes + probabilities.argmax(0)
        return cls(
            np.array(sums, dtype=np.float64),
            np.array([(on & truth).sum(), (on & ~truth).sum(), (~on & truth).sum()], dtype=np.int64),
            np.bincount(pairs.ravel(), minlength=classes * classes).reshape(classes, classes),
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.sums + other.sums, self.threshold + other.threshold, self.confusion + other.confusion)

    def pooled(self) -> Scores:
        """The paper's table (section "Results", Table 1), over all images and classes together.

        ``dice_soft`` and ``tanimoto`` (with complement, unweighted) are of the probabilities, smoothing 1;
        ``jaccard``, ``precision``, ``recall`` and ``f1`` are of the probabilities above 0.5.
        """
        n, p, t, pt, pp, tt = self.sums
        forward = (pt + 1) / (pp + tt - pt + 1)
        q, u, qu = n - p, n - t, n - p - t + pt  # the same sums of the complements 1 - p and 1 - t
        qq, uu = q - p + pp, u - t + tt
        complement = (qu + 1) / (qq + uu - qu + 1)
        hits, wrong, missed = (int(count) for count in self.threshold)
        return {
            "dice_soft": float((2 * pt + 1) / (p + t + 1)),
            "tanimoto": float((forward + complement) / 2),
            "jaccard": ratio(hits, hits + wrong + missed),
            "precision": ratio(hits, hits + wrong),
            "recall": ratio(hits, hits + missed),
            "f1": ratio(2 * hits, 2 * hits + wrong + missed),
        }

    def per_class(self) -> list[Scores]:
        """IoU, Dice, precision and recall of every class, each pixel given to its most probable class.

        A class that neither truth nor prediction holds has no score: None.
        """
        hits = np.diag(self.confusion)
        predicted, true = self.confusion.sum(0), self.confusion.sum(1)
        return [
            {
                "iou": ratio(h, p + t - h),
                "dice": ratio(2 * h, p + t),
                "precision": ratio(h, p),
                "recall": ratio(h, t),
                "true_pixels": int(t),
                "predicted_pixels": int(p),
            }
            for h, p, t in zip(hits.tolist(), predicted.tolist(), true.tolist(), strict=True)
        ]


def ratio(part: Any, whole: Any) -> float | None:
    """``part / whole``, or None where there is nothing to divide by."""
    return float(part) / float(whole) if whole else None
