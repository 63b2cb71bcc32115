"""How well predicted objects agree with true ones: counts that add up over images, and the scores from them.

Definitions are those of ``stardist.matching`` (Weigert et al. 2020, and Cellpose's average precision): a true and a
predicted object match where their intersection over union reaches a threshold, each at most once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_MOSTLY = 0.5  # of an object lies in another one


@dataclass(frozen=True)
class ObjectCounts:
    """What is kept of the objects of one class. ``a + b`` pools two.

    Attributes:
        true: how many true objects there are.
        predicted: how many predicted ones.
        matched: pairs at each of :data:`THRESHOLDS`.
        overlap: the sum of their intersections over unions.
        split: true objects in which two or more predicted ones lie for the most part.
        merged: predicted objects in which two or more true ones do.
    """

    true: int
    predicted: int
    matched: NDArray[np.int64]
    overlap: NDArray[np.float64]
    split: int = 0
    merged: int = 0

    @classmethod
    def none(cls) -> ObjectCounts:
        """Nothing counted yet."""
        return cls(0, 0, np.zeros(len(THRESHOLDS), np.int64), np.zeros(len(THRESHOLDS)))

    @classmethod
    def of(
        cls, true: NDArray[Any], predicted: NDArray[Any], unlabelled: NDArray[np.bool_] | None = None
    ) -> ObjectCounts:
        """Compare two label images YX, 0 where there is no object.

        Predicted objects that lie for the most part where ``unlabelled`` is true do not count.
        """
        if unlabelled is not None and unlabelled.any():
            areas = np.bincount(predicted.ravel())
            unknown = np.bincount(predicted[unlabelled], minlength=len(areas)) > _MOSTLY * areas
            predicted = np.where(unknown[predicted] | unlabelled, 0, predicted)
        pairs, shared, areas_true, areas_predicted = _overlaps(true, predicted)
        union = areas_true[pairs[:, 0]] + areas_predicted[pairs[:, 1]] - shared
        found = [_match(pairs, shared / union, threshold) for threshold in THRESHOLDS]
        inside_true = shared > _MOSTLY * areas_predicted[pairs[:, 1]]
        inside_predicted = shared > _MOSTLY * areas_true[pairs[:, 0]]
        return cls(
            int((areas_true > 0).sum()),
            int((areas_predicted > 0).sum()),
            np.array([len(ious) for ious in found], np.int64),
            np.array([ious.sum() for ious in found]),
            int((np.bincount(pairs[inside_true, 0]) > 1).sum()),
            int((np.bincount(pairs[inside_predicted, 1]) > 1).sum()),
        )

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        return ObjectCounts(
            self.true + other.true,
            self.predicted + other.predicted,
            self.matched + other.matched,
            self.overlap + other.overlap,
            self.split + other.split,
            self.merged + other.merged,
        )

    def at(self, threshold: float) -> dict[str, float | None]:
        """Precision, recall, F1, average precision TP / (TP + FP + FN), panoptic quality, mean matched IoU."""
        place = THRESHOLDS.index(threshold)
        hits, overlap = int(self.matched[place]), float(self.overlap[place])
        both = self.true + self.predicted
        return {
            "precision": _ratio(hits, self.predicted),
            "recall": _ratio(hits, self.true),
            "f1": _ratio(2 * hits, both),
            "average_precision": _ratio(hits, both - hits),
            "panoptic_quality": _ratio(2 * overlap, both),
            "mean_matched_iou": _ratio(overlap, hits),
        }

    @property
    def mean_average_precision(self) -> float | None:
        """The mean over all thresholds; None where there are no objects at all."""
        values = [self.at(threshold)["average_precision"] for threshold in THRESHOLDS]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    def to_dict(self) -> dict[str, Any]:
        """What ``scores.json`` holds."""
        return {
            "true_objects": self.true,
            "predicted_objects": self.predicted,
            "split": self.split,
            "merged": self.merged,
            "mean_average_precision": self.mean_average_precision,
            "at_iou": {str(threshold): self.at(threshold) for threshold in THRESHOLDS},
        }


def best_overlaps(true: NDArray[Any], predicted: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each true and of each predicted object, by number, the largest IoU with any of the others; index 0 is none."""
    pairs, shared, areas_true, areas_predicted = _overlaps(true, predicted)
    iou = shared / (areas_true[pairs[:, 0]] + areas_predicted[pairs[:, 1]] - shared)
    best_true, best_predicted = np.zeros(len(areas_true)), np.zeros(len(areas_predicted))
    np.maximum.at(best_true, pairs[:, 0], iou)
    np.maximum.at(best_predicted, pairs[:, 1], iou)
    return best_true, best_predicted


def _overlaps(
    true: NDArray[Any], predicted: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of objects that share pixels, (pairs, 2), how many, and the areas of all by number, 0 for index 0."""
    areas = [np.bincount(labels.ravel(), minlength=1).astype(np.int64) for labels in (true, predicted)]
    both = (true > 0) & (predicted > 0)
    width = len(areas[1])
    keys, shared = np.unique(true[both].astype(np.int64) * width + predicted[both], return_counts=True)
    for area in areas:
        area[0] = 0
    return np.stack(np.divmod(keys, width), axis=1), shared.astype(np.int64), areas[0], areas[1]


def _match(pairs: NDArray[np.int64], iou: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """The IoUs of as many pairs as there can be, of these the best; each object is in one of them.

    Above one half an object can have one partner alone; at just one half two may be left to choose from.
    """
    enough = iou >= threshold
    pairs, iou = pairs[enough], iou[enough]
    if len(np.unique(pairs[:, 0])) == len(pairs) == len(np.unique(pairs[:, 1])):
        return iou
    (_, rows), (_, columns) = (np.unique(pairs[:, side], return_inverse=True) for side in (0, 1))
    gain = np.zeros((rows.max() + 1, columns.max() + 1))
    gain[rows, columns] = 1 + iou / (2 * min(gain.shape))
    chosen = linear_sum_assignment(-gain)
    kept = gain[chosen] >= 1
    return np.asarray((gain[chosen][kept] - 1) * 2 * min(gain.shape), np.float64)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
