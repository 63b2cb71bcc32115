"""The commands ``samples`` and ``demo``: the program without images of one's own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rescrnet.commands.evaluate import print_scores
from rescrnet.commands.objects import ObjectsOfPredictions, print_counts
from rescrnet.terminal import echo


class SampleKind(StrEnum):
    """Kinds of synthetic micrographs."""

    em = "em"
    fm = "fm"


def samples(
    kind: Annotated[SampleKind, typer.Argument(help="Electron (grey) or fluorescence (RGB) micrographs.")],
    out: Annotated[Path, typer.Argument(help="New dataset folder.", show_default=False)],
    train: Annotated[int, typer.Option(help="Training images.")] = 8,
    val: Annotated[int, typer.Option(help="Validation images.")] = 4,
    size: Annotated[tuple[int, int], typer.Option(help="Height and width, pixels.")] = (262, 400),
    seed: Annotated[int, typer.Option(help="Same seed, same images.")] = 0,
) -> None:
    """Draw synthetic micrographs with exact masks, as a dataset to try things on."""
    from rescrnet.datasets.synthetic import write_dataset

    write_dataset(kind.value, out, train, val, size, seed)
    echo(f"{train} + {val} images in {out}")


def demo(
    out: Annotated[Path, typer.Option(help="New folder.")] = Path("rescrnet-demo"),
    epochs: Annotated[int, typer.Option(help="Number of epochs.")] = 24,
) -> None:
    """Do all of it in a few minutes: draw samples, train, predict, score, report."""
    from rescrnet.atomic import check_free
    from rescrnet.config import resolve
    from rescrnet.datasets.synthetic import write_dataset
    from rescrnet.inference.folder import predict_files
    from rescrnet.inference.options import ReadOptions, WriteOptions
    from rescrnet.inference.resources import Resources
    from rescrnet.reporting.page import report as write_report
    from rescrnet.scoring.evaluate import evaluate as evaluate_model
    from rescrnet.training.train import train as train_run

    check_free(out)
    # Smaller images than the presets are for, and more of them: as good as it gets in two minutes.
    small = {
        "training.epochs": epochs,
        "training.steps_per_epoch": 80,
        "data.patch_size": 160,
    }
    write_dataset("fm", out / "muscle-fibres", train=24, val=4, size=(144, 192))
    model = train_run(out / "muscle-fibres", out / "run", resolve(overrides=small))
    read, resources = ReadOptions(), Resources()
    of_objects = ObjectsOfPredictions((), read, resources)
    predict_files(
        model,
        [out / "muscle-fibres/val_local/images/img"],
        out / "masks",
        WriteOptions(probabilities=True, overlay=True),
        read=read,
        resources=resources,
        then=of_objects,
    )
    print_counts(of_objects.counts, 4)
    print_scores(evaluate_model(model, out / "muscle-fibres", out / "scores"))
    echo(write_report(out / "run"))
