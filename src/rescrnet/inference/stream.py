"""The prediction of an image of any size as tasks, exactly that of the whole image, in bounded memory.

The network is a convolutional part, then for each ConvLSTM block four scans. They are phases, one after the other; the
tasks of a phase write disjoint parts of an array on disk and are recorded in the journal of the phase:

``features``
    Tiles, each from the image with its halo, projected to the classes: the array x.
``columns 0``, ``columns 1``, ``rows 0``, ``rows 1`` of each block
    A scan over the columns or rows of x, forward (0) or backward (1), cut into strips, in order, and each strip into
    segments. What a strip's segment needs of the strip before is its state, which the journal keeps::

          strip i - 1   │  segment j - 1  │  segment j   │  segment j + 1  │
                        └────────────╲────┴──────────────┴────╱────────────┘
          strip i                     ╲▁▁▁│  segment j   │▁▁▁╱      one column wider with every row back

    In a recurrence of kernel 3 a pixel sees one column more to each side with every row, so a segment reads as many
    columns more as its strip has rows. A forward scan leaves nothing but its states: the backward one does every strip
    forward again from them, which takes less than writing and reading it would, and adds the two. The last scan adds
    all: its result is the x of the next block, or the logits.

Neither the tiling nor the order of tasks that do not wait for each other changes a number.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rescrnet.errors import OutputError, UsageError
from rescrnet.inference.blocked_array import BlockedArray
from rescrnet.inference.budget import format_bytes
from rescrnet.inference.features import roll_features
from rescrnet.inference.journal import Journal
from rescrnet.inference.region import Region, grid
from rescrnet.intensity import check_finite, match_channels, normalise
from rescrnet.model import SegmentationModel
from rescrnet.nn.network import ResCRNet
from rescrnet.wording import size

FEATURES = "features"
SCANS_SHARE = 0.12  # of the time, about; for the time left


class PlaneReader(Protocol):
    """An image that is read by region."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Y, X and channels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values as stored."""

    def read(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """(y1 - y0, x1 - x0, channels), values as stored."""


class PlaneWriter(Protocol):
    """What takes a result by region, in any order, some of it a second time after an interruption."""

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> object:
        """Take a block whose first pixel is at row y0, column x0."""


@dataclass(frozen=True)
class Tiling:
    """How an image is divided; pixels."""

    tile: tuple[int, int]
    """Height and width of a tile."""
    rows: int
    """Rows of a tile computed at a time."""
    strip: int
    """Rows (or columns) of a strip of a scan."""
    segment: int
    """Width of a segment of a strip, at least ``strip``."""
    block: int = 64
    """Side of a block of the arrays on disk."""


class Task(NamedTuple):
    """One tile, or one segment of one strip of a scan."""

    phase: str
    row: int
    column: int

    @property
    def name(self) -> str:
        """Its step in the journal of its phase."""
        return f"{self.row}-{self.column}"


class _Scan(NamedTuple):
    block: int
    axis: str
    direction: int

    @property
    def phase(self) -> str:
        return f"{self.block}-{self.axis}-{self.direction}"

    @property
    def columns(self) -> bool:
        return self.axis == "columns"


@dataclass(frozen=True)
class Stream:
    """The prediction of one image, in a folder.

    Attributes:
        model: a Res-CR-Net that does not resize its images.
        image: reads it by region.
        classes: gets the class indices, uint8 (rows, columns).
        probabilities: gets them where they are wanted, float32 (rows, columns, classes).
        name: what to call the image in messages.
        folder: of the journal, and of arrays as large as the image; several processes may share it.
        tiling: how to divide the image.
        tell: called with a task that is being done in this process, and how many more of its pixels are.
    """

    model: SegmentationModel
    image: PlaneReader
    classes: PlaneWriter
    probabilities: PlaneWriter | None
    name: str
    folder: Path
    tiling: Tiling
    tell: Callable[[Task, int], object] = lambda task, pixels: None
    _scans: dict[str, _Scan] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        blocks = range(len(self.network.lstm_blocks))
        scans = [_Scan(*scan) for scan in itertools.product(blocks, ("columns", "rows"), (0, 1))]
        object.__setattr__(self, "_scans", {scan.phase: scan for scan in scans})

    @property
    def network(self) -> ResCRNet:
        """The network of the model. Raises :class:`UsageError` where it cannot be streamed."""
        return streamable(self.model)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def phases(self) -> list[str]:
        """The phases in order; each needs all of those before it."""
        return [FEATURES, *self._scans]

    def tasks(self, phase: str) -> Iterator[tuple[Task, int]]:
        """The tasks of a phase with the pixels of each, in an order in which each comes after those it needs."""
        cells = list(self._cells(phase))
        if phase in self._scans and self._scans[phase].direction:
            cells.reverse()
        for (row, column), region in cells:
            yield Task(phase, row, column), region.height * region.width

    def needs(self, task: Task) -> list[Task]:
        """The tasks of the same phase that must be done before ``task``."""
        if task.phase == FEATURES:
            return []
        shape, before = self._oriented(task.phase), task.row + (1 if self._scans[task.phase].direction else -1)
        if not 0 <= before * self.tiling.strip < shape[0]:
            return []
        columns = range(max(0, task.column - 1), min(-(-shape[1] // self.tiling.segment), task.column + 2))
        return [Task(task.phase, before, column) for column in columns]

    def arrays(self) -> dict[str, BlockedArray]:
        """The arrays on disk by name: what a block reads and what the next one does, by turns, and its column scans."""
        blocks = len(self.network.lstm_blocks)
        names = [] if blocks == 0 else ["x0", "columns"] if blocks == 1 else ["x0", "columns", "x1"]
        settings = (self.network.classes, self.shape, np.float32, self.tiling.block)
        return {name: BlockedArray(self.folder / f"{name}.blocks", *settings) for name in names}

    def check_room(self) -> None:
        """Raise :class:`OutputError` where the disk has no room for the arrays."""
        check_room(self.arrays().values(), self.folder, self.name)

    def prepare(self) -> None:
        """Make the arrays and the journals of the phases. Raises :class:`OutputError` where the disk has no room."""
        make_arrays(self.arrays().values(), self.folder, self.name)
        for phase in self.phases:
            Journal(self.folder).child(phase)

    def share(self, phase: str) -> float:
        """About how much of the time a phase takes, of 1."""
        if not self._scans:
            return 1.0
        return 1 - SCANS_SHARE if phase == FEATURES else SCANS_SHARE / len(self._scans)

    def journal(self, phase: str) -> Journal:
        """The journal of a phase, open since :meth:`prepare`."""
        return Journal(self.folder / phase)

    def run(self, task: Task) -> None:
        """Do one task. Raises :class:`DataError` where the image does not fit the model."""
        with torch.inference_mode():
            state = self._run_tile(task) if task.phase == FEATURES else self._run_scan(task)
        self.journal(task.phase).record(task.name, state)

    def _cells(self, phase: str) -> Iterator[tuple[tuple[int, int], Region]]:
        if phase == FEATURES:
            return grid(self.shape, *self.tiling.tile)
        return grid(self._oriented(phase), self.tiling.strip, self.tiling.segment)

    def _oriented(self, phase: str) -> tuple[int, int]:
        """Steps of a scan, and the length of its lines."""
        return self.shape[::-1] if self._scans[phase].columns else self.shape

    def _run_tile(self, task: Task) -> NDArray[Any]:
        """Nothing that another task needs."""
        height, width = self.tiling.tile
        y0, x0 = task.row * height, task.column * width
        tile = Region(y0, min(self.shape[0], y0 + height), x0, min(self.shape[1], x0 + width))
        for region, features in roll_features(self.network, self._read, tile, self.shape, self.tiling.rows):
            projected = self.network.project(features)[:, :, : region.height, : region.width]
            self._write("x0" if self._scans else None, projected, region)
            self.tell(task, region.height * region.width)
        self._sync("x0" if self._scans else None)
        return np.zeros(0)

    def _read(self, region: Region) -> Tensor:
        return self.model.tensor(read_unit(self.model, self.image, region, self.name)).to(self.model.device)

    def _run_scan(self, task: Task) -> NDArray[Any]:
        """The state after the strip."""
        scan, shape, arrays = self._scans[task.phase], self._oriented(task.phase), self.arrays()
        y0, x0 = task.row * self.tiling.strip, task.column * self.tiling.segment
        y1, x1 = min(shape[0], y0 + self.tiling.strip), min(shape[1], x0 + self.tiling.segment)
        core = Region(y0, y1, x0, x1)
        wide = core.with_halo(y1 - y0, shape)._replace(y0=y0, y1=y1)
        inside = slice(core.x0 - wide.x0, core.x1 - wide.x0)

        def get(name: str, region: Region) -> Tensor:
            values = arrays[name].read(region.transposed if scan.columns else region)
            lines = values.transpose(0, 2, 1) if scan.columns else values
            return torch.from_numpy(lines)[None].to(self.model.device)

        block = self.network.lstm_blocks[scan.block]
        x = get(_input_of(scan.block), wide)
        lstm = block.columns if scan.columns else block.rows
        output, state = lstm.scan(x, scan.direction, self._state(task, wide))
        if scan.direction:
            forward_task = task._replace(phase=scan._replace(direction=0).phase)
            forward, _ = lstm.scan(x, 0, self._state(forward_task, wide))
            both = (forward + output)[..., inside]
            if scan.columns:
                self._write("columns", both.transpose(2, 3), core.transposed)
                self._sync("columns")
            else:
                self._finish(scan, (x[..., inside] + both) + get("columns", core), core)
        return state[..., inside].cpu().numpy()

    def _state(self, task: Task, wide: Region) -> Tensor | None:
        before = self.needs(task)
        if not before:
            return None
        journal = self.journal(task.phase)
        states = np.concatenate([journal.state(needed.name) for needed in before], axis=-1)
        start = wide.x0 - before[0].column * self.tiling.segment
        return torch.from_numpy(states[..., start : start + wide.width]).to(self.model.device)

    def _finish(self, scan: _Scan, output: Tensor, region: Region) -> None:
        """Write the output of a block: the x of the next one, or logits."""
        following = self.network.lstm_blocks[scan.block + 1 :]
        target = _input_of(scan.block + 1) if following else None
        self._write(target, following[0].project(output) if following else output, region)
        self._sync(target)

    def _write(self, name: str | None, values: Tensor, region: Region) -> None:
        """Write to an array on disk; without its name these are logits, and become the result."""
        if name is not None:
            self.arrays()[name].write(region, values[0].cpu().numpy())
            return
        probabilities = values[0].float().softmax(0).cpu().numpy()
        self.classes.write(region.y0, region.x0, probabilities.argmax(0).astype(np.uint8))
        if self.probabilities is not None:
            self.probabilities.write(region.y0, region.x0, np.moveaxis(probabilities, 0, -1))

    def _sync(self, name: str | None) -> None:
        """Wait until what a task wrote is on the disk, before the journal says that it is done."""
        if name is not None:
            self.arrays()[name].sync()
            return
        for writer in (self.classes, self.probabilities):
            getattr(writer, "sync", lambda: None)()


def check_room(arrays: Iterable[BlockedArray], folder: Path, name: str) -> None:
    """Raise :class:`OutputError` where the disk has no room for those arrays that are not there."""
    needed = sum(array.size for array in arrays if not array.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            folder,
            f"{format_bytes(needed)} of scratch space are needed for {name} and {format_bytes(free)} are free",
            "make room there or choose another disk with --scratch",
        )


def make_arrays(arrays: Iterable[BlockedArray], folder: Path, name: str) -> None:
    """Make those arrays that are not there. Raises :class:`OutputError` where the disk has no room for them."""
    missing = [array for array in arrays if not array.exists()]
    check_room(missing, folder, name)
    for array in missing:
        array.create()


def _input_of(block: int) -> str:
    """The array that a ConvLSTM block reads; the one before it wrote to the other."""
    return f"x{block % 2}"


def read_unit(model: SegmentationModel, image: PlaneReader, region: Region, name: str) -> NDArray[np.float32]:
    """A region of an image normalised to [0, 1], with the channels of the model, YXC. Raises :class:`DataError`."""
    unit = match_channels(normalise(image.read(*region)), model.card.in_channels, name)
    check_finite(unit, name)
    return unit


def streamable(model: SegmentationModel) -> ResCRNet:
    """The network of ``model``, or :class:`UsageError` where it has to see the whole image at once."""
    if not isinstance(model.network, ResCRNet):
        raise UsageError(
            f"network '{model.card.network.architecture}'", "sees the whole image at once and cannot be streamed"
        )
    if model.card.resize is not None:
        raise UsageError(
            f"the model resizes every image to {size(model.card.resize)} and cannot be streamed",
            remedy="train one without resize",
        )
    return model.network
