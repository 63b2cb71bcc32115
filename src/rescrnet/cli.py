"""The command line: one verb a function. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from rescrnet import __version__, cli_evidence
from rescrnet.cli_members import print_ensemble, resume_members, train_members
from rescrnet.cli_objects import (
    ObjectsOfPredictions,
    check_object_classes,
    describe_objects,
    objects,
    print_counts,
    print_object_scores,
)
from rescrnet.cli_suggest import suggest
from rescrnet.errors import RescrnetError, RescrnetWarning, UsageError
from rescrnet.exchange import commands as exchange
from rescrnet.terminal import INTERRUPTED, echo
from rescrnet.wording import count, one_line, printable

if TYPE_CHECKING:
    from rescrnet.checking.check import Checked
    from rescrnet.model import SegmentationModel
    from rescrnet.scoring.evaluate import Evaluation
    from rescrnet.training.estimate import Estimate

app = typer.Typer(
    help="Segment micrographs with Res-CR-Net, trained on about ten labelled images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_CommandLineError: Any = typer.BadParameter.__base__  # Click's UsageError, which newer typers carry themselves


class SampleKind(StrEnum):
    """Kinds of synthetic micrographs."""

    em = "em"
    fm = "fm"


class SplitName(StrEnum):
    """Which images of a dataset."""

    val = "val"
    train = "train"
    all = "all"


Data = Annotated[Path, typer.Argument(help="Folder of images and masks.", show_default=False)]
Model = Annotated[Path, typer.Argument(help="Run folder, model file, or folder of several.", show_default=False)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Out = Annotated[Path, typer.Option("--out", help="New folder for the results.", show_default=False)]
Augmentation = Annotated[
    bool, typer.Option("--test-time-augmentation", help="Average over flips and quarter turns; takes 8 times as long.")
]


@app.command()
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


@app.command()
def check(
    data: Data,
    val: Annotated[str | None, typer.Option(help="Validation images, as in train.")] = None,
    instances: Annotated[
        str | None,
        typer.Option(help="Masks number objects: width of the boundary to make, pixels, or as 0.5um.", metavar="WIDTH"),
    ] = None,
    fix: Annotated[Path | None, typer.Option(help="New folder for a corrected copy.", show_default=False)] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures.", show_default=False)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    estimate: Annotated[bool, typer.Option(help="Measure a training step, and say what training will take.")] = True,
) -> None:
    """Look a dataset over before training: what it is, what is wrong with it, and what to do."""
    import json
    from contextlib import nullcontext

    from rich.console import Console

    from rescrnet.atomic import check_free
    from rescrnet.checking.check import check as check_dataset
    from rescrnet.checking.fix import write_corrected
    from rescrnet.checking.tables import to_dict
    from rescrnet.checking.terminal import show, summary
    from rescrnet.classes import MaskDeclaration
    from rescrnet.config import validate

    declared = {}
    if instances is not None:
        width = validate(MaskDeclaration, {"instance_boundary": instances}, "--instances").instance_boundary
        declared = {"instance_boundary": width}
    if fix:
        check_free(fix)
    messages = Console(stderr=True)
    with messages.status("looking at the images") if messages.is_terminal else nullcontext():
        checked = check_dataset(data, val, declared=declared)
        expected = _expected(checked) if estimate and not checked.errors else None
    if json_:
        typer.echo(json.dumps({**to_dict(checked), "estimate": vars(expected) if expected else None}, indent=2))
    else:
        show(checked, Console())
        if expected:
            echo(expected)
    if html:
        from rescrnet.reporting.check_page import write_page

        write_page(checked, html, str(expected or ""))
        echo(f"page in {html}", err=True)
    if fix:
        echo(f"corrected copy in {fix}: {write_corrected(checked, fix)}", err=True)
        echo(f"of the copy: {summary(check_dataset(fix))}", err=True)
    if checked.errors:
        raise typer.Exit(1)


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="New run folder.", show_default=False)],
    preset: Annotated[str | None, typer.Option(help="standard (default), laptop, paper-em or paper-fm.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file over the preset.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over both, repeatable.")] = None,
    val: Annotated[str | None, typer.Option(help="Validation images: a fraction, names a,b,c, or a folder.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Go on from the weights of this model.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Plan the run to end after 90s, 5m or 1h; not with --epochs.")
    ] = None,
    max_time: Annotated[float | None, typer.Option(min=0, help="Stop at the last epoch that fits, minutes.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after as many epochs without a better one.")] = None,
    network: Annotated[str | None, typer.Option(help="res-cr-net, dense, very-dense, res-unet or unet.")] = None,
    resize: Annotated[tuple[int, int] | None, typer.Option(help="Resize images to height and width.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same weights.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Train so many, or those of a list as 0,1,2; they predict as one.")
    ] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(help="Processes that share every batch.")] = 1,
    nodes: Annotated[int, typer.Option(help="Machines, under a cluster's launcher.")] = 1,
    precision: Annotated[str, typer.Option(help="float32, or mixed bfloat16 or float16.")] = "float32",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
) -> None:
    """Train on a folder of labelled images."""
    from rescrnet.durations import parse_minutes

    if budget and epochs:
        raise UsageError("--budget", "plans the number of epochs itself", "leave --epochs out")
    given = {
        "training.budget": parse_minutes(budget, "--budget") if budget else None,
        "training.epochs": epochs,
        "training.patience": patience,
        "network.architecture": network,
        "data.resize": resize,
        "training.seed": seed,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    if from_ and (network or any(key.strip().startswith("network") for key in set_ or ())):
        raise UsageError("--from", "the network is that of the model", "leave out what sets it")
    if seeds and (seed is not None or max_time is not None):
        raise UsageError("--seeds", "takes no --seed and no --max-time", "list the seeds, and give --budget for a time")
    if resume and (preset or config or set_ or val or from_ or seeds or set(overrides) - {"training.epochs"}):
        raise UsageError(
            "--resume", "the run keeps its configuration", "give no option but --epochs, --max-time and devices"
        )

    from rescrnet.config import DEFAULT_PRESET, parse_overrides, resolve
    from rescrnet.model import load
    from rescrnet.training.hardware import Hardware
    from rescrnet.training.seeds import has_seeds
    from rescrnet.training.train import resume as resume_run
    from rescrnet.training.train import train as train_run

    resolved = resolve(preset or DEFAULT_PRESET, config, {**parse_overrides(set_ or []), **overrides})
    hardware = Hardware(device, devices, nodes, precision)
    try:
        if seeds:
            train_members(data, out, resolved, seeds, val, from_, hardware)
            return
        if resume and has_seeds(out):
            resume_members(data, out, hardware, changed=bool(epochs or max_time))
            return
        if resume:
            model = resume_run(data, out, epochs=epochs, hardware=hardware, max_minutes=max_time)
        else:
            start = load(from_) if from_ else None
            model = train_run(data, out, resolved, val=val, start=start, hardware=hardware, max_minutes=max_time)
    except KeyboardInterrupt:
        echo(f"stopped; the model so far is in {out}, and --resume continues", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if trained := model.card.trained:
        echo(f"best epoch {trained.epoch}, validation Tanimoto {trained.val_tanimoto or 0:.3f}: {out}")


@app.command()
def predict(
    model: Model,
    inputs: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)],
    out: Out,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write them, float32.")] = False,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Also write a map of it, 0 to 1.")] = False,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw the classes over the image.")] = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="Also number and measure objects; writes probabilities too.")
    ] = False,
    object_class: Annotated[list[str] | None, typer.Option(help="Class of the objects, repeatable.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="png, tiff or ome-zarr; else as the image.")] = None,
    label: Annotated[str | None, typer.Option(help="Put masks into the OME-Zarr images, as labels/NAME.")] = None,
    level: Annotated[int, typer.Option(min=0, help="Of an image pyramid, 0 the finest.")] = 0,
    fill_missing: Annotated[bool, typer.Option("--fill-missing", help="Take missing chunks for empty.")] = False,
    rescale: Annotated[bool, typer.Option("--rescale", help="See images at the training images' pixel size.")] = False,
    axes: Annotated[str | None, typer.Option(help="Of files that do not say theirs: CYX, YXC, NCYX.")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Sub-folders, also beside images.")] = False,
    test_time_augmentation: Augmentation = False,
    memory: Annotated[str | None, typer.Option(help="A process's most, as 1GB; else half of what is free.")] = None,
    scratch: Annotated[Path | None, typer.Option(help="Folder for large images; else beside the results.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes on this machine.")] = None,
    dask: Annotated[str | None, typer.Option(help="Address of a running Dask scheduler.")] = None,
    device: Device = "auto",
) -> None:
    """Segment images of any size: a class-index mask for each, and classes.json.

    Those that cannot be segmented are left out and listed in failed.csv; the same command then does what is missing.
    """
    if workers is not None and dask is not None:
        raise UsageError(
            "--workers, --dask", "both are given", "give one of them; a Dask scheduler has workers of its own"
        )

    from dataclasses import replace

    from rescrnet.atomic import check_free
    from rescrnet.ensemble import load
    from rescrnet.inference.budget import default_budget, parse_bytes
    from rescrnet.inference.cluster import executor
    from rescrnet.inference.folder import FAILED, predict_files
    from rescrnet.inference.inputs import describe_left_out, find_inputs, join_channels
    from rescrnet.inference.journal import MANIFEST
    from rescrnet.inference.options import ReadOptions, WriteOptions
    from rescrnet.inference.progress import progress
    from rescrnet.inference.resources import Resources
    from rescrnet.ops.buffers import keep_freed_memory

    read = ReadOptions(level, fill_missing, rescale, _axes(axes) if axes else "")
    check_free(out, MANIFEST)
    allowed = parse_bytes(memory) if memory is not None else default_budget()
    found = find_inputs(inputs, recursive=recursive)
    loaded = load(model, device, test_time_augmentation=test_time_augmentation)
    print_ensemble(loaded)
    for note in describe_left_out(found.left_out, found.masks):
        echo(f"note: {note}", err=True)
    found = replace(found, images=join_channels(found.images, loaded.card.in_channels))
    keep_freed_memory()
    found_objects = objects or bool(object_class)
    if found_objects and label is not None:
        raise UsageError("--objects, --label", "are both given", "leave --label out, objects are measured in a folder")
    check_object_classes(loaded, object_class or [])
    write = WriteOptions(probabilities or found_objects, overlay, format_, label, uncertainty)
    failures: list[str] = []

    def failed(image: str, error: RescrnetError) -> None:
        failures.append(image)
        echo(f"rescrnet: {one_line(error)}", err=True)

    try:
        with executor(workers, dask) as running, progress(len(found.images)) as advance:
            resources = Resources(allowed, scratch=scratch, executor=running)
            of_objects = ObjectsOfPredictions(tuple(object_class or ()), read, resources, [])
            masks = predict_files(
                loaded,
                found,
                out,
                write,
                read=read,
                resources=resources,
                advance=advance,
                failed=failed,
                then=of_objects if found_objects else None,
            )
    except KeyboardInterrupt:
        echo("stopped; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    where = out if label is None else f"labels/{label} of the images"
    echo(f"{count(len(masks), 'mask')} in {where}")
    print_counts(of_objects.counts, len(masks))
    if failures:
        echo(
            f"rescrnet: {len(failures)} of {count(len(found.images), 'image')} could not be predicted, "
            f"{out / FAILED} says why; fix them, and the same command does what is missing",
            err=True,
        )
        raise typer.Exit(1)


app.command()(objects)
app.command()(suggest)


@app.command()
def evaluate(
    model: Model,
    data: Data,
    out: Out,
    split: Annotated[SplitName, typer.Option(help="Which images to score.")] = SplitName.val,
    rescale: Annotated[bool, typer.Option("--rescale", help="See images at the training images' pixel size.")] = False,
    test_time_augmentation: Augmentation = False,
    device: Device = "auto",
) -> None:
    """Score a model on labelled images: scores.json and scores.csv."""
    from rescrnet.atomic import check_free
    from rescrnet.ensemble import load
    from rescrnet.scoring.evaluate import evaluate as evaluate_model

    check_free(out)
    loaded = load(model, device, test_time_augmentation=test_time_augmentation)
    print_ensemble(loaded)
    _print_scores(evaluate_model(loaded, data, out, split.value, rescale=rescale))
    echo(f"scores in {out}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="The dataset, where it has moved, or another.")] = None,
    split: Annotated[SplitName, typer.Option(help="Which images to show.")] = SplitName.val,
) -> None:
    """Write report.html into a run folder: pictures, curves, scores and configuration in one file."""
    from rescrnet.reporting.page import report as write_report

    echo(write_report(run, data, split.value))


@app.command()
def info(
    model: Annotated[Path | None, typer.Argument(help="Run folder or model file.", show_default=False)] = None,
    machine: Annotated[bool, typer.Option("--machine", help="Say which compiled kernels this machine uses.")] = False,
) -> None:
    """Say what a model is and where it comes from, or what this machine computes with."""
    if model is None and not machine:
        raise UsageError("info", "neither a model nor --machine is given", "name a model, or add --machine")
    if machine:
        _print_machine()
    if model is not None:
        from rescrnet.ensemble import load

        _print_info(load(model))


@app.command("import-keras")
def import_keras(
    weights: Annotated[Path, typer.Argument(help="Weights or model of the authors' program, .h5.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="New model file.", show_default=False)],
    architecture: Annotated[Path | None, typer.Option(help="The network as Keras JSON.")] = None,
    classes: Annotated[str | None, typer.Option(help="Names of the classes in order: a,b,c.")] = None,
    variant: Annotated[str | None, typer.Option(help="For weights alone: dense or very-dense.")] = None,
) -> None:
    """Turn a checkpoint of the authors' Keras program into a model."""
    from rescrnet.exchange.keras import import_keras as convert

    names = [name.strip() for name in classes.split(",")] if classes else None
    _print_info(convert(weights, out, architecture, names, variant=variant))  # type: ignore[arg-type]
    echo(out)


exchange.register(app)
cli_evidence.register(app)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="New folder.")] = Path("rescrnet-demo"),
    epochs: Annotated[int, typer.Option(help="Number of epochs.")] = 8,
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
    # Smaller images than the presets are for, and more of them: as good as it gets in a minute or two.
    small = {
        "training.epochs": epochs,
        "training.steps_per_epoch": 80,
        "data.patch_size": 160,
    }
    write_dataset("fm", out / "muscle-fibres", train=24, val=4, size=(144, 192))
    model = train_run(out / "muscle-fibres", out / "run", resolve(overrides=small))
    read, resources, counts = ReadOptions(), Resources(), list[tuple[str, int]]()
    predict_files(
        model,
        [out / "muscle-fibres/val_local/images/img"],
        out / "masks",
        WriteOptions(probabilities=True, overlay=True),
        read=read,
        resources=resources,
        then=ObjectsOfPredictions((), read, resources, counts),
    )
    print_counts(counts, 4)
    _print_scores(evaluate_model(model, out / "muscle-fibres", out / "scores"))
    echo(write_report(out / "run"))


def _axes(text: str) -> str:
    from rescrnet.images.axes import parse_axes

    try:
        return parse_axes(text)
    except ValueError as error:
        raise UsageError(f"--axes {text}", str(error)) from None


def _expected(checked: Checked) -> Estimate | None:
    """What training with the default preset will take, where there is something to train on."""
    from rescrnet.config import resolve
    from rescrnet.training.estimate import estimate
    from rescrnet.training.scale import fitted, masks_read

    pixels: dict[str, list[int]] = {"train": [], "val": []}
    for item, facts in checked.reading.images:
        pixels[item.part].append(facts.size[0] * facts.size[1])
    classes, channels = (
        len(checked.reading.class_names),
        min((f.channels for _, f in checked.reading.images), default=0),
    )
    if not pixels["train"] or classes < 2:
        return None
    config = fitted(resolve(), masks_read(checked.reading))
    return estimate(config, channels, classes, pixels["train"], pixels["val"])


def _print_scores(evaluation: Evaluation) -> None:
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
    print_object_scores(evaluation, console)


def _print_info(model: SegmentationModel) -> None:
    from rescrnet.ensemble import Ensemble
    from rescrnet.model import in_micrometres

    card = model.card
    parameters = sum(p.numel() for p in model.network.parameters() if p.requires_grad)
    blocks = [f"{key} = {getattr(card.network, key)}" for key in ("n", "m") if hasattr(card.network, key)]
    trained, imported = card.trained, getattr(card.provenance, "imported_from", None)
    rows = {
        "network": ", ".join([card.network.architecture, *blocks, f"{parameters:,} parameters"]),
        **({"ensemble": model.described} if isinstance(model, Ensemble) else {}),
        "image channels": card.in_channels,
        "intensity scaling": card.intensity.method,
        "pixel size": in_micrometres(card.pixel_size) if card.pixel_size else "unknown",
        "image size": f"resized to {card.resize[0]}×{card.resize[1]}" if card.resize else "any",
        "classes": ", ".join(f"{index} {name}" for index, name in enumerate(model.classes)),
        "trained on": f"{trained.dataset}, {count(len(trained.train), 'image')}" if trained else "–",
        "epoch": (trained.epoch if trained else None) or "–",
        "validation Tanimoto": (trained.val_tanimoto if trained else None) or "–",
        **({"imported from": imported} if imported else {}),
        **describe_objects(card.object_settings),
    }
    for key, value in rows.items():
        echo(f"{key}: {value}")


def _print_machine() -> None:
    import platform

    import torch

    from rescrnet.ops.native import choice, has_kernels

    chosen = choice()
    rows = {
        "machine": f"{platform.system()}, {platform.machine()}",
        "kernels": f"{chosen.variant or 'none, the plain PyTorch path'} ({chosen.why})",
        "bfloat16": "in the kernels" if has_kernels(torch.bfloat16) else "computed in float32",
        "threads": torch.get_num_threads(),
        "PyTorch": torch.__version__,
    }
    for key, value in rows.items():
        echo(f"{key}: {value}")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


_DECODERS = r"(PIL|tifffile|imagecodecs|zarr|numcodecs|h5py|mrcfile|nionswift)\b"


def main() -> None:
    """Run the command line. What a user can fix ends in one line on standard error and a non-zero exit code."""
    # PyTorch's threads, read when it is imported: those that wait sleep, for the kernels have threads of their own.
    for setting in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        os.environ.setdefault(setting, "0")
    for stream in (sys.stdout, sys.stderr):  # a redirected console may have an encoding that lacks ×, or a name
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", RescrnetWarning)  # the same of another file is news
    warnings.filterwarnings("ignore", module=_DECODERS)  # whether a file can be read is for us to say
    _check_current_folder()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()  # while what is wrong with it can be said
        raise SystemExit(code)
    except RescrnetError as error:
        _fail(error)
    except _CommandLineError as error:
        _fail(UsageError(error.format_message().rstrip("."), remedy="see rescrnet --help"))
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
    except MemoryError:
        _fail(RescrnetError("memory", "this machine has too little for that", "use smaller images or patches"))
    except RuntimeError as error:
        # PyTorch's, known by name and text: it is not imported here.
        if type(error).__name__ != "OutOfMemoryError" and "can't allocate memory" not in str(error):
            raise
        _fail(
            RescrnetError(
                "memory",
                "the device has too little for that",
                "train on smaller patches or batches, predict with a smaller --memory, or use --device cpu",
            )
        )
    except BrokenPipeError:  # whoever read the output has enough, as head does
        _drop_output()
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        from rescrnet.atomic import cannot_be_written

        _drop_output()
        _fail(cannot_be_written(Path(error.filename or "output"), error))


def _check_current_folder() -> None:
    """Refuse to start in a folder that was removed: libraries end the process there without a word of ours."""
    try:
        Path.cwd()
    except OSError:
        _fail(UsageError("the current folder", "is no longer there", "change to another one first"))


def _drop_output() -> None:
    """Throw away what could not be printed, or Python tries again when it ends, and complains."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings as one line; those of libraries as Python shows them."""
    if issubclass(category, RescrnetWarning):
        print(f"rescrnet: warning: {printable(one_line(str(message)))}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _fail(error: RescrnetError) -> None:
    print(f"rescrnet: {printable(one_line(error))}", file=sys.stderr)
    raise SystemExit(error.exit_code) from None
