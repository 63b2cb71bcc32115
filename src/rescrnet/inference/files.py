"""Predict image files: masks, probabilities and overlays."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.atomic import check_free, write_folder
from rescrnet.display import overlay, save_png
from rescrnet.errors import DataError, OutputError, UsageError
from rescrnet.images.npy import RawArray
from rescrnet.images.open import by_stem, image_stem, list_images, open_image, wrap
from rescrnet.images.stack import Kind, Source, Stack
from rescrnet.images.zarr_reader import is_zarr
from rescrnet.inference.array import JOB, Resources, cut, digest, look, predict_array, sample
from rescrnet.inference.budget import text_of
from rescrnet.inference.journal import Marks
from rescrnet.inference.region import grid
from rescrnet.intensity import check_finite, match_channels, normalise
from rescrnet.model import SegmentationModel
from rescrnet.outputs.sinks import (
    Sink,
    check_absent,
    label_paths,
    open_sink,
    output_paths,
    pick_kind,
    scratch_bytes,
    scratch_file,
)

_SCRATCH = ".scratch"
_LARGE_PIECE = 2**24  # bytes; a file whose pieces are larger is unpacked once instead of for every tile


@dataclass(frozen=True)
class Outputs:
    """What to write and how.

    Attributes:
        probabilities: beside the masks.
        overlay: the classes over the image, for the eye, beside the masks.
        kind: ``png``, ``tiff`` or ``ome-zarr``; none for the kind of the image.
        label: put the classes into the OME-Zarr images themselves, as ``labels/label``, where viewers look for them,
            and probabilities beside the levels; none for files of their own.
    """

    probabilities: bool = False
    overlay: bool = False
    kind: str | None = None
    label: str | None = None

    def kind_of(self, stack: Stack) -> Kind:
        """The format of the results of an image. Raises :class:`UsageError` where it is unknown."""
        return pick_kind(stack, "ome-zarr" if self.label is not None else self.kind)

    def paths(self, folder: Path, stem: str, stack: Stack) -> list[list[Path]]:
        """The files of the classes of an image, and of its probabilities where they are wanted."""
        found = []
        for probabilities in (False, True)[: 1 + self.probabilities]:
            if self.label is not None:
                found.append(label_paths(stack, self.label, probabilities=probabilities))
            else:
                found.append(output_paths(folder, stem, stack, self.kind_of(stack), probabilities=probabilities))
        return found

    def check(self) -> None:
        """Raise :class:`UsageError` where these do not go together."""
        self.kind_of(wrap(np.zeros((1, 1))))
        if self.label is None:
            return
        if self.kind not in (None, "ome-zarr"):
            raise UsageError(f"--format {self.kind}: labels in an image are ome-zarr; leave one of the options out")
        if Path(self.label).name != self.label or self.label.startswith(".") or not self.label:
            raise UsageError(
                f"--label {self.label}: is no name for labels; expected one such as 'tissue', without slashes"
            )


@dataclass(frozen=True)
class Inputs:
    """How to read images.

    Attributes:
        level: of a pyramid, 0 the finest.
        fill_missing: take missing chunks of a Zarr for empty rather than lost.
    """

    level: int = 0
    fill_missing: bool = False

    def open(self, file: Path) -> Stack:
        """The planes of an image file."""
        return open_image(file, self.level, fill_missing=self.fill_missing)


def find_inputs(inputs: Iterable[str | Path]) -> list[Path]:
    """The images that ``inputs``, files and folders, mean. Raises :class:`DataError` for what is not there."""
    files: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; expected images")
        found = list_images(path) if path.is_dir() and not is_zarr(path) else [path]
        if not found:
            raise DataError(f"{path}: holds no images; expected PNG, TIFF, JPEG, BMP, NumPy or Zarr files")
        files += found
    return list(by_stem(dict.fromkeys(files), image_stem).values())


def predict_files(
    model: SegmentationModel,
    inputs: Iterable[str | Path],
    out: str | Path,
    outputs: Outputs = Outputs(),
    *,
    reading: Inputs = Inputs(),
    resources: Resources | None = None,
    advance: Callable[[float], object] = lambda images: None,
) -> list[Path]:
    """Predict images of any size into a new folder.

    For ``cell.tif`` the folder gets ``cell.png``, class indices as 8-bit grey of the size of the image, and as asked
    ``cell_probabilities.tif`` (classes, Y, X) float32 and ``cell_overlay.png`` for the eye; large images and stacks
    become ``cell.ome.tif`` or ``cell.ome.zarr``, as they came (:func:`rescrnet.outputs.sinks.pick_kind`).
    ``classes.json`` says which index is which class. The folder appears when all of it is complete. An interrupted
    prediction of large images goes on where it stopped when it is called again. With ``outputs.label`` the masks lie in
    the images themselves.

    Args:
        model: the trained model.
        inputs: image files and folders of them.
        out: a new folder.
        outputs: what else to write.
        reading: how to read the images.
        resources: memory, scratch folder and engine.
        advance: called with the number of images done since the last call, in fractions.

    Returns:
        The masks.

    Raises:
        DataError: an image is missing, not readable, or does not fit the model.
        OutputError: the folder holds files already, or cannot be written, or the scratch folder is full.
        UsageError: the memory is too little.
    """
    out, resources = Path(out), resources or Resources()
    check_free(out)
    files = find_inputs(inputs)
    if outputs.overlay:
        _check_overlays(files)
    outputs.check()
    facts = [digest(model), [_stamp(file) for file in files], asdict(outputs), asdict(reading)]
    masks: list[Path] = []

    def write(folder: Path) -> None:
        scratch = _scratch_folder(folder, resources.scratch, facts)
        for index, file in enumerate(files):
            prediction = _Prediction(model, file, outputs, reading, folder, scratch / str(index), resources)
            masks.extend(out / path.name if path.parent == folder else path for path in prediction.run(advance))
        (folder / "classes.json").write_text(json.dumps(_legend(model), indent=2) + "\n", encoding="utf-8")
        for each in {scratch, folder / _SCRATCH}:  # that may have been used before another disk was chosen
            shutil.rmtree(each, ignore_errors=True)

    def keep(error: BaseException, folder: Path) -> bool:
        scratch = _scratch_folder(folder, resources.scratch, facts)
        begun = any(any(scratch.glob(what)) for what in ("files/*.npy", "*/planes/*.npy", f"*/*/{JOB}"))
        if isinstance(error, DataError) or not begun:
            shutil.rmtree(scratch, ignore_errors=True)
            return False
        return True

    write_folder(out, write, facts, keep)
    return masks


def _scratch_folder(folder: Path, scratch: Path | None, facts: object) -> Path:
    """Within the unfinished folder itself, or in ``scratch`` under a name that no other prediction has."""
    if scratch is None:
        return folder / _SCRATCH
    name = hashlib.sha256(json.dumps([str(folder), facts]).encode()).hexdigest()[:12]
    return scratch / f"rescrnet-{name}"


def _stamp(file: Path) -> list[Any]:
    """What tells an image from another; of a Zarr its metadata, for the folder changes when labels are put into it."""
    metadata = (file / name for name in ("zarr.json", ".zattrs", ".zarray", ".zgroup"))
    status = next((each for each in metadata if each.is_file()), file).stat()
    return [str(file.absolute()), status.st_size, status.st_mtime_ns]


def _check_overlays(files: Iterable[Path]) -> None:
    stems = by_stem(files, image_stem)
    for stem, file in stems.items():
        if other := stems.get(f"{stem}_overlay"):
            raise DataError(f"{other}: its mask would have the name of the overlay of {file}; rename it")


@dataclass(frozen=True)
class _Prediction:
    """One image file."""

    model: SegmentationModel
    file: Path
    outputs: Outputs
    reading: Inputs
    folder: Path
    scratch: Path
    resources: Resources

    def run(self, advance: Callable[[float], object]) -> list[Path]:
        """Write the results, or leave those that an interrupted prediction completed; the masks."""
        stack, stem = self.reading.open(self.file), image_stem(self.file)
        kind, wanted = self.outputs.kind_of(stack), self.outputs.paths(self.folder, stem, stack)
        overlay = [self.folder / f"{stem}_overlay.png"] if self.outputs.overlay else []
        marks = Marks(self.scratch.parent / "files")
        done = marks.done()
        left = {
            name: paths
            for name, paths in ((f"{self.scratch.name}-{index}", paths) for index, paths in enumerate(wanted))
            if name not in done or not all(path.exists() for path in paths)
        }
        if not left and all(path.exists() for path in overlay):
            advance(1)
            return wanted[0]
        missing = [*chain(*left.values()), *overlay]
        for path in missing:  # of an interrupted prediction, and not all of it; elsewhere it may be somebody's
            if path.parent == self.folder:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        check_absent(missing)
        if not all(scratch_file(self.scratch, probabilities=index == 1).exists() for index in range(len(wanted))):
            shutil.rmtree(self.scratch, ignore_errors=True)  # marks of what is no longer there
        self._check(stack)
        self.scratch.mkdir(parents=True, exist_ok=True)
        sinks = [
            open_sink(paths, stack, self.model.card.classes, self.scratch, kind, probabilities=index == 1)
            for index, paths in enumerate(wanted)
        ]
        self._predict_planes(stack, sinks, advance)
        if overlay:
            self._write_overlay(overlay[0], stack, sinks[0])
        for index, sink in enumerate(sinks):
            if (name := f"{self.scratch.name}-{index}") in left:
                sink.finish()
                marks.put(name, np.zeros(0))
        shutil.rmtree(self.scratch, ignore_errors=True)
        return wanted[0]

    def _predict_planes(self, stack: Stack, sinks: list[Sink], advance: Callable[[float], object]) -> None:
        marks = Marks(self.scratch / "planes")
        done = marks.done()
        for index, (_, source) in enumerate(stack):
            share = 1 / len(stack) / (source.shape[0] * source.shape[1])
            seen = np.frombuffer(look(source), np.uint8)
            if str(index) in done and np.array_equal(marks.get(str(index)), seen):
                advance(1 / len(stack))
                continue
            predict_array(
                self.model,
                self._unpacked(source, index),
                *(_PlaneSink(sink, index) for sink in sinks),
                name=source.name,
                resources=replace(self.resources, scratch=self.scratch / f"plane-{index}"),
                advance=lambda pixels, share=share: advance(pixels * share),  # type: ignore[misc]
            )
            marks.put(str(index), seen)
            (self.scratch / f"plane-{index}.npy").unlink(missing_ok=True)

    def _check(self, stack: Stack) -> None:
        """Refuse what cannot end well, before anything is computed."""
        channels, expected = stack[0].source.shape[2], self.model.card.in_channels
        if channels != expected and (channels, expected) != (3, 1):
            raise DataError(
                f"{self.file}: has {channels} channel{'s' * (channels > 1)}, expected {expected}; convert the image"
            )
        if len(stack) == 1:
            _check_not_constant(stack[0].source)
        some = normalise(sample(stack[len(stack) // 2].source))
        self.model.warn_if_out_of_distribution(match_channels(some, expected, self.file), self.file)
        if self.outputs.overlay:
            needed = stack.size[0] * stack.size[1] * 32  # bytes of the picture and of what it is drawn from
            if len(stack) > 1 or needed > self.resources.memory - self.resources.program:
                raise UsageError(
                    f"{self.file}: --overlay draws one picture that fits the memory; leave it out and open the mask "
                    "over the image in napari, QuPath or Fiji"
                )
        classes = len(self.model.classes)
        needed = scratch_bytes(stack, classes)
        needed += scratch_bytes(stack, classes, probabilities=True) if self.outputs.probabilities else 0
        self._check_room(needed)

    def _check_room(self, needed: int) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        there = shutil.disk_usage(self.scratch).free
        if any(self.scratch.iterdir()) or needed <= there:
            return
        raise OutputError(
            f"{self.scratch}: about {text_of(needed)} of scratch space are needed for {self.file} and "
            f"{text_of(there)} are free; make room there or choose another disk with --scratch"
        )

    def _unpacked(self, source: Source, index: int) -> Any:
        """The plane, or where every read would decode all of it and it is streamed, a copy that reads by region."""
        shape = (source.shape[0], source.shape[1])
        file = self.scratch / f"plane-{index}.npy"
        if file.is_file():
            return wrap(RawArray.open(file), "yxc", name=source.name)[0].source
        if source.segment_bytes < _LARGE_PIECE or cut(self.model, shape, self.resources, source.name) is None:
            return source
        if source.segment_bytes > self.resources.memory - self.resources.program:
            raise UsageError(
                f"{self.file}: is compressed in pieces of {text_of(source.segment_bytes)}, more than --memory "
                f"{text_of(self.resources.memory)} leaves room for; save it tiled, as OME-TIFF or OME-Zarr, or give "
                "more memory"
            )
        partial = file.with_suffix(".part")
        array = RawArray.create(partial, source.shape, source.dtype)
        rows = max(1, source.segment_bytes // (shape[1] * source.shape[2] * source.dtype.itemsize))
        for _, region in grid(shape, rows, shape[1]):
            array[(slice(region.y0, region.y1), slice(region.x0, region.x1), slice(None))] = source.read(*region)
        partial.replace(file)
        return wrap(RawArray.open(file), "yxc", name=source.name)[0].source

    def _write_overlay(self, path: Path, stack: Stack, sink: Sink) -> None:
        height, width = stack.size
        image = normalise(stack[0].source.read(0, height, 0, width))
        check_finite(image, self.file)
        mask = sink.array[(0, slice(0, height), slice(0, width))]
        save_png(path, overlay(image, mask, self.model.colours))


@dataclass(frozen=True)
class _PlaneSink:
    """One plane of a result."""

    sink: Sink
    plane: int
    lasting = True

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> None:
        """Take a block."""
        self.sink.write(y0, x0, block, self.plane)


def _check_not_constant(source: Source) -> None:
    """Raise :class:`DataError` where all pixels are alike. Of any other image little is read."""
    first = None
    for _, region in grid((source.shape[0], source.shape[1]), 256, 1024):
        block = source.read(*region)
        first = block[0, 0, 0] if first is None else first
        if (block != first).any():
            return
    raise DataError(f"{source.name}: every pixel has the same value, {first}; expected an image; remove it")


def _legend(model: SegmentationModel) -> list[dict[str, Any]]:
    return [
        {"index": index, "name": entry.name, "colour": entry.color} for index, entry in enumerate(model.card.classes)
    ]
