"""Write results of any size block by block, in the formats that biologists open.

Blocks gather in a scratch file, in any order, from any number of processes. When all are there, the final file is made
from it tile by tile under a temporary name, and then gets its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rescrnet.atomic import cannot_be_written, exists_already, write_atomically
from rescrnet.classes import ClassEntry, coloured
from rescrnet.errors import DataError, OutputError, UsageError
from rescrnet.images.npy import RawArray
from rescrnet.images.stack import Axis, ResultFormat, Stack
from rescrnet.locks import locked, remove_abandoned
from rescrnet.outputs.png_writer import write_png
from rescrnet.outputs.pyramid import build_pyramid, pyramid_bytes
from rescrnet.outputs.tiff_writer import write_tiff
from rescrnet.outputs.zarr_writer import register_label, write_zarr

_PNG_PIXELS = 2**26  # the largest image that is answered with a PNG unless asked: viewers read PNG whole
_PATIENCE = 60  # seconds
_UNCERTAINTY = (ClassEntry(name="uncertainty", color="#ffffff"),)
ResultName = Literal["classes", "probabilities", "uncertainty"]
"""What of an image is written: the class of each pixel, the probability of each class, or how uncertain a pixel is."""
_SUFFIXES = {"png": ".png", "tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}


def pick_kind(stack: Stack, asked: str | None = None) -> ResultFormat:
    """How results of an image are written: as ``asked``, or as the image is.

    PNG for one plane of up to 2²⁶ pixels from PNG, JPEG, BMP, ``.npy``, an array, or a plain TIFF; OME-Zarr for Zarr;
    OME-TIFF for everything else: tiled, pyramidal, OME or multi-page TIFF, stacks, and larger images.

    Raises :class:`UsageError` where ``asked`` is no kind.
    """
    for kind in get_args(ResultFormat):
        if kind == asked:
            return kind  # type: ignore[no-any-return]
    if asked is not None:
        raise UsageError(f"--format {asked}", "is unknown", f"expected {', '.join(get_args(ResultFormat))}")
    if stack.kind == "png" and (len(stack) > 1 or math.prod(stack.size) > _PNG_PIXELS):
        return "tiff"
    return stack.kind


def output_paths(
    folder: Path, stem: str, stack: Stack, kind: ResultFormat, *, of: ResultName = "classes"
) -> list[Path]:
    """The files of a result: one, but a PNG for each plane."""
    if of != "classes":
        return [folder / f"{stem}_{of}{'.tif' if kind == 'png' else _SUFFIXES[kind]}"]
    if kind == "png":
        return [folder / f"{stem}{'_' if name else ''}{name}.png" for name, _ in stack]
    return [folder / f"{stem}{_SUFFIXES[kind]}"]


def label_paths(stack: Stack, name: str, *, of: ResultName = "classes") -> list[Path]:
    """Where results lie within the OME-Zarr image itself: ``labels/name``, what is no classes beside the levels.

    Raises :class:`OutputError` where the image is no OME-Zarr.
    """
    if stack.path is None or stack.zarr_format is None:
        raise OutputError(
            stack.path or "image", "is no OME-Zarr image", "labels can lie only in one; choose a new folder"
        )
    return [stack.path / "labels" / name if of == "classes" else stack.path / f"{name}_{of}"]


def scratch_bytes(stack: Stack, classes: int, *, of: ResultName = "classes") -> int:
    """The most scratch space that a sink takes: the result uncompressed, with its pyramid."""
    itemsize = {"classes": 1, "probabilities": 4 * classes, "uncertainty": 4}[of]
    return len(stack) * pyramid_bytes(*stack.size, itemsize, stack.levels if stack.levels > 1 else None) + 4096


def scratch_file(scratch: Path, *, of: ResultName = "classes") -> Path:
    """Where a sink keeps what was written."""
    return scratch / f"{of}.npy"


@dataclass(eq=False)
class Sink:
    """A result in the making, for all planes of an image. Make one with :func:`open_sink`.

    Attributes:
        paths: the files to be.
        kind: their format.
        stack: the image, without its planes: a sink travels to other processes.
        classes: in the order of their indices; of an uncertainty, its only channel.
        array: the scratch file, (planes, Y, X) uint8 or (planes, channels, Y, X) float32.
    """

    paths: list[Path]
    kind: ResultFormat
    stack: Stack
    classes: Sequence[ClassEntry]
    array: RawArray
    persistent = True  # what was written outlives the process

    def write(self, y0: int, x0: int, block: NDArray[Any], plane: int = 0) -> None:
        """Keep a block whose upper left pixel is (``y0``, ``x0``): any place, size and order, from any process.

        Args:
            y0: row.
            x0: column.
            block: (y, x) uint8 classes, or (y, x, channels) float32: probabilities of the classes, or one uncertainty.
            plane: which plane of the image.

        Raises:
            OutputError: the scratch folder is full.
        """
        if block.dtype != self.array.dtype:
            raise ValueError(f"block of {block.dtype}, expected {self.array.dtype}")
        rows, columns = slice(y0, y0 + block.shape[0]), slice(x0, x0 + block.shape[1])
        if block.ndim == 3:
            self.array[(plane, slice(None), rows, columns)] = block.transpose(2, 0, 1)
        else:
            self.array[(plane, rows, columns)] = block

    def finish(self) -> list[Path]:
        """Make the files from what was written, and give them their names.

        The scratch file stays, for a process that is killed here and started again; it goes with its folder.

        Raises:
            OutputError: a file exists already or cannot be written; then none is there, and what was written is kept.
        """
        check_absent(self.paths)
        try:
            if self.kind == "png" and self.array.dtype == np.uint8:
                for plane, path in enumerate(self.paths):
                    _complete(path, partial(write_png, array=self.array, plane=plane))
            else:
                _complete(self.paths[0], self._write_pyramid)
        finally:
            for level in self.array.path.parent.glob(f"{self.array.path.stem}.level*.npy"):
                level.unlink(missing_ok=True)
        return self.paths

    def _write_pyramid(self, path: Path) -> None:
        count = self.stack.levels if self.stack.levels > 1 else None
        levels = build_pyramid(self.array, self.array.path.parent, count)
        axes = named_axes(self.stack)
        if self.kind != "ome-zarr":
            write_tiff(path, levels, axes, self.classes)
            return
        zarr_format: Literal[2, 3] = self.stack.zarr_format or 2  # 0.4 is what every reader reads
        target = self.paths[0]
        in_place = target.parent.name == "labels"
        name, image = target.name.removesuffix(_SUFFIXES["ome-zarr"]), "../../" if in_place else None
        write_zarr(path, levels, axes, self.classes, zarr_format, name=name, image=image)
        if in_place:  # before it gets its name: readers pass over what is listed and not there
            with locked(target.parent, wait=_PATIENCE):  # others may put theirs into the same image
                register_label(target.parent, target.name, zarr_format)


def open_sink(
    paths: list[Path],
    stack: Stack,
    classes: Sequence[ClassEntry],
    scratch: Path,
    kind: ResultFormat,
    *,
    of: ResultName = "classes",
) -> Sink:
    """Start a result, or resume the one that ``scratch`` holds, whatever ended the process that started it.

    Args:
        paths: the files to be, from :func:`output_paths` or :func:`label_paths`.
        stack: the image.
        classes: in the order of their indices.
        scratch: a folder of this prediction alone.
        kind: from :func:`pick_kind`.
        of: what the result is.

    Raises:
        OutputError: the scratch folder cannot be written, or belongs to another prediction.
    """
    if kind != "png" or of != "classes":
        named_axes(stack)
    if of == "uncertainty":
        classes = _UNCERTAINTY
    shape = (len(stack), *([] if of == "classes" else [len(classes)]), *stack.size)
    dtype = np.dtype(np.uint8 if of == "classes" else np.float32)
    file = scratch_file(scratch, of=of)
    if file.exists():
        try:
            array = RawArray.open(file)
        except DataError as error:
            raise OutputError(error.subject, error.found, "remove the scratch folder") from None
        if (array.shape, array.dtype) != (shape, dtype):
            raise OutputError(
                scratch, f"belongs to another prediction, of shape {array.shape}", f"expected {shape}; remove it"
            )
    else:
        array = RawArray.create(file, shape, dtype)
    return Sink(paths, kind, replace(stack, planes=()), coloured(classes), array)


def named_axes(stack: Stack) -> list[Axis]:
    """The axes of a result: of the planes, then y and x; pages, for which OME has no axis, become z, or t."""
    names = [axis.name for axis in stack.plane_axes]
    free = next((name for name in "zt" if name not in names), None)
    if "p" in names and free is None:
        raise DataError(stack.path, "has pages besides z and t, which OME cannot hold", "save each page by itself")
    outer = [replace(axis, name=free) if axis.name == "p" and free else axis for axis in stack.plane_axes]
    return [*outer, *(axis for name in "yx" for axis in stack.axes if axis.name == name)]


def check_absent(paths: Sequence[Path]) -> None:
    """Raise :class:`OutputError` where one of ``paths`` exists."""
    for path in paths:
        if path.exists():
            remove_abandoned(path)
            raise exists_already(path)


def _complete(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file or folder atomically; a folder that had to be made for it goes with a failure."""
    new = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write, shared=True, new=True)
    except OutputError:
        raise
    except OSError as error:
        raise cannot_be_written(path, error) from None
    finally:
        if new and path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
