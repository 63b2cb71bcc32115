"""The command ``train``: of one model, or of several that differ in their seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescrnet.commands.interrupt import stoppable
from rescrnet.commands.options import ConfigFile, Data, Device, Preset, Set, given, resolved
from rescrnet.durations import parse_minutes
from rescrnet.errors import UsageError
from rescrnet.terminal import echo
from rescrnet.wording import count

if TYPE_CHECKING:
    from rescrnet.model import SegmentationModel
    from rescrnet.training.hardware import Hardware

Budget = Annotated[str | None, typer.Option(help="Plan the run to end after 90s, 5m or 1h; not with --epochs.")]
Seeds = Annotated[str | None, typer.Option(help="Train so many, or those of a list as 0,1,2; they predict as one.")]


def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="New run folder.", show_default=False)],
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Set = None,
    val: Annotated[str | None, typer.Option(help="Validation images: a fraction, names a,b,c, or a folder.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Go on from the weights of this model.")] = None,
    budget: Budget = None,
    max_time: Annotated[float | None, typer.Option(min=0, help="Stop at the last epoch that fits, minutes.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after as many epochs without a better one.")] = None,
    network: Annotated[str | None, typer.Option(help="res-cr-net, dense, very-dense, res-unet or unet.")] = None,
    resize: Annotated[tuple[int, int] | None, typer.Option(help="Resize images to height and width.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same weights.")] = None,
    seeds: Seeds = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(help="Processes that share every batch.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines, under a cluster's launcher.")] = 1,
    precision: Annotated[str, typer.Option(help="float32, or mixed bfloat16 or float16.")] = "float32",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
) -> None:
    """Train on a folder of labelled images."""
    if budget and epochs:
        raise UsageError("--budget", "plans the number of epochs itself", "leave --epochs out")
    named = given(
        {
            "training.budget": parse_minutes(budget, "--budget") if budget else None,
            "training.epochs": epochs,
            "training.patience": patience,
            "network.architecture": network,
            "data.resize": resize,
            "training.seed": seed,
        }
    )
    if from_ and (network or any(key.strip().startswith("network") for key in set_ or ())):
        raise UsageError("--from", "the network is that of the model", "leave out what sets it")
    if seeds and (seed is not None or max_time is not None):
        raise UsageError("--seeds", "takes no --seed and no --max-time", "list the seeds, and give --budget for a time")
    if resume and (preset or config or set_ or val or from_ or seeds or named.keys() - {"training.epochs"}):
        raise UsageError(
            "--resume", "the run keeps its configuration", "give no option but --epochs, --max-time and devices"
        )

    from rescrnet.model import load
    from rescrnet.training.hardware import Hardware
    from rescrnet.training.seeds import train_seeds
    from rescrnet.training.train import train as train_run

    settings, hardware = resolved(preset, config, set_, named), Hardware(device, devices, nodes, precision)
    with stoppable(f"the model so far is in {out}, and --resume continues"):
        if resume:
            model = _go_on(data, out, hardware, epochs, max_time)
        elif seeds:
            chosen = _parsed(seeds)
            model = train_seeds(data, out, settings, seeds=chosen, val=val, start=from_, hardware=hardware, member=_say)
        else:
            start = load(from_) if from_ else None
            model = train_run(data, out, settings, val=val, start=start, hardware=hardware, max_minutes=max_time)
    _conclude(model, out)


def _go_on(data: Path, out: Path, hardware: Hardware, epochs: int | None, max_time: float | None) -> SegmentationModel:
    """Continue the run in ``out``, or the runs of several seeds, of which nothing can be changed."""
    from rescrnet.training.seeds import has_seeds, resume_seeds
    from rescrnet.training.train import resume

    if not has_seeds(out):
        return resume(data, out, epochs=epochs, hardware=hardware, max_minutes=max_time)
    if epochs or max_time:
        raise UsageError(
            "--resume", f"{out} holds several runs, which keep their epochs", "leave out --epochs, --max-time"
        )
    return resume_seeds(data, out, hardware=hardware, member=_say)


def _parsed(seeds: str) -> int | list[int]:
    """How many seeds, or a list of them."""
    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {seeds}", "is no number", "expected how many, as 5, or a list, as 0,1,2") from None
    return numbers if "," in seeds else numbers[0]


def _say(name: str, number: int, of: int) -> None:
    echo(f"{name}, {number} of {of}", err=True)


def _conclude(model: SegmentationModel, out: Path) -> None:
    """Say how good the model is, and where."""
    from rescrnet.ensemble import Ensemble

    if isinstance(model, Ensemble):
        echo(f"{count(len(model.members), 'member')}, temperature {model.temperature:.2f}: {out}")
    elif trained := model.card.trained:
        echo(f"best epoch {trained.epoch}, validation Tanimoto {trained.val_tanimoto or 0:.3f}: {out}")
