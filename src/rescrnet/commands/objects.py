"""The command ``objects``, and what ``predict --objects`` does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescrnet.commands.interrupt import stoppable
from rescrnet.commands.options import Out, Scratch, given, listed, memory_budget
from rescrnet.errors import UsageError
from rescrnet.terminal import echo
from rescrnet.wording import count

if TYPE_CHECKING:
    from rescrnet.inference.inputs import Input
    from rescrnet.inference.options import ReadOptions
    from rescrnet.inference.resources import Resources
    from rescrnet.model import SegmentationModel
    from rescrnet.objects.folder import ObjectOptions
    from rescrnet.objects.subjects import Subject


class Splitting(StrEnum):
    """How touching objects are parted."""

    parts = "parts"
    watershed = "watershed"
    distance = "distance"


Masks = Annotated[
    list[Path], typer.Argument(help="Class masks, folders of predictions, or a dataset.", show_default=False)
]
Classes = Annotated[list[str] | None, typer.Option("--class", help="Class whose objects to find, repeatable.")]
WithBoundary = Annotated[
    bool | None, typer.Option("--with-boundary/--without-boundary", help="Objects include their boundary.")
]
SeedThreshold = Annotated[
    float | None, typer.Option(help="By how much interior outweighs boundary where an object is sure.")
]
DropEdge = Annotated[
    bool | None, typer.Option("--drop-edge/--keep-edge", help="Drop objects that the border of the image cuts.")
]


def objects(
    masks: Masks,
    out: Out,
    class_: Classes = None,
    images: Annotated[Path | None, typer.Option(help="The images, for intensities and pixel sizes.")] = None,
    boundary: Annotated[str | None, typer.Option(help="The class between touching objects.")] = None,
    with_boundary: WithBoundary = None,
    split: Annotated[Splitting | None, typer.Option(help="How touching objects are parted.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Least probability of a pixel of an object.")] = None,
    seed_threshold: SeedThreshold = None,
    smoothing: Annotated[float | None, typer.Option(help="Sigma, pixels.")] = None,
    radius: Annotated[float | None, typer.Option(help="Of the smallest object, for --split distance, pixels.")] = None,
    smallest: Annotated[float | None, typer.Option(min=0, help="Drop objects of less pixels.")] = None,
    fill_holes: Annotated[float | None, typer.Option(min=0, help="Fill holes of up to so many pixels.")] = None,
    drop_edge: DropEdge = None,
    um: Annotated[bool, typer.Option("--um", help="The sizes given are in µm and µm².")] = False,
    names: Annotated[str | None, typer.Option(help="Names of the classes 0, 1, …: a,b,c.")] = None,
    numbered: Annotated[bool, typer.Option("--numbered", help="The masks number objects already.")] = False,
    export: Annotated[list[str] | None, typer.Option(help="imagej, qupath or coco, repeatable.")] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Also write the table as Parquet.")] = False,
    outlines: Annotated[bool, typer.Option("--outlines", help="Also draw outlines and numbers.")] = False,
    format_: Annotated[str | None, typer.Option("--format", help="tiff or ome-zarr; else as the mask.")] = None,
    bits: Annotated[int | None, typer.Option(help="Of the label images, 16 or 32; else as needed.")] = None,
    memory: Annotated[str | None, typer.Option(help="The most to use, as 1GB; else half of what is free.")] = None,
    scratch: Scratch = None,
) -> None:
    """Number, count and measure the objects of predictions or masks: label images, objects.csv, summary.csv."""
    from rescrnet.atomic import check_free
    from rescrnet.inference.resources import Resources
    from rescrnet.objects.folder import ObjectOptions
    from rescrnet.objects.subjects import find_subjects

    check_free(out)
    changes = given(
        {
            "boundary": boundary,
            "with_boundary": with_boundary,
            "split": split.value if split else "watershed" if boundary else None,
            "threshold": threshold,
            "seed_threshold": seed_threshold,
            "smoothing": smoothing,
            "radius": radius,
            "smallest": smallest,
            "fill_holes": fill_holes,
            "drop_edge": drop_edge,
        }
    )
    if numbered and (names or class_ or changes.keys() & {"boundary", "with_boundary", "split", "threshold"}):
        raise UsageError("--numbered", "the masks number objects already", "leave out options about classes and splits")
    options = ObjectOptions(
        classes=tuple(class_ or ()),
        changes=changes,
        micrometres=um,
        kind=format_,
        bits=bits,
        exports=tuple(export or ()),
        parquet=parquet,
        outlines=outlines,
    )
    options.check()
    subjects = find_subjects(masks, images, names=listed(names), numbered=numbered)
    _find(subjects, out, options, Resources(memory_budget(memory), scratch=scratch))


def _find(subjects: Sequence[Subject], out: Path, options: ObjectOptions, resources: Resources) -> None:
    """Find the objects of ``subjects`` into ``out``, and say how many they are."""
    from rescrnet.inference.progress import progress
    from rescrnet.objects.folder import write_objects

    with stoppable("the same command goes on"), progress(len(subjects)) as advance:
        tables = write_objects(subjects, out, options, resources=resources, advance=advance)
    if not options.classes:
        for first in dict.fromkeys(one.legend.names[0] for one in subjects if one.legend and one.legend.is_guess):
            echo(f"note: no class is called background, '{first}' is taken for it; --class says otherwise", err=True)
    print_counts([(table.name, len(table)) for table in tables], len(subjects))
    echo(f"tables and label images in {out}")


def print_counts(counts: list[tuple[str, int]], images: int) -> None:
    """Say how many objects of each class there are in all images."""
    for name in dict.fromkeys(name for name, _ in counts):
        total = sum(number for other, number in counts if other == name)
        echo(f"{name}: {count(total, 'object')} in {count(images, 'image')}")


def check_object_classes(model: SegmentationModel, classes: list[str]) -> None:
    """Raise :class:`UsageError` where the model has not all of ``classes``."""
    if unknown := [name for name in classes if name not in model.classes]:
        raise UsageError(f"--object-class {unknown[0]}", "is unknown", f"expected {', '.join(model.classes)}")


@dataclass
class ObjectsOfPredictions:
    """Finds the objects in predictions, into the folder ``objects`` beside them."""

    classes: tuple[str, ...]
    read: ReadOptions
    resources: Resources
    counts: list[tuple[str, int]] = field(default_factory=list)
    name = "objects"

    def run(self, folder: Path, images: list[Input]) -> None:
        """See :class:`rescrnet.inference.folder.Then`."""
        from rescrnet.objects.folder import ObjectOptions, write_objects
        from rescrnet.objects.subjects import find_subjects

        opened = {image.place: self.read.open(image.origin) for image in images}
        subjects = [
            replace(one, image=opened[one.place], pixel_size=opened[one.place].pixel_size or one.pixel_size)
            for one in find_subjects([folder], None)
            if one.place in opened
        ]
        if (folder / self.name).is_dir():  # of the images that could be predicted before
            shutil.rmtree(folder / self.name)
        tables = write_objects(subjects, folder / self.name, ObjectOptions(self.classes), resources=self.resources)
        self.counts[:] = [(table.name, len(table)) for table in tables]
