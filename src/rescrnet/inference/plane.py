"""Predict one plane of any size within a given memory: whole where that fits, else streamed through scratch files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rescrnet.ensemble import Ensemble
from rescrnet.errors import OutputError, UsageError
from rescrnet.images.stack import Source
from rescrnet.inference.budget import format_bytes
from rescrnet.inference.journal import MANIFEST, Journal
from rescrnet.inference.parts import PartByPart
from rescrnet.inference.plan import choose_tiling, whole_bytes
from rescrnet.inference.region import Region, grid
from rescrnet.inference.resources import Resources
from rescrnet.inference.stream import PlaneReader, PlaneWriter, Stream, Task, Tiling, read_unit, streamable
from rescrnet.model import SegmentationModel
from rescrnet.nn.statistics import sample_windows, share_of_image, taking_statistics_of
from rescrnet.ops.buffers import release
from rescrnet.wording import size

TILING = "tiling"  # the first step of a streamed plane; its state: the memory it was chosen for, then the tiling
_LESS = 0.75  # of the memory that an unfinished prediction was started with; with less than that it starts anew
_SAMPLE = 2**20  # pixels


def predict_plane(
    model: SegmentationModel,
    image: PlaneReader,
    classes: PlaneWriter,
    probabilities: PlaneWriter | None = None,
    *,
    name: str = "image",
    resources: Resources | None = None,
    advance: Callable[[float], object] = lambda pixels: None,
    seen: tuple[int, int] | None = None,
) -> None:
    """Predict one plane of any size, from any reader into any writer.

    The result is that of :meth:`SegmentationModel.predict`, to rounding (1e-5 in probability), however much memory
    there is. An image that does not fit is streamed: see :mod:`rescrnet.inference.stream`.

    Args:
        model: the trained model.
        image: has ``shape`` (Y, X, C), ``dtype`` and ``read(y0, y1, x0, x1)``.
        classes: gets the class indices; its ``write(y0, x0, block)`` is called with uint8 (rows, columns), every pixel
            once but after an interruption, in any order. Where its attribute ``persistent`` is not true, what was
            written is taken to be gone after an interruption, and written again.
        probabilities: gets them likewise, float32 (rows, columns, classes).
        name: what to call the image in messages, and what tells it from others in a scratch folder.
        resources: memory, scratch folder and executor; by default half of the free memory and this process.
        advance: called with the number of pixels done since the last call; they add up to those of the image.
        seen: rows and columns in which the network sees the image, where not its own; the result is brought back. Then
            all of it is held in memory.

    Raises:
        DataError: the image does not fit the model, or holds NaN or infinite values.
        OutputError: the scratch folder is full or cannot be used.
        UsageError: the memory is too little, or the model sees the whole image at once and that does not fit.
    """
    resources = resources or Resources()
    model.network.eval()
    shape = (image.shape[0], image.shape[1])
    if isinstance(model, Ensemble) and seen is None and not fits_whole(model, shape, resources, name):
        _predict_part_by_part(model, image, classes, probabilities, name, resources, advance)
        return

    @cache
    def identity() -> dict[str, Any]:  # takes a look at the image, and only streamed ones need it
        return _identity(model, image, name, probabilities is not None)

    if seen is not None:
        check_seen(model, shape, seen, resources, name)
    whole = seen is not None or isinstance(model, Ensemble)
    tiling = None if whole else _started_tiling(resources, identity) or tiling_for(model, shape, resources, name)
    if tiling is None:
        _predict_whole(model, image, classes, probabilities, name, seen)
        advance(shape[0] * shape[1])
        return
    with _scratch_folder(resources.scratch) as folder, _statistics(model, image, name):
        # Nobody resumes from a temporary folder.
        journal = Journal.open(folder, None if resources.scratch is None else identity())
        told = _Told(advance)
        stream = Stream(model, image, classes, probabilities, name=name, folder=folder, tiling=tiling, tell=told.some)
        stream.check_room()  # first of all: a refusal leaves nothing that a later call could go on with
        _record_tiling(journal, tiling, resources.memory)
        stream.prepare()
        if not all(getattr(writer, "persistent", False) for writer in (classes, probabilities) if writer is not None):
            journal.child(stream.phases[-1]).clear()
        _run(stream, resources, told)
        release()  # its buffers are large, and the file that is made of the result takes memory, too


def _predict_part_by_part(
    model: Ensemble,
    image: PlaneReader,
    classes: PlaneWriter,
    probabilities: PlaneWriter | None,
    name: str,
    resources: Resources,
    advance: Callable[[float], object],
) -> None:
    with _scratch_folder(resources.scratch) as folder:
        temporary = resources.scratch is None
        journal = Journal.open(folder, None if temporary else _identity(model, image, name, probabilities is not None))
        PartByPart(model, image, classes, probabilities, name, journal, resources).run(predict_plane, advance)


def fits_whole(model: SegmentationModel, shape: tuple[int, int], resources: Resources, name: str) -> bool:
    """Whether an image of ``shape`` (Y, X) is predicted whole; of an ensemble, all parts of it.

    Raises as :func:`predict_plane` does, where the memory is too little.
    """
    if not isinstance(model, Ensemble):
        return tiling_for(model, shape, resources, name) is None
    fit = [fits_whole(member, shape, resources, name) for member in model.members]
    return all(fit) and whole_bytes(model, shape) <= resources.memory - resources.program


def tiling_for(model: SegmentationModel, shape: tuple[int, int], resources: Resources, name: str) -> Tiling | None:
    """How to stream an image of ``shape`` (Y, X); none where it is predicted whole. Raises as :func:`predict_plane`."""
    if resources.tiling is not None:
        return resources.tiling
    memory = resources.memory
    try:
        network = streamable(model)
    except UsageError as error:
        needed = resources.program + whole_bytes(model, shape)
        if needed <= memory:
            return None
        raise UsageError(
            name,
            f"{size(shape)} pixels at once need about {format_bytes(needed)} of memory and {format_bytes(memory)} are "
            "allowed",
            f"{error}, or give more with --memory",
        ) from None
    return choose_tiling(network, shape, memory, resources.program)


def check_seen(
    model: SegmentationModel, shape: tuple[int, int], seen: tuple[int, int], resources: Resources, name: str
) -> None:
    """Raise :class:`UsageError` where an image that the network sees in another size would have to be streamed."""
    if not all(fits_whole(model, extent, resources, name) for extent in (shape, seen)):
        raise UsageError(
            name,
            f"to see it as {size(seen)} pixels all of it must be in memory, and {format_bytes(resources.memory)} are "
            "too little",
            "leave --rescale out and scale the image beforehand, or give more with --memory",
        )


def _predict_whole(
    model: SegmentationModel,
    image: PlaneReader,
    classes: PlaneWriter,
    probabilities: PlaneWriter | None,
    name: str,
    seen: tuple[int, int] | None = None,
) -> None:
    whole = read_unit(model, image, Region(0, image.shape[0], 0, image.shape[1]), name)
    predicted = model.predict_normalised(whole, seen)
    classes.write(0, 0, predicted.argmax(0).astype(np.uint8))
    if probabilities is not None:
        probabilities.write(0, 0, np.moveaxis(predicted, 0, -1))


@contextlib.contextmanager
def _statistics(model: SegmentationModel, image: PlaneReader, name: str) -> Iterator[None]:
    """Within it, the network has the statistics of the image where it is meant to, read by windows."""
    if not share_of_image(model.network):
        yield
        return
    network = streamable(model)
    windows = sample_windows((image.shape[0], image.shape[1]), network.config.space_to_depth)
    with taking_statistics_of(network, _sample(model, image, [Region(*window) for window in windows], name)):
        yield


def _sample(model: SegmentationModel, image: PlaneReader, windows: list[Region], name: str) -> Tensor:
    """(N, C, H, W) of windows of one size, scaled, on the device of the model."""
    sizes = len(windows), model.card.in_channels, windows[0].height, windows[0].width
    sample = torch.empty(sizes, device=model.device, memory_format=torch.channels_last)
    for part, window in zip(sample, windows, strict=True):
        part.copy_(model.tensor(read_unit(model, image, window, name))[0])
    return sample


@dataclass
class _Told:
    """Tells how far a phase is: of its tasks in this process as they go, of others when they are done."""

    advance: Callable[[float], object]
    share: float = 1.0
    parts: Counter[Task] = field(default_factory=Counter)

    def some(self, task: Task, pixels: int) -> None:
        """So many more pixels of a task are done."""
        self.parts[task] += pixels
        self.advance(self.share * pixels)

    def all(self, task: Task, pixels: int) -> None:
        """All of a task is done, of so many pixels."""
        self.some(task, pixels - self.parts.pop(task, 0))


def _run(stream: Stream, resources: Resources, told: _Told) -> None:
    for phase in stream.phases:
        told.share = stream.share(phase)
        pixels = dict(stream.tasks(phase))
        done = stream.journal(phase).steps()
        for task in (task for task in pixels if task.name in done):
            told.all(task, pixels[task])
        for task in resources.executor.run(stream, [task for task in pixels if task.name not in done]):
            told.all(task, pixels[task])


@contextlib.contextmanager
def _scratch_folder(scratch: Path | None) -> Iterator[Path]:
    """A temporary folder, or ``scratch``, which is removed at the end and stays when something stops the prediction."""
    if scratch is None:
        with tempfile.TemporaryDirectory(prefix="rescrnet-") as folder, explain_full_disk(Path(folder)):
            yield Path(folder)
        return
    with explain_full_disk(scratch):
        yield scratch
        Journal(scratch).remove()


@contextlib.contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Say of a full disk what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutputError(
            folder,
            "the disk is full",
            "make room there and repeat the command, it goes on where it stopped, or choose another disk with "
            "--scratch",
        ) from None


def model_fingerprint(model: SegmentationModel) -> str:
    """What tells a model from every other: a hash of its card and its weights."""
    hashed = hashlib.sha256(model.card.model_dump_json().encode())
    if isinstance(model, Ensemble):
        settings = (*(model_fingerprint(member) for member in model.members), model.views, model.temperature)
        hashed.update(repr(settings).encode())
        return hashed.hexdigest()
    for weight in model.network.state_dict().values():
        hashed.update(weight.cpu().numpy().tobytes())
    return hashed.hexdigest()


def fingerprint(some: NDArray[Any]) -> str:
    """What tells an image from another of its shape: a hash of a :func:`sample` of it."""
    return hashlib.sha256(np.ascontiguousarray(some).tobytes()).hexdigest()


def sample(image: PlaneReader) -> NDArray[Any]:
    """A small image whole; of a large one 64 squares from all over it, one below the other; (y, x, channels)."""
    height, width, channels = image.shape
    if height * width <= _SAMPLE:
        return image.read(0, height, 0, width)
    cells = [
        Region(r.y0, min(r.y1, r.y0 + 128), r.x0, min(r.x1, r.x0 + 128))
        for _, r in grid((height, width), -(-height // 8), -(-width // 8))
    ]
    if isinstance(image, Source) and image.sequential:
        parts = _read_once(image, cells)
    else:
        parts = [image.read(*cell) for cell in cells]
    return np.concatenate([part.reshape(-1, 1, channels) for part in parts])


def _read_once(image: Source, cells: list[Region]) -> list[NDArray[Any]]:
    """Parts of an image of which every read unpacks all that lies before it in the file: in the order of the file."""
    parts = [np.empty((cell.height, cell.width, image.shape[2]), image.dtype) for cell in cells]
    for band in itertools.starmap(Region, image.bands()):
        touched = [(cell, part) for cell, part in zip(cells, parts, strict=True) if cell.overlaps(band)]
        if not touched:
            continue
        block = image.read(*band)
        for cell, part in touched:
            y0, y1, x0, x1 = max(cell.y0, band.y0), min(cell.y1, band.y1), max(cell.x0, band.x0), min(cell.x1, band.x1)
            found = block[y0 - band.y0 : y1 - band.y0, x0 - band.x0 : x1 - band.x0]
            part[y0 - cell.y0 : y1 - cell.y0, x0 - cell.x0 : x1 - cell.x0] = found
    return parts


def _identity(model: SegmentationModel, image: PlaneReader, name: str, probabilities: bool) -> dict[str, Any]:
    """What must be the same for a prediction to be resumed."""
    return {
        "model": model_fingerprint(model),
        "image": name,
        "shape": list(image.shape),
        "dtype": str(image.dtype),
        "fingerprint": fingerprint(sample(image)),
        "probabilities": probabilities,
    }


def _started_tiling(resources: Resources, identity: Callable[[], object]) -> Tiling | None:
    """The tiling of the prediction that the scratch folder holds, if it is this one and fits the memory."""
    if resources.scratch is None or not (resources.scratch / MANIFEST).is_file():
        return None
    journal = Journal.find(resources.scratch, identity())
    if journal is None or not journal.done(TILING):
        return None
    memory, height, width, *others = journal.state(TILING).tolist()
    return Tiling((height, width), *others) if resources.memory >= _LESS * memory else None


def _record_tiling(journal: Journal, tiling: Tiling, memory: int) -> None:
    """Keep the tiling, the first step of all; what another one left is no use."""
    kept = np.array([memory, *tiling.tile, tiling.rows, tiling.strip, tiling.segment, tiling.block])
    if journal.done(TILING):
        if np.array_equal(journal.state(TILING)[1:], kept[1:]):
            return
        journal.clear()
    journal.record(TILING, kept)
