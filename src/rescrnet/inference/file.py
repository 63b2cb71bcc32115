"""Predict one image file: all of its planes, into files that appear when they are complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from rescrnet.display import overlay, save_png
from rescrnet.errors import DataError, OutputError, RescrnetWarning, UsageError
from rescrnet.images.open import unnamed_shape
from rescrnet.images.stack import Source, Stack
from rescrnet.images.unpacked import unpacked
from rescrnet.inference.budget import format_bytes, give_back
from rescrnet.inference.inputs import Input
from rescrnet.inference.journal import Journal
from rescrnet.inference.options import ReadOptions, Result, WriteOptions
from rescrnet.inference.plane import check_seen, fingerprint, fits_whole, predict_plane, sample
from rescrnet.inference.region import grid
from rescrnet.inference.resources import Resources
from rescrnet.inference.uncertainty import predictive_entropy
from rescrnet.intensity import check_finite, match_channels, normalise
from rescrnet.model import SegmentationModel
from rescrnet.outputs.sinks import ResultName, Sink, check_absent, open_sink, scratch_bytes, scratch_file
from rescrnet.wording import count

_ROWS = 16  # at a time: an entropy takes several times the memory of what it is of
_LARGE_PIECE = 2**24  # bytes; a file whose pieces are larger is unpacked once instead of for every tile,
_SHARE = 4  # and one of which a piece takes more than this part of what is free beside the program


@dataclass(frozen=True)
class FilePrediction:
    """The prediction of one image file.

    Attributes:
        model: the trained model.
        image: the image, and the place of its results below the folder of results.
        read: how to read it.
        write: what to write of it.
        results: the journal of the folder of results, with a step for each result that is in its place.
        scratch: the journal of unfinished work, with a child for each image, which has a step for each plane.
        resources: memory and executor.
        ours: whether all that lies in the folder of results is a prediction's; otherwise some may be somebody's.
    """

    model: SegmentationModel
    image: Input
    read: ReadOptions
    write: WriteOptions
    results: Journal
    scratch: Journal
    resources: Resources
    ours: bool = True

    def check(self) -> list[Path]:
        """Look at the header alone, and refuse what cannot end well; the files that are to be."""
        stack = self.read.open(self.image.origin)
        results, overlays = self._results(stack), self._overlays()
        for result in results:
            if not self._is_written(result):
                self._check(stack)
                check_absent([path for path in result.paths if not self._is_ours(path)])
        return [*(path for result in results for path in result.paths), *overlays]

    def run(self, advance: Callable[[float], object]) -> list[Path]:
        """Write the results, and leave those that an interrupted prediction completed; the masks."""
        stack = self.read.open(self.image.origin)
        results, overlays = self._results(stack), self._overlays()
        missing = [result for result in results if not self._is_written(result)]
        if not missing and all(path.exists() for path in overlays):
            advance(1)
            return results[0].paths
        self._clear_the_way([*(path for result in missing for path in result.paths), *overlays])
        known = self._look(stack)
        journal, sinks = self._open(stack, results)
        self._predict_planes(stack, journal, dict(zip(self.write.names, sinks, strict=True)), known, advance)
        for path in overlays:
            self._write_overlay(path, stack, sinks[0])
        for result, sink in zip(results, sinks, strict=True):
            if result in missing:
                give_back()
                sink.finish()
                self.results.record(self._step(result), self._stamp())
        journal.remove()
        return results[0].paths

    def discard(self) -> None:
        """Remove what a prediction that failed has begun."""
        Journal(self.scratch.folder / self._key).remove()

    @property
    def _key(self) -> str:
        """A name for files that no other image of these results has."""
        return hashlib.sha256(os.fsencode(self.image.place)).hexdigest()[:16]

    def _results(self, stack: Stack) -> list[Result]:
        place = self.results.folder / self.image.place
        return self.write.results(place.parent, place.name, stack)

    def _overlays(self) -> list[Path]:
        place = self.results.folder / self.image.place
        return [place.with_name(f"{place.name}_overlay.png")] if self.write.overlay else []

    def _step(self, result: Result) -> str:
        return f".{self._key}-{result.name}"

    def _stamp(self) -> NDArray[Any]:
        """What tells the image from another, for a journal."""
        stamps = json.dumps([stamp(file) for file in self.image.files])
        return np.frombuffer(hashlib.sha256(stamps.encode()).digest(), np.uint8)

    def _is_written(self, result: Result) -> bool:
        step = self._step(result)
        if not self.results.done(step) or not np.array_equal(self.results.state(step), self._stamp()):
            return False
        return all(path.exists() for path in result.paths)

    def _is_ours(self, path: Path) -> bool:
        """Whether an interrupted or former prediction of this image left what lies there. It may be somebody's."""
        begun = (self.scratch.folder / self._key).is_dir()
        recorded = any(self.results.done(self._step(Result(name, []))) for name in get_args(ResultName))
        return path.is_relative_to(self.results.folder) and (self.ours or begun or recorded)

    def _clear_the_way(self, paths: list[Path]) -> None:
        for path in filter(self._is_ours, paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        check_absent(paths)

    def _open(self, stack: Stack, results: list[Result]) -> tuple[Journal, list[Sink]]:
        """The journal of this image, and where its blocks gather."""
        journal = self.scratch.child(self._key, self._stamp().tolist())
        if not all(scratch_file(journal.folder, of=result.name).exists() for result in results):
            journal.clear()  # planes may be recorded that are no longer there
            self._check_space(stack, journal.folder)
        kind, classes = self.write.kind_of(stack), self.model.card.classes
        sinks = [open_sink(result.paths, stack, classes, journal.folder, kind, of=result.name) for result in results]
        return journal, sinks

    def _predict_planes(
        self,
        stack: Stack,
        journal: Journal,
        sinks: dict[ResultName, Sink],
        known: dict[int, str],
        advance: Callable[[float], object],
    ) -> None:
        for index, (_, source) in enumerate(stack):
            step, pixels = f"plane-{index}", len(stack) * source.shape[0] * source.shape[1]
            # Chunks of a Zarr can change without its metadata.
            found = known[index] if index in known else fingerprint(sample(source))
            if journal.done(step) and journal.state(step) == np.array(found):
                advance(1 / len(stack))
                continue
            image, copy = self._unpacked(source, journal.folder / f"copy-{index}", found)
            give_back()
            predict_plane(
                self.model,
                image,
                _PlaneOf(sinks["classes"], index),
                _beside(sinks, index),
                name=source.name,
                resources=replace(self.resources, scratch=journal.folder / step),
                advance=lambda done, pixels=pixels: advance(done / pixels),  # type: ignore[misc]
                seen=self._seen(stack),
            )
            for sink in sinks.values():
                sink.array.sync()
            journal.record(step, np.array(found))
            if copy is not None:
                copy.remove()

    def _check(self, stack: Stack) -> None:
        """Refuse what cannot end well, before anything is computed."""
        channels, expected = stack[0].source.shape[2], self.model.card.in_channels
        if channels != expected and (channels, expected) != (3, 1):
            remedy = "convert the image"
            shape = () if self.read.axes else unnamed_shape(self.image.files[0])
            if expected in shape:
                axes = "N" * (len(shape) - 3) + ("YXC" if shape[-1] == expected else "CYX")
                remedy = f"if {expected} of {'×'.join(map(str, shape))} are the channels, say --axes {axes}"
            raise DataError(self.image, f"has {count(channels, 'channel')}, expected {expected}", remedy)
        self._check_piece(stack[0].source)
        if self.write.overlay:
            needed = stack.size[0] * stack.size[1] * 32  # bytes of the picture and of what it is drawn from
            if len(stack) > 1 or needed > self.resources.memory - self.resources.program:
                raise UsageError(
                    self.image,
                    "--overlay draws one picture that fits the memory",
                    "leave it out and open the mask over the image in napari, QuPath or Fiji",
                )
        if seen := self._seen(stack):
            check_seen(self.model, stack.size, seen, self.resources, str(self.image))
        else:
            fits_whole(self.model, stack.size, self.resources, str(self.image))

    def _seen(self, stack: Stack) -> tuple[int, int] | None:
        """The size in which the network sees the image, where that is not its own."""
        if not self.read.rescale:
            return None
        seen = self.model.size_in_training(stack.size, stack.pixel_size, self.image)
        return None if seen == stack.size else seen

    def _look(self, stack: Stack) -> dict[int, str]:
        """Look at a sample of the plane in the middle, once: say what makes a result doubtful; its fingerprint."""
        middle = len(stack) // 2
        some = sample(stack[middle].source)
        self._warn(stack, some)
        return {middle: fingerprint(some)}

    def _warn(self, stack: Stack, stored: NDArray[Any]) -> None:
        """Say what makes a result doubtful, by a sample of it."""
        if not self.read.rescale:
            self.model.warn_if_magnified(stack.pixel_size, self.image)
        if len(stack) == 1 and (value := _only_value(stack[0].source, stored)) is not None:
            message = f"{self.image}: every pixel has the same value, {value}; it is predicted all the same: look at it"
            warnings.warn(message, RescrnetWarning, stacklevel=2)
            return
        matched = match_channels(normalise(stored), self.model.card.in_channels, self.image)
        self.model.warn_if_out_of_distribution(matched, self.image)

    def _check_space(self, stack: Stack, folder: Path) -> None:
        classes = len(self.model.classes)
        needed = sum(scratch_bytes(stack, classes, of=name) for name in self.write.names)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise OutputError(
                folder,
                f"about {format_bytes(needed)} of scratch space are needed for {self.image} and "
                f"{format_bytes(free)} are free",
                "make room there or choose another disk with --scratch",
            )

    def _unpacked(self, source: Source, folder: Path, identity: str) -> tuple[Source, Journal | None]:
        """The plane, or where every read would decode all of it and it is streamed, a copy that reads by region.

        The copy lies in a journal of its own.
        """
        if not (source.sequential or self._is_large(source)):
            return source, None
        if not folder.is_dir() and self._fits_whole(source):
            return source, None
        journal = Journal.open(folder, identity)
        return unpacked(source, folder / "image.npy"), journal

    def _fits_whole(self, source: Source) -> bool:
        """Whether a plane is predicted whole, in the memory that is left beside what was decoded of it."""
        shape = (source.shape[0], source.shape[1])
        beside = replace(self.resources, program=self.resources.program + source.segment_bytes)
        try:
            return fits_whole(self.model, shape, beside, source.name)
        except UsageError:
            return fits_whole(self.model, shape, self.resources, source.name)

    def _check_piece(self, source: Source) -> None:
        """Refuse an image that takes more memory to decode than is allowed."""
        needed = self.resources.program + source.segment_bytes
        if self._is_large(source) and needed > self.resources.memory:
            raise UsageError(
                self.image,
                f"is compressed in pieces of {format_bytes(source.segment_bytes)}: to decode one about "
                f"{format_bytes(needed, up=True)} of memory are needed, and {format_bytes(self.resources.memory)} are "
                "allowed",
                "save it tiled, as OME-TIFF or OME-Zarr, or give more with --memory",
            )

    def _is_large(self, source: Source) -> bool:
        """Whether a piece of the file would be felt beside what is computed with the part of it that is read."""
        free = self.resources.memory - self.resources.program
        return source.segment_bytes >= min(_LARGE_PIECE, max(1, free // _SHARE))

    def _write_overlay(self, path: Path, stack: Stack, sink: Sink) -> None:
        height, width = stack.size
        path.parent.mkdir(parents=True, exist_ok=True)
        image = normalise(stack[0].source.read(0, height, 0, width))
        check_finite(image, self.image)
        mask = sink.array[(0, slice(0, height), slice(0, width))]
        save_png(path, overlay(image, mask, self.model.colours))


@dataclass(frozen=True)
class _PlaneOf:
    """One plane of a result."""

    sink: Sink
    plane: int
    persistent = True

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> None:
        """Take a block."""
        self.sink.write(y0, x0, block, self.plane)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        self.sink.array.sync()


@dataclass(frozen=True)
class _UncertaintyOf(_PlaneOf):
    """One plane of an uncertainty, which is made of the probabilities as they come."""

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> None:
        """Take a block of probabilities, (rows, columns, classes)."""
        for top in range(0, len(block), _ROWS):
            part = np.moveaxis(block[top : top + _ROWS], -1, 0)
            super().write(y0 + top, x0, predictive_entropy(part)[..., None])


@dataclass(frozen=True)
class _Each:
    """Writers that get the same blocks."""

    writers: tuple[_PlaneOf, ...]
    persistent = True

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> None:
        """Take a block."""
        for writer in self.writers:
            writer.write(y0, x0, block)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        for writer in self.writers:
            writer.sync()


def _beside(sinks: dict[ResultName, Sink], plane: int) -> _Each | None:
    """What takes the probabilities of a plane; none where they are not wanted."""
    kinds: dict[ResultName, type[_PlaneOf]] = {"probabilities": _PlaneOf, "uncertainty": _UncertaintyOf}
    writers = tuple(kind(sinks[name], plane) for name, kind in kinds.items() if name in sinks)
    return _Each(writers) if writers else None


def _only_value(source: Source, some: NDArray[Any]) -> Any:
    """The value of all pixels, where they are alike; else none. Where a sample of them is not, no more is read."""
    first = some[0, 0, 0]
    if (some != first).any():
        return None
    shape = (source.shape[0], source.shape[1])
    regions = source.bands() if source.sequential else (region for _, region in grid(shape, 256, 1024))
    return None if any((source.read(*region) != first).any() for region in regions) else first


def stamp(file: Path) -> list[Any]:
    """What tells an image from another; of a Zarr its metadata, for the folder changes when labels are put into it."""
    metadata = (file / name for name in ("zarr.json", ".zattrs", ".zarray", ".zgroup"))
    status = next((path for path in metadata if path.is_file()), file).stat()
    return [str(file.absolute()), status.st_size, status.st_mtime_ns]
