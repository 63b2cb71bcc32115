"""The commands ``crossval``, ``compare`` and ``curve``: how good, and how sure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from rescrnet.commands.interrupt import stoppable
from rescrnet.commands.options import ConfigFile, Data, Preset, Set, listed, resolved
from rescrnet.durations import parse_minutes
from rescrnet.errors import UsageError
from rescrnet.terminal import echo

Out = Annotated[Path, typer.Option("--out", help="New folder for models, scores and the page.", show_default=False)]
Folds = Annotated[int, typer.Option(help="Parts that are tested in turn; groups of images stay whole.")]
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

    seconds, settings = _seconds(budget), resolved(preset, config, set_)
    experiment = partial(run, data, out, settings, folds=folds, seeds=seeds, seconds=seconds, resume=resume)
    _carry_out(experiment, write_page)


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

    seconds, settings = _seconds(budget), resolved(preset, config, set_)
    names = [name for name in listed(methods) if name]
    names += [f"{name}+crf" for name in names if crf and not name.endswith("+crf")]
    experiment = partial(
        run,
        data,
        out,
        names,
        settings,
        folds=folds,
        seeds=seeds,
        seconds=seconds,
        updates=updates,
        margin=margin,
        resume=resume,
    )
    _carry_out(experiment, write_page)


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

    seconds, settings = _seconds(budget), resolved(preset, config, set_)
    experiment = partial(
        run,
        data,
        out,
        settings,
        sizes=_numbers(sizes) if sizes is not None else (),
        folds=folds,
        seeds=seeds,
        seconds=seconds,
        margin=margin,
        resume=resume,
    )
    _carry_out(experiment, write_page)


def _carry_out(experiment: Callable[[], Any], write_page: Callable[[Any], Path]) -> None:
    """Carry an experiment out, draw its page, and say what it found and where the page is."""
    with stoppable("the same command with --resume goes on"):
        found = experiment()
        page = write_page(found)
    echo(found.stats["words"]["result"])
    echo(page)


def _seconds(budget: str | None) -> float | None:
    return None if budget is None else 60 * parse_minutes(budget, "--budget")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--sizes {text}", "is no list of numbers", "expected such as 2,4,8") from None
