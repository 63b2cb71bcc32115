"""The command ``predict``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescrnet.commands.interrupt import stoppable
from rescrnet.commands.models import load_model
from rescrnet.commands.objects import ObjectsOfPredictions, check_object_classes, print_counts
from rescrnet.commands.options import (
    Augmentation,
    Device,
    Images,
    Model,
    Out,
    Recursive,
    Rescale,
    Scratch,
    memory_budget,
)
from rescrnet.errors import RescrnetError, UsageError
from rescrnet.terminal import echo
from rescrnet.wording import count, one_line

if TYPE_CHECKING:
    from rescrnet.inference.inputs import Inputs
    from rescrnet.inference.options import ReadOptions, WriteOptions
    from rescrnet.inference.resources import Resources
    from rescrnet.model import SegmentationModel


def predict(
    model: Model,
    inputs: Images,
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
    rescale: Rescale = False,
    axes: Annotated[str | None, typer.Option(help="Of files that do not say theirs: CYX, YXC, NCYX.")] = None,
    recursive: Recursive = False,
    test_time_augmentation: Augmentation = False,
    memory: Annotated[str | None, typer.Option(help="A process's most, as 1GB; else half of what is free.")] = None,
    scratch: Scratch = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes on this machine.")] = None,
    dask: Annotated[str | None, typer.Option(help="Address of a running Dask scheduler.")] = None,
    device: Device = "auto",
) -> None:
    """Segment images of any size: a class-index mask for each, and classes.json.

    Those that cannot be segmented are left out and listed in failed.csv; the same command then does what is missing.
    """
    with_objects = objects or bool(object_class)
    if workers is not None and dask is not None:
        raise UsageError(
            "--workers, --dask", "both are given", "give one of them; a Dask scheduler has workers of its own"
        )
    if with_objects and label is not None:
        raise UsageError("--objects, --label", "are both given", "leave --label out, objects are measured in a folder")

    from rescrnet.atomic import check_free
    from rescrnet.inference.cluster import executor
    from rescrnet.inference.inputs import find_inputs
    from rescrnet.inference.journal import MANIFEST
    from rescrnet.inference.options import ReadOptions, WriteOptions
    from rescrnet.inference.resources import Resources
    from rescrnet.ops.buffers import keep_freed_memory

    read = ReadOptions(level, fill_missing, rescale, _axes(axes))
    write = WriteOptions(probabilities or with_objects, overlay, format_, label, uncertainty)
    check_free(out, MANIFEST)
    allowed = memory_budget(memory)
    found = find_inputs(inputs, recursive=recursive)
    loaded = load_model(model, device, test_time_augmentation=test_time_augmentation)
    found = _joined(found, loaded)
    check_object_classes(loaded, object_class or [])
    keep_freed_memory()
    with stoppable("the same command goes on"), executor(workers, dask) as running:
        resources = Resources(allowed, scratch=scratch, executor=running)
        of_objects = ObjectsOfPredictions(tuple(object_class or ()), read, resources) if with_objects else None
        _carry_out(loaded, found, out, write, read, resources, of_objects)


def _carry_out(
    model: SegmentationModel,
    found: Inputs,
    out: Path,
    write: WriteOptions,
    read: ReadOptions,
    resources: Resources,
    of_objects: ObjectsOfPredictions | None,
) -> None:
    """Predict what was found; say of an image that fails why, and at the end what is there and how many are missing."""
    from rescrnet.inference.folder import FAILED, predict_files
    from rescrnet.inference.progress import progress

    failures: list[str] = []

    def failed(image: str, error: RescrnetError) -> None:
        failures.append(image)
        echo(f"rescrnet: {one_line(error)}", err=True)

    asked = len(found.images)
    with progress(asked) as advance:
        masks = predict_files(
            model, found, out, write, read=read, resources=resources, advance=advance, failed=failed, then=of_objects
        )
    echo(f"{count(len(masks), 'mask')} in {out if write.label is None else f'labels/{write.label} of the images'}")
    if of_objects:
        print_counts(of_objects.counts, len(masks))
    if failures:
        echo(
            f"rescrnet: {len(failures)} of {count(asked, 'image')} could not be predicted, "
            f"{out / FAILED} says why; fix them, and the same command does what is missing",
            err=True,
        )
        raise typer.Exit(1)


def _joined(found: Inputs, model: SegmentationModel) -> Inputs:
    """Join the files that are channels of one image for ``model``, and say what is left out."""
    from rescrnet.inference.inputs import describe_left_out, join_channels

    for note in describe_left_out(found.left_out, found.masks):
        echo(f"note: {note}", err=True)
    return replace(found, images=join_channels(found.images, model.card.in_channels))


def _axes(text: str | None) -> str:
    from rescrnet.images.axes import parse_axes

    try:
        return parse_axes(text) if text else ""
    except ValueError as error:
        raise UsageError(f"--axes {text}", str(error)) from None
