"""The report of a run: one HTML file with pictures, curves, scores and configuration, and nothing beside it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.atomic import write_atomically
from rescrnet.datasets.dataset import Sample
from rescrnet.ensemble import Ensemble, load
from rescrnet.errors import DataError
from rescrnet.locks import locked
from rescrnet.model import SegmentationModel
from rescrnet.reporting.figures import LARGEST, PLOTS, UNLABELLED_COLOUR, Picture, curves, pictures
from rescrnet.reporting.objects import Compared, object_sections
from rescrnet.reporting.render import render
from rescrnet.reporting.summary import AGREEMENT, METRICS, SPLITS, accuracy, in_words, mean_iou, title
from rescrnet.scoring.counts import Counts, ratio
from rescrnet.scoring.evaluate import Evaluation, Subset, compare_objects, evaluate
from rescrnet.training.folder import RunDataset, RunFolder, RunRecord
from rescrnet.training.seeds import has_seeds, read_seeds
from rescrnet.validation import Folder
from rescrnet.wording import as_text

MOST_IMAGES = 12
"""More images than this are not all shown: half of these are then the worst, half the best."""
_FULL_SIZE = 4  # more images than this are shown smaller, so that the page remains a few megabytes


@dataclass(frozen=True)
class Predicted:
    """An image, its mask, and its prediction.

    Attributes:
        sample: the image and its mask.
        classes: predicted class indices, YX uint8.
    """

    sample: Sample
    classes: NDArray[np.uint8]


@dataclass(frozen=True)
class ScoreRow:
    """An image in the page."""

    stem: str
    counts: Counts
    pictures: list[Picture]


def report(run: str | Path, data: str | Path | None = None, split: Subset = "val") -> Path:
    """Write ``report.html`` into a run folder: a page for people, which needs no other file and no network.

    Args:
        run: a run folder.
        data: the dataset, where it has moved, or another of the same classes; the run's own where left out.
        split: which images are scored and shown: ``val``, ``train`` or ``all``.

    Returns:
        The path of the page.

    Raises:
        ModelError: ``run`` is no run folder, nor one of ``train --seeds``, or holds no model.
        DataError: the dataset is gone, not valid, or does not fit the model.
        OutputError: the page cannot be written; a former one stays as it is.
    """
    path = Path(run)
    # Of several runs the first says what they were trained with.
    folder = RunFolder(path / f"seed-{read_seeds(path).seeds[0]}" if has_seeds(path) else path)
    folder.read_record()  # that there is one
    with locked(path):
        return _write_page(path, folder, data, split)


def _write_page(out: Path, folder: RunFolder, data: str | Path | None, split: Subset) -> Path:
    record = folder.read_record()
    model = load(out)
    data = _recorded_dataset(record.dataset, folder.path, split) if data is None else Path(data)
    predicted: list[Predicted] = []
    objects: dict[str, list[Compared]] = {name: [] for name in model.card.object_settings}

    def keep(sample: Sample, probabilities: NDArray[np.float32]) -> None:
        predicted.append(Predicted(sample, probabilities.argmax(0).astype(np.uint8)))
        for name, (true, found) in compare_objects(model, sample, probabilities).items():
            objects[name].append(Compared(sample, true, found))

    evaluation = evaluate(model, data, split=split, seen=keep)
    html = render(
        "report.html.jinja",
        **_about(folder, record, data, _epoch(model)),
        folder=out.resolve(),
        ensemble=model.described if isinstance(model, Ensemble) else "",
        **_scores(evaluation),
        summary=in_words(record, evaluation),
        images=_image_rows(predicted, evaluation, model.colours),
        colours=[*model.colours, UNLABELLED_COLOUR],
        objects=object_sections(objects, evaluation.object_counts),
    )
    path = out / "report.html"
    write_atomically(path, lambda partial: partial.write_text(as_text(html), encoding="utf-8"))
    return path


def _epoch(model: SegmentationModel) -> int:
    """The epoch of the weights, of the first member where there are several."""
    first = model.members[0] if isinstance(model, Ensemble) else model
    return first.card.trained.epoch if first.card.trained else 0


def _recorded_dataset(dataset: RunDataset, run: Path, split: Subset) -> Path:
    """The dataset of the run, or the folder that validated it where that was another."""
    data = Path(dataset.folder)
    if split == "val" and isinstance(dataset.validation, Folder):
        data = dataset.validation.folder
    if not data.is_dir():
        raise DataError(data, f"the dataset that {run} was trained on is not there", "say where it is with --data")
    return data


def _about(folder: RunFolder, record: RunRecord, data: Path, epoch: int) -> dict[str, Any]:
    """What the page says of the run."""
    history = folder.read_history()
    environment = record.environment.model_dump(mode="json")
    return {
        "record": record,
        "scored": data.resolve(),
        "dataset": Path(record.dataset.folder),
        "trained": record.environment.started,
        "written": datetime.now(UTC),
        "epoch": epoch,
        "history": history,
        "curves": [curves(history, epoch, plot) for plot in PLOTS] if history else [],
        "validation_size": folder.read_config().data.validation_size,
        "config": folder.read_config().to_yaml(),
        "environment": {**environment, "command": shlex.join(record.environment.command)},
        "hardware": asdict(record.hardware),
    }


def _scores(evaluation: Evaluation) -> dict[str, Any]:
    """What the page says of the scores."""
    counts = evaluation.counts
    return {
        "split": SPLITS[evaluation.split],
        "title": title(evaluation.classes),
        "evaluation": evaluation,
        "pooled": counts.pooled(),
        "metrics": METRICS,
        "agreement": AGREEMENT,
        "classes": list(zip(evaluation.classes, counts.per_class(), strict=True)),
        "confusion": [[(int(n), ratio(n, row.sum())) for n in row] for row in counts.confusion],
        "unscored": any(value is None for scores in counts.per_class() for value in scores.values()),
        "accuracy": accuracy(counts),
        "mean_iou": mean_iou(counts),
        "mean_iou_of": mean_iou,
    }


def _image_rows(predicted: Sequence[Predicted], evaluation: Evaluation, colours: Sequence[str]) -> list[ScoreRow]:
    """All images in their order, or the worst and the best by their Tanimoto coefficient, the worst first."""
    chosen = list(predicted)
    if len(chosen) > MOST_IMAGES:
        chosen.sort(key=lambda image: evaluation.images[image.sample.stem].pooled()["tanimoto"] or 0.0)
        chosen = chosen[: MOST_IMAGES // 2] + chosen[-(MOST_IMAGES // 2) :]
    longest = round(LARGEST * min(1.0, (_FULL_SIZE / len(chosen)) ** 0.5))
    return [
        ScoreRow(
            image.sample.stem,
            evaluation.images[image.sample.stem],
            pictures(image.sample, image.classes, colours, longest),
        )
        for image in chosen
    ]
