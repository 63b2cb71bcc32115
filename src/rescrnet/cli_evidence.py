"""The commands ``crossval``, ``compare`` and ``curve``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from rescrnet.terminal import INTERRUPTED, echo

Data = Annotated[Path, typer.Argument(help="Folder of images and masks.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="New folder for models, scores and the page.", show_default=False)]
Folds = Annotated[int, typer.Option(help="Parts that are tested in turn; groups of images stay whole.")]
Preset = Annotated[str | None, typer.Option(help="standard (default), laptop, paper-em or paper-fm.")]
ConfigFile = Annotated[Path | None, typer.Option(help="YAML file over the preset.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key=value over both, repeatable.")]
Margin = Annotated[float, typer.Option(help="A difference of mean IoU that does not matter.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was begun in --out.")]


def crossval(
    data: Data,
    out: Out,
    folds: Folds = 4,
    seeds: Annotated[int, typer.Option(help="Trainings of each fold.")] = 3,
    budget: Annotated[
        str | None, typer.Option(help="Training time of all together, as 30m or 2h; else the preset's epochs each.")
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    resume: Resume = False,
) -> None:
    """Score on all labelled images by cross-validation: scores with intervals, a page, models for each fold."""
    from rescrnet.evidence.crossval import crossval as run
    from rescrnet.reporting.crossval_page import write_page

    seconds = _seconds(budget)
    with _goes_on():
        found = run(
            data, out, _resolved(preset, config, set_), folds=folds, seeds=seeds, seconds=seconds, resume=resume
        )
        page = write_page(found)
    echo(found.stats["words"]["result"])
    echo(page)


def compare(
    data: Data,
    out: Out,
    methods: Annotated[
        str, typer.Option(help="Names, or my_file.py:function, with commas; the first is what others are held to.")
    ] = "res-cr-net,res-unet,unet,dynunet,forest",
    crf: Annotated[
        bool, typer.Option("--crf", help="Also each method with a conditional random field behind it, as NAME+crf.")
    ] = False,
    folds: Folds = 4,
    seeds: Annotated[int, typer.Option(help="Trainings of each method and fold.")] = 2,
    budget: Annotated[str | None, typer.Option(help="Time for each training, as 10m (default).")] = None,
    updates: Annotated[int | None, typer.Option(min=1, help="Steps for each training, instead of a time.")] = None,
    margin: Margin = 0.01,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    resume: Resume = False,
) -> None:
    """Train several methods on the same folds and say which is better, equivalent, or undecided; a page."""
    from rescrnet.evidence.compare import compare as run
    from rescrnet.reporting.compare_page import write_page

    seconds = _seconds(budget)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    names += [f"{name}+crf" for name in names if crf and not name.endswith("+crf")]
    with _goes_on():
        found = run(
            data,
            out,
            names,
            _resolved(preset, config, set_),
            folds=folds,
            seeds=seeds,
            seconds=seconds,
            updates=updates,
            margin=margin,
            resume=resume,
        )
        page = write_page(found)
    echo(found.stats["words"]["result"])
    echo(page)


def curve(
    data: Data,
    out: Out,
    sizes: Annotated[str | None, typer.Option(help="Numbers of training images, as 2,4,8; else 2, 4, 6, …")] = None,
    folds: Folds = 4,
    seeds: Annotated[int, typer.Option(help="Trainings of each fold and number.")] = 2,
    budget: Annotated[str | None, typer.Option(help="Training time of all together; else the preset's epochs.")] = None,
    margin: Margin = 0.01,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    resume: Resume = False,
) -> None:
    """Train on more and more images, and say whether five more would help; a page."""
    from rescrnet.evidence.curve import curve as run
    from rescrnet.reporting.curve_page import write_page

    seconds = _seconds(budget)
    with _goes_on():
        found = run(
            data,
            out,
            _resolved(preset, config, set_),
            sizes=_numbers(sizes) if sizes is not None else (),
            folds=folds,
            seeds=seeds,
            seconds=seconds,
            margin=margin,
            resume=resume,
        )
        page = write_page(found)
    echo(found.stats["words"]["result"])
    echo(page)


def _numbers(text: str) -> list[int]:
    from rescrnet.errors import UsageError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--sizes {text}", "is no list of numbers", "expected such as 2,4,8") from None


@contextmanager
def _goes_on() -> Iterator[None]:
    """Say after Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        echo("stopped; the same command with --resume goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _resolved(preset: str | None, config: Path | None, set_: list[str] | None) -> Any:
    from rescrnet.config import DEFAULT_PRESET, parse_overrides, resolve

    return resolve(preset or DEFAULT_PRESET, config, parse_overrides(set_ or []))


def _seconds(budget: str | None) -> float | None:
    from rescrnet.durations import parse_minutes

    return None if budget is None else 60 * parse_minutes(budget, "--budget")


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(crossval)
    app.command()(compare)
    app.command()(curve)
