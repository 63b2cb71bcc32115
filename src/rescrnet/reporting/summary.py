"""The scores in words that need no explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rescrnet.reporting.formats import percent, score
from rescrnet.scoring.counts import Counts, ratio
from rescrnet.scoring.evaluate import Evaluation, Subset
from rescrnet.training.folder import RunDataset, RunRecord
from rescrnet.wording import count

_MOST_NAMED = 5  # classes in the title

# From which Tanimoto coefficient on which word is used; the paper's own results, 0.907 and 0.916, are "good".
AGREEMENT = {0.95: "excellent", 0.85: "good", 0.7: "moderate"}

SPLITS: dict[Subset, str] = {"val": "validation", "train": "training", "all": "training and validation"}


@dataclass(frozen=True)
class Metric:
    """A line of the paper's Table 1.

    Attributes:
        name: as the paper has it.
        key: as ``Counts.pooled`` has it.
        meaning: one phrase.
        paper: the paper's values for its electron and its fluorescence micrographs.
    """

    name: str
    key: str
    meaning: str
    paper: tuple[float, float]


METRICS = (
    Metric(
        "Tanimoto",
        "tanimoto",
        "overlap of probabilities and mask, of every class and of what is not that class alike",
        (0.916, 0.907),
    ),
    Metric(
        "Dice coefficient",
        "dice_soft",
        "overlap of probabilities and mask; an unsure model loses even where it is right",
        (0.899, 0.888),
    ),
    Metric(
        "Jaccard index",
        "jaccard",
        "overlap divided by all that either the model or the mask marks",
        (0.859, 0.844),
    ),
    Metric("Precision", "precision", "share of what the model marks that is right", (0.926, 0.917)),
    Metric("Recall", "recall", "share of what the mask marks that the model finds", (0.922, 0.914)),
    Metric("F1 score", "f1", "balance of precision and recall", (0.924, 0.915)),
)


def mean_iou(counts: Counts) -> float | None:
    """The mean IoU of the classes that have one."""
    values = [scores["iou"] for scores in counts.per_class() if scores["iou"] is not None]
    return float(np.mean(values)) if values else None


def accuracy(counts: Counts) -> float | None:
    """The share of pixels that got the class of the mask."""
    return ratio(np.trace(counts.confusion), counts.confusion.sum())


def title(classes: Sequence[str]) -> str:
    """What the model does: ``Segmentation into fibre, boundary and gap``; many classes are counted, not named."""
    named = len(classes) <= _MOST_NAMED
    return f"Segmentation into {_list(classes) if named else f'{len(classes)} classes'}"


def in_words(record: RunRecord, evaluation: Evaluation) -> list[str]:
    """The summary, a paragraph each: what was trained on what, how well it agrees, the best and the worst class.

    Args:
        record: what the run folder says of the run.
        evaluation: the scores.
    """
    return [
        _training(record),
        " ".join([_agreement(evaluation, _pixels(record.dataset)), *_best_and_worst(evaluation)]),
        _caution(evaluation.split),
    ]


def _training(record: RunRecord) -> str:
    dataset = record.dataset
    train, val = count(len(dataset.train), "labelled image"), count(len(dataset.val), "other image")
    names = _list([entry.name for entry in dataset.classes])
    text = (
        f"A Res-CR-Net was trained on {train} of {Path(dataset.folder).name} to tell apart {names} in every pixel; "
        f"{val} served to validate it."
    )
    if record.status != "finished":
        text += f" The run is not finished: it has completed {count(record.epochs, 'epoch')}."
    return text


def _pixels(dataset: RunDataset) -> str:
    """The pixels that are scored."""
    unlabelled = len(dataset.table) > len(dataset.classes)
    return "labelled pixels" if unlabelled else "pixels"


def _agreement(evaluation: Evaluation, pixels: str) -> str:
    counts = evaluation.counts
    tanimoto = counts.pooled()["tanimoto"] or 0.0
    word = next((word for least, word in AGREEMENT.items() if tanimoto >= least), "poor")
    images = count(len(evaluation.images), f"{SPLITS[evaluation.split]} image")
    return (
        f"On {images}, the model gives {percent(accuracy(counts))} of all {pixels} the class that they have in the "
        f"true masks. The agreement is {word}: the Tanimoto coefficient, 1 if perfect, is {score(tanimoto)}."
    )


def _best_and_worst(evaluation: Evaluation) -> list[str]:
    scores = zip(evaluation.classes, evaluation.counts.per_class(), strict=True)
    ranked = sorted((row for row in scores if row[1]["true_pixels"]), key=lambda row: row[1]["iou"] or 0.0)
    if len(ranked) < 2:
        return []
    return [f"It does best on {_class(*ranked[-1])} It does worst on {_class(*ranked[0])}"]


def _class(name: str, scores: Mapping[str, float | None]) -> str:
    found = f"{name}: it finds {percent(scores['recall'])} of those pixels"
    if scores["precision"] is None:
        return f"{found}."
    return f"{found}, and {percent(scores['precision'])} of the pixels that it calls {name} are."


def _caution(split: Subset) -> str:
    if split == "val":
        return (
            "No weight of the network was learnt from the validation images, but they decided which epoch was kept: "
            "on images that are new altogether, expect slightly lower scores."
        )
    return (
        "Scores on images that the model was trained on tell how well it has learnt them, not how it will do on new "
        "ones; for that, look at the validation images alone."
    )


def _list(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
