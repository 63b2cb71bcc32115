"""The page of a cross-validation: how good, how sure, what went wrong most, and words for a paper."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rescrnet.evidence.crossval import CrossValidation
from rescrnet.evidence.words import COVERAGE, COVERAGE_OF_OUTLIERS
from rescrnet.reporting.evidence_figures import Line, dots
from rescrnet.reporting.figures import LARGEST, UNLABELLED_COLOUR, Picture, pictures
from rescrnet.reporting.render import write_experiment
from rescrnet.scoring.image_scores import TOLERANCES

WORST = 6
"""Images that are shown."""

MEASURES = (
    ("mean_iou", "Mean IoU", "overlap of prediction and mask divided by what either marks, averaged over classes"),
    ("mean_dice", "Mean Dice", "twice the overlap, divided by the sum of both areas"),
    *(
        (
            f"mean_nsd_{pixels}",
            f"Surface Dice, {pixels}\N{NO-BREAK SPACE}px",
            f"share of outlines at most {pixels} px apart",
        )
        for pixels in TOLERANCES
    ),
    ("ece", "Calibration error", "how far probabilities are from how often they are right; 0 is best"),
    ("brier", "Brier score", "squared distance of probabilities from the truth; 0 is best, 2 worst"),
    ("nll", "Log loss", "-log of the probability of the true class; 0 is best"),
)
OF_CLASSES = (("iou", "IoU"), ("dice", "Dice"), ("nsd_1", "NSD 1 px"), ("nsd_2", "NSD 2 px"), ("nsd_3", "NSD 3 px"))


@dataclass(frozen=True)
class ScoredImage:
    """An image in the page.

    Attributes:
        stem: its name.
        score: mean IoU.
        of_classes: IoU of every class; NaN where the reference lacks it.
        pictures: micrograph, mask, prediction and differences.
    """

    stem: str
    score: float
    of_classes: list[float]
    pictures: list[Picture]


def write_page(found: CrossValidation) -> Path:
    """Write ``report.html`` beside the results, one file that needs no other; a former one is replaced.

    Raises :class:`OutputError` where it cannot be written.
    """
    stats, classes = found.stats, found.plan.classes
    return write_experiment(
        "crossval.html.jinja",
        found,
        words=stats["words"],
        measures=MEASURES,
        of_classes=OF_CLASSES,
        classes=classes,
        colours=[*(entry.color for entry in found.labelled.dataset.classes), UNLABELLED_COLOUR],
        dots=dots(
            [
                Line.of("mean of classes", stats["scores"]["mean_iou"]),
                *(Line.of(name, stats["classes"][name]["iou"]) for name in classes),
            ],
            "intersection over union",
        ),
        worst=_worst(found),
        rows=_rows(found),
        coverage=COVERAGE,
        coverage_of_outliers=COVERAGE_OF_OUTLIERS,
        notes=[*found.labelled.notes, *found.labelled.dataset.table.notes()],
    )


def _worst(found: CrossValidation) -> list[ScoredImage]:
    """The images with the lowest mean IoU, the lowest first, with what was predicted of them out of fold."""
    values = found.table.values("mean_iou")
    ordered = sorted((stem for stem in values if np.isfinite(values[stem])), key=lambda stem: values[stem])[:WORST]
    probabilities = found.probabilities()
    samples = {sample.stem: sample for sample in found.labelled.samples}
    colours = [entry.color for entry in found.labelled.dataset.classes]
    longest = round(LARGEST * min(1.0, (4 / max(1, len(ordered))) ** 0.5))
    return [
        ScoredImage(
            stem,
            values[stem],
            [found.table.values("iou", index)[stem] for index in range(len(found.plan.classes))],
            pictures(samples[stem], probabilities[stem].argmax(0).astype(np.uint8), colours, longest),
        )
        for stem in ordered
    ]


def _rows(found: CrossValidation) -> list[dict[str, Any]]:
    """A line for each image."""
    of_images = {key: found.table.values(key) for key, _, _ in MEASURES}
    return [
        {
            "image": image.stem,
            "group": image.group,
            "fold": image.fold,
            "values": [of_images[key][image.stem] for key, _, _ in MEASURES],
        }
        for image in found.plan.images
    ]
