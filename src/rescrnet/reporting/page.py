"""The report of a run: one HTML file with pictures, curves, scores and configuration, and nothing beside it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from rescrnet.atomic import write_atomically
from rescrnet.datasets.dataset import Sample
from rescrnet.errors import DataError
from rescrnet.model import load
from rescrnet.reporting.figures import LARGEST, UNLABELLED, Picture, loss_curves, pictures, tanimoto_curve
from rescrnet.reporting.summary import AGREEMENT, METRICS, SPLITS, accuracy, count, in_words, mean_iou, percent, score
from rescrnet.scoring.counts import Counts, ratio
from rescrnet.scoring.evaluate import Evaluation, Split, evaluate
from rescrnet.training.folder import RunDataset, RunFolder, RunRecord
from rescrnet.validation import Folder

MOST_IMAGES = 12
"""More images than this are not all shown: half of these are then the worst, half the best."""
_FULL_SIZE = 4  # more images than this are shown smaller, so that the page remains a few megabytes


@dataclass(frozen=True)
class Seen:
    """An image, its mask, and its prediction, class indices YX uint8."""

    sample: Sample
    predicted: NDArray[np.uint8]


@dataclass(frozen=True)
class ImageRow:
    """An image in the page."""

    stem: str
    counts: Counts
    pictures: list[Picture]


def report(run: str | Path, data: str | Path | None = None, split: Split = "val") -> Path:
    """Write ``report.html`` into a run folder: a page for people, which needs no other file and no network.

    Args:
        run: a run folder.
        data: the dataset, where it has moved, or another of the same classes; the run's own where left out.
        split: which images are scored and shown: ``val``, ``train`` or ``all``.

    Returns:
        The path of the page.

    Raises:
        ModelError: ``run`` is no run folder or holds no model.
        DataError: the dataset is gone, not valid, or does not fit the model.
        OutputError: the page cannot be written; a former one stays as it is.
    """
    folder = RunFolder(Path(run))
    record = folder.read_record()
    model = load(folder.path)
    data = _recorded_dataset(record.dataset, folder.path, split) if data is None else Path(data)
    seen: list[Seen] = []

    def see(sample: Sample, probabilities: NDArray[np.float32]) -> None:
        seen.append(Seen(sample, probabilities.argmax(0).astype(np.uint8)))

    evaluation = evaluate(model, data, split=split, seen=see)
    html = render(
        "template.html.jinja",
        **_about(folder, record, data, model.card.trained.epoch if model.card.trained else 0),
        **_scores(evaluation),
        summary=in_words(record, evaluation),
        images=_image_rows(seen, evaluation, model.colours),
        colours=[*model.colours, UNLABELLED],
    )
    path = folder.path / "report.html"
    write_atomically(path, lambda partial: partial.write_text(html, encoding="utf-8"))
    return path


def _recorded_dataset(dataset: RunDataset, run: Path, split: Split) -> Path:
    """The dataset of the run, or the folder that validated it where that was another."""
    data = Path(dataset.folder)
    if split == "val" and isinstance(dataset.validation, Folder):
        data = dataset.validation.folder
    if not data.is_dir():
        raise DataError(f"{data}: the dataset that {run} was trained on is not there; say where it is with --data")
    return data


def _about(folder: RunFolder, record: RunRecord, data: Path, epoch: int) -> dict[str, Any]:
    """What the page says of the run."""
    history = folder.read_history()
    environment = record.environment.model_dump(mode="json")
    return {
        "run": folder.path.resolve().name,
        "record": record,
        "scored": data.resolve(),
        "dataset": Path(record.dataset.folder),
        "trained": _date(record.environment.started),
        "written": _date(datetime.now(UTC)),
        "epoch": epoch,
        "history": history,
        "curves": [draw(history, epoch) for draw in (loss_curves, tanimoto_curve)] if history else [],
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
        "evaluation": evaluation,
        "pooled": counts.pooled(),
        "metrics": METRICS,
        "agreement": AGREEMENT,
        "classes": list(zip(evaluation.classes, counts.per_class(), strict=True)),
        "confusion": [[(int(n), ratio(n, row.sum())) for n in row] for row in counts.confusion],
        "unscored": any(value is None for scores in counts.per_class() for value in scores.values()),
        "accuracy": accuracy(counts),
        "mean_iou": mean_iou(counts),
    }


def _image_rows(seen: Sequence[Seen], evaluation: Evaluation, colours: Sequence[str]) -> list[ImageRow]:
    """All images in their order, or the worst and the best by their Tanimoto coefficient, the worst first."""
    chosen = list(seen)
    if len(chosen) > MOST_IMAGES:
        chosen.sort(key=lambda one: evaluation.images[one.sample.stem].pooled()["tanimoto"] or 0.0)
        chosen = chosen[: MOST_IMAGES // 2] + chosen[-(MOST_IMAGES // 2) :]
    longest = round(LARGEST * min(1.0, (_FULL_SIZE / len(chosen)) ** 0.5))
    return [
        ImageRow(
            one.sample.stem,
            evaluation.images[one.sample.stem],
            pictures(one.sample, one.predicted, colours, longest),
        )
        for one in chosen
    ]


def render(template: str, **values: Any) -> str:
    """A page from its template."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(score=score, percent=percent, pixels=_pixels, mean_iou=mean_iou, count=count)
    return environment.get_template(template).render(**values)


def _pixels(number: int) -> str:
    """A number with its digits in threes, as 104 800."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _date(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"
