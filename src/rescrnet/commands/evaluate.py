"""The commands ``evaluate`` and ``report``: how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rescrnet.commands.models import load_model
from rescrnet.commands.options import Augmentation, Data, Device, Model, Out, Rescale, SplitName
from rescrnet.terminal import echo
from rescrnet.wording import printable

if TYPE_CHECKING:
    from rich.console import Console

    from rescrnet.scoring.evaluate import Evaluation


def evaluate(
    model: Model,
    data: Data,
    out: Out,
    split: Annotated[SplitName, typer.Option(help="Which images to score.")] = SplitName.val,
    rescale: Rescale = False,
    test_time_augmentation: Augmentation = False,
    device: Device = "auto",
) -> None:
    """Score a model on labelled images: scores.json and scores.csv."""
    from rescrnet.atomic import check_free
    from rescrnet.scoring.evaluate import evaluate as evaluate_model

    check_free(out)
    loaded = load_model(model, device, test_time_augmentation=test_time_augmentation)
    print_scores(evaluate_model(loaded, data, out, split.value, rescale=rescale))
    echo(f"scores in {out}")


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="The dataset, where it has moved, or another.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which images to show.")] = SplitName.val,
) -> None:
    """Write report.html into a run folder: pictures, curves, scores and configuration in one file."""
    from rescrnet.reporting.page import report as write_report

    echo(write_report(run, data, split.value))


def print_scores(evaluation: Evaluation) -> None:
    """Print the scores of all images together, those of each class, and those of objects where there are any."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def text(value: Any) -> str:
        return "–" if value is None else f"{value:.3f}"

    console = Console()
    pooled = Table(*evaluation.counts.pooled(), title=f"{len(evaluation.images)} images, pooled")
    pooled.add_row(*map(text, evaluation.counts.pooled().values()))
    console.print(pooled)
    names = ("iou", "dice", "precision", "recall")
    classes = Table()
    for column in ("class", *names):
        classes.add_column(column, overflow="fold")
    for name, scores in zip(evaluation.classes, evaluation.counts.per_class(), strict=True):
        classes.add_row(Text(printable(name)), *(text(scores[key]) for key in names))
    console.print(classes)
    _print_object_scores(evaluation, console)


def _print_object_scores(evaluation: Evaluation, console: Console) -> None:
    """Print how well the objects of each class agree, where there are any."""
    from rich.table import Table
    from rich.text import Text

    if not any(counts.true or counts.predicted for counts in evaluation.object_counts.values()):
        return
    columns = ("true", "found", "F1", "AP", "AP to 0.9", "PQ", "split", "merged")
    table = Table(title="objects, matched where intersection over union is at least 0.5")
    for column in ("objects of", *columns):
        table.add_column(column, overflow="fold")
    for name, counts in evaluation.object_counts.items():
        at = counts.at(0.5)
        scores = [at["f1"], at["average_precision"], counts.mean_average_precision, at["panoptic_quality"]]
        cells = ["–" if score is None else f"{score:.3f}" for score in scores]
        numbers = (counts.true, counts.predicted, *cells, counts.split, counts.merged)
        table.add_row(Text(printable(name)), *map(str, numbers))
    console.print(table)
