"""Predict an image of any size within a given memory: whole where that fits, else streamed through a scratch folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import OutputError, UsageError
from rescrnet.inference.budget import allowance, taken, text_of
from rescrnet.inference.plan import plan, whole_bytes
from rescrnet.inference.region import Region, grid
from rescrnet.inference.stream import Sink, Sizes, Source, Stream, Task, read_unit, streamable
from rescrnet.model import SegmentationModel

_FORMAT = 2  # of a scratch folder
JOB = "rescrnet-job.json"
_LESS = 0.75  # of the memory that an unfinished prediction was begun with; with less than that it is begun anew
_SAMPLE = 2**20  # pixels


class Engine(Protocol):
    """What does the tasks of a phase: this process, or a cluster."""

    def run(self, stream: Stream, tasks: list[Task]) -> Iterator[Task]:
        """Do ``tasks``, each after those that it needs, and yield each when it is done."""


class InThisProcess:
    """One task after the other, in order."""

    def run(self, stream: Stream, tasks: list[Task]) -> Iterator[Task]:
        """Do ``tasks`` and yield each when it is done."""
        for task in tasks:
            stream.run(task)
            yield task


@dataclass(frozen=True)
class Resources:
    """What a prediction may use.

    Attributes:
        memory: resident bytes of each process that computes, all in all.
        program: how much of it the program itself takes.
        scratch: folder for what does not fit into memory, and for what an interrupted prediction goes on from; none for
            a temporary one, which does not outlive the prediction.
        engine: what does the work.
    """

    memory: int = field(default_factory=allowance)
    program: int = field(default_factory=taken)
    scratch: Path | None = None
    engine: Engine = field(default_factory=InThisProcess)


def predict_array(
    model: SegmentationModel,
    source: Source,
    mask: Sink,
    probabilities: Sink | None = None,
    *,
    name: str = "image",
    resources: Resources | None = None,
    sizes: Sizes | None = None,
    advance: Callable[[float], object] = lambda pixels: None,
) -> None:
    """Predict one image of any size.

    The result is that of :meth:`SegmentationModel.predict`, to rounding (1e-5 in probability), however much memory
    there is. An image that does not fit is streamed: see :mod:`rescrnet.inference.stream`.

    Args:
        model: the trained model.
        source: the image; has ``shape`` (Y, X, C), ``dtype`` and ``read(y0, y1, x0, x1)``.
        mask: gets the class indices; its ``write(y0, x0, block)`` is called with uint8 (rows, columns), every pixel
            once but after an interruption, in any order. Where its attribute ``lasting`` is not true, what it was
            given is taken to be gone after an interruption, and given again.
        probabilities: gets them likewise, float32 (rows, columns, classes).
        name: what to call the image in messages, and what tells it from others in a scratch folder.
        resources: memory, scratch folder and engine; by default half of the free memory and this process.
        sizes: how to cut the image; by default what fits the memory.
        advance: called with the number of pixels done since the last call; they add up to those of the image.

    Raises:
        DataError: the image does not fit the model, or holds NaN or infinite values.
        OutputError: the scratch folder is full or cannot be used.
        UsageError: the memory is too little, or the model sees the whole image at once and that does not fit.
    """
    resources = resources or Resources()
    model.network.eval()
    shape = (source.shape[0], source.shape[1])
    facts = partial(_facts, model, source, name, probabilities)
    begun = _begun_with(resources, facts)
    sizes = begun or sizes or cut(model, shape, resources, name)
    if sizes is None:
        found = model.predict_normalised(read_unit(model, source, Region(0, shape[0], 0, shape[1]), name))
        mask.write(0, 0, found.argmax(0).astype(np.uint8))
        if probabilities is not None:
            probabilities.write(0, 0, np.moveaxis(found, 0, -1))
        advance(shape[0] * shape[1])
        return
    with _folder(resources.scratch) as folder:
        if begun is None:
            # A temporary folder is gone on with by nobody, and its image need not be looked at.
            known = {} if resources.scratch is None else facts()
            _begin(folder, {"facts": known, "sizes": asdict(sizes), "memory": resources.memory})
        stream = Stream(model, source, mask, probabilities, name=name, folder=folder, sizes=sizes)
        if not all(getattr(sink, "lasting", False) for sink in (mask, probabilities) if sink is not None):
            stream.marks(stream.phases[-1]).clear()
        _run(stream, resources.engine, advance)


def cut(model: SegmentationModel, shape: tuple[int, int], resources: Resources, name: str) -> Sizes | None:
    """How to cut an image of ``shape`` (Y, X); none where it is predicted whole. Raises as :func:`predict_array`."""
    memory = resources.memory
    try:
        network = streamable(model)
    except UsageError as error:
        needed = resources.program + whole_bytes(model, shape)
        if needed > memory:
            size = f"{shape[0]}×{shape[1]}"
            raise UsageError(
                f"{name}: {size} pixels at once need about {text_of(needed)} of memory and {text_of(memory)} are "
                f"allowed; {error}, or give more with --memory"
            ) from None
        return None
    return plan(network, shape, memory, resources.program)


def _run(stream: Stream, engine: Engine, advance: Callable[[float], object]) -> None:
    try:
        stream.prepare()
        for phase in stream.phases:
            share = stream.share(phase)
            pixels = dict(stream.tasks(phase))
            done = stream.marks(phase).done()
            advance(share * sum(count for task, count in pixels.items() if task.name in done))
            for task in engine.run(stream, [task for task in pixels if task.name not in done]):
                advance(share * pixels[task])
    except OSError as error:
        if isinstance(error, OutputError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutputError(
            f"{stream.folder}: the disk is full; make room there and repeat the command, it goes on where it stopped, "
            "or choose another disk with --scratch"
        ) from None


@contextlib.contextmanager
def _folder(scratch: Path | None) -> Iterator[Path]:
    """A temporary folder, or ``scratch``; that one stays where it is when something stops the prediction."""
    if scratch is None:
        with tempfile.TemporaryDirectory(prefix="rescrnet-") as folder:
            yield Path(folder)
        return
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{scratch}: cannot be used as scratch folder ({error.strerror}); choose another") from None
    yield scratch
    _empty(scratch)
    (scratch / JOB).unlink()
    with contextlib.suppress(OSError):  # it may be a mount point
        scratch.rmdir()


def digest(model: SegmentationModel) -> str:
    """What tells a model from every other: a hash of its card and its weights."""
    hashed = hashlib.sha256(model.card.model_dump_json().encode())
    for weight in model.network.state_dict().values():
        hashed.update(weight.cpu().numpy().tobytes())
    return hashed.hexdigest()


def sample(source: Source) -> NDArray[Any]:
    """A small image whole; of a large one 64 squares from all over it, one below the other; (y, x, channels)."""
    height, width, channels = source.shape
    if height * width <= _SAMPLE:
        return source.read(0, height, 0, width)
    cells = list(grid((height, width), -(-height // 8), -(-width // 8)))
    parts = [source.read(r.y0, min(r.y1, r.y0 + 128), r.x0, min(r.x1, r.x0 + 128)) for _, r in cells]
    return np.concatenate([part.reshape(-1, 1, channels) for part in parts])


def look(source: Source) -> bytes:
    """What tells an image from another of its shape: a hash of a sample of it."""
    return hashlib.sha256(np.ascontiguousarray(sample(source)).tobytes()).digest()


def _facts(model: SegmentationModel, source: Source, name: str, probabilities: Sink | None) -> dict[str, Any]:
    """What must be the same for a prediction to go on from a scratch folder."""
    image = {"image": name, "shape": list(source.shape), "dtype": str(source.dtype), "look": look(source).hex()}
    return {"format": _FORMAT, "model": digest(model), **image, "probabilities": probabilities is not None}


def _begun_with(resources: Resources, facts: Callable[[], dict[str, Any]]) -> Sizes | None:
    """The sizes of the prediction that the scratch folder holds, if it is this one and fits the memory."""
    if resources.scratch is None:
        return None
    try:
        stored = json.loads((resources.scratch / JOB).read_text(encoding="utf-8"))
        if resources.memory >= _LESS * stored["memory"] and stored["facts"] == facts():
            return Sizes(**{**stored["sizes"], "tile": tuple(stored["sizes"]["tile"])})
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or it is not whole
    return None


def _begin(folder: Path, job: dict[str, Any]) -> None:
    """Make a scratch folder, empty or of another prediction, that of this one."""
    note = folder / JOB
    if any(folder.iterdir()) and not note.is_file():
        raise OutputError(f"{folder}: holds other files; choose an empty or new scratch folder")
    _empty(folder)
    unnamed = note.with_suffix(".partial")
    unnamed.write_text(json.dumps(job), encoding="utf-8")
    unnamed.replace(note)


def _empty(folder: Path) -> None:
    """Remove all but the note of whose the folder is, and that is made nobody's first: so nobody ever goes on with a
    part of what was there."""
    (folder / JOB).open("wb").close()
    for path in folder.iterdir():
        if path.name != JOB:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
