"""The scores of many trainings in one table, and what they are averaged over."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rescrnet.evidence.statistics import Interval, interval
from rescrnet.evidence.units import Result
from rescrnet.scoring.image_scores import OF_CLASSES, OF_IMAGES
from rescrnet.wording import as_text

BOUNDS = {
    **dict.fromkeys((*OF_IMAGES, *OF_CLASSES), (0.0, 1.0)),
    "brier": (0.0, 2.0),
    "nll": (0.0, np.inf),
    "hd95": (0.0, np.inf),
}


@dataclass(frozen=True)
class Table:
    """Results of one method, and of one number of training images.

    Attributes:
        classes: names.
        groups: of every image, by stem.
        folds: that tests every image.
        results: of all folds and seeds.
    """

    classes: Sequence[str]
    groups: Mapping[str, str]
    folds: Mapping[str, int]
    results: Sequence[Result]

    def values(self, key: str, class_index: int | None = None, seed: int | None = None) -> dict[str, float]:
        """A score of every image, averaged over the seeds (or of one), in the order of the images.

        ``key`` is one of an image, or with ``class_index`` one of a class. NaN where the reference lacks the class.
        """
        found: dict[str, list[float]] = {}
        for result in self.results:
            if seed is None or result.unit.seed == seed:
                for stem, scores in result.scores.items():
                    value = scores.image[key] if class_index is None else scores.classes[class_index][key]
                    found.setdefault(stem, []).append(value)
        return {stem: _mean(found[stem]) for stem in self.folds if stem in found}

    def summary(self, key: str, class_index: int | None = None) -> Interval:
        """The mean over images, with its interval; groups count once."""
        values = self.values(key, class_index)
        return interval(list(values.values()), [self.groups[stem] for stem in values], bounds=BOUNDS[key])

    def between_seeds(self, key: str) -> float:
        """Standard deviation, from seed to seed, of the mean over all images; NaN of one seed."""
        seeds = sorted({result.unit.seed for result in self.results})
        means = [_mean(list(self.values(key, seed=seed).values())) for seed in seeds]
        return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")

    def rows(self) -> Iterable[list[Any]]:
        """Lines of ``scores.csv``: every image, seed and class; then averaged over the seeds."""
        for result in self.results:
            for stem, scores in result.scores.items():
                yield from self._lines(stem, str(result.unit.seed), scores.image, scores.classes)
        of_images = {key: self.values(key) for key in OF_IMAGES}
        of_classes = [{key: self.values(key, index) for key in OF_CLASSES} for index in range(len(self.classes))]
        for stem in of_images[OF_IMAGES[0]]:
            image = {key: values[stem] for key, values in of_images.items()}
            classes = [{key: values[stem] for key, values in one.items()} for one in of_classes]
            yield from self._lines(stem, "mean", image, classes)

    def _lines(
        self, stem: str, seed: str, image: Mapping[str, float], classes: Sequence[Mapping[str, float]]
    ) -> Iterable[list[Any]]:
        where = [as_text(stem), as_text(self.groups[stem]), self.folds[stem], seed]
        calibration = [_cell(image[key]) for key in OF_IMAGES[-3:]]
        means = [_cell(image.get(f"mean_{key}", float("nan"))) for key in OF_CLASSES]
        yield [*where, "all classes", *means, *calibration]
        for name, scores in zip(self.classes, classes, strict=True):
            yield [*where, name, *(_cell(scores[key]) for key in OF_CLASSES), "", "", ""]


COLUMNS = ("image", "group", "fold", "seed", "class", *OF_CLASSES, *OF_IMAGES[-3:])


def to_csv(tables: Mapping[str, Table], first: str = "") -> str:
    """``scores.csv`` of one table or, with the name of a ``first`` column, of several."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*([first] if first else []), *COLUMNS])
    for name, table in tables.items():
        writer.writerows([*([name] if first else []), *row] for row in table.rows())
    return text.getvalue()


def ledger_csv(results: Sequence[Result]) -> str:
    """``ledger.csv``: what every training cost."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = ("seconds", "cpu_seconds", "peak_memory", "parameters", "updates", "predict_seconds")
    writer.writerow(["method", "fold", "seed", "training_images", *keys])
    for result in results:
        costs = ["" if (value := result.cost.get(key)) is None else round(value, 3) for key in keys]
        writer.writerow([result.unit.method, result.unit.fold, result.unit.seed, result.trained, *costs])
    return text.getvalue()


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _cell(value: float) -> Any:
    return round(value, 6) if np.isfinite(value) else ""
