"""The prediction of an image of any size as tasks, exactly that of the whole image, in bounded memory.

The network is a convolutional part, then for each ConvLSTM block four scans. They are phases, one after the other; the
tasks of a phase write disjoint parts of a map on disk and mark themselves done:

``features``
    Tiles, each from the image with its halo, projected to the classes: the map x.
``columns 0``, ``columns 1``, ``rows 0``, ``rows 1`` of each block
    A scan over the columns or rows of x, forward (0) or backward (1), cut into strips, in order, and each strip into
    segments. What a strip's segment needs of the strip before is its state, which the marks of that strip hold::

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

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rescrnet.errors import OutputError, UsageError
from rescrnet.inference.block_map import BlockMap
from rescrnet.inference.budget import text_of
from rescrnet.inference.features import roll_features
from rescrnet.inference.journal import Marks
from rescrnet.inference.region import Region, grid
from rescrnet.intensity import check_finite, match_channels, normalise
from rescrnet.model import SegmentationModel
from rescrnet.nn.network import ResCRNet

FEATURES = "features"
SCANS_SHARE = 0.12  # of the time, about; for the time left


class Source(Protocol):
    """An image that is read by region."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Y, X and channels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values as stored."""

    def read(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """(y1 - y0, x1 - x0, channels), values as stored."""


class Sink(Protocol):
    """What takes a result by region, in any order, some of it a second time after an interruption."""

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> object:
        """Take a block whose first pixel is at row y0, column x0."""


@dataclass(frozen=True)
class Sizes:
    """How an image is cut; pixels."""

    tile: tuple[int, int]
    """Height and width of a tile."""
    rows: int
    """Rows of a tile computed at a time."""
    strip: int
    """Rows (or columns) of a strip of a scan."""
    segment: int
    """Width of a segment of a strip, at least ``strip``."""
    block: int = 64
    """Side of a block of the maps on disk."""


class Task(NamedTuple):
    """One tile, or one segment of one strip of a scan."""

    phase: str
    row: int
    column: int

    @property
    def name(self) -> str:
        """The name of its mark within its phase."""
        return f"{self.row}-{self.column}"


class _Scan(NamedTuple):
    block: int
    columns: bool
    direction: int


@dataclass(frozen=True)
class Stream:
    """The prediction of one image, in a folder.

    Attributes:
        model: a Res-CR-Net that does not resize its images.
        source: the image.
        mask: gets the class indices, uint8 (rows, columns).
        probabilities: gets them where they are wanted, float32 (rows, columns, classes).
        name: what to call the image in messages.
        folder: for the maps and marks; several processes may share it.
        sizes: how to cut the image.
    """

    model: SegmentationModel
    source: Source
    mask: Sink
    probabilities: Sink | None
    name: str
    folder: Path
    sizes: Sizes
    _scans: dict[str, _Scan] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        scans = {}
        for block in range(len(self.network.lstm_blocks)):
            for axis in ("columns", "rows"):
                for direction in (0, 1):
                    scans[f"{block}-{axis}-{direction}"] = _Scan(block, axis == "columns", direction)
        object.__setattr__(self, "_scans", scans)

    @property
    def network(self) -> ResCRNet:
        """The network of the model. Raises :class:`UsageError` where it cannot be streamed."""
        return streamable(self.model)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.source.shape[0], self.source.shape[1]

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
        if not 0 <= before * self.sizes.strip < shape[0]:
            return []
        columns = range(max(0, task.column - 1), min(-(-shape[1] // self.sizes.segment), task.column + 2))
        return [Task(task.phase, before, column) for column in columns]

    def maps(self) -> dict[str, BlockMap]:
        """The maps on disk by name."""
        blocks = len(self.network.lstm_blocks)
        names = ["x0", "columns"] * (blocks > 0) + ["x1"] * (blocks > 1)
        settings = (self.network.classes, self.shape, np.float32, self.sizes.block)
        return {name: BlockMap(self.folder / f"{name}.map", *settings) for name in names}

    def prepare(self) -> None:
        """Make the maps. Raises :class:`OutputError` where the disk has no room for them."""
        missing = [each for each in self.maps().values() if not each.exists()]
        needed, there = sum(each.size for each in missing), shutil.disk_usage(self.folder).free
        if needed > there:
            raise OutputError(
                f"{self.folder}: {text_of(needed)} of scratch space are needed for {self.name} and {text_of(there)} "
                "are free; make room there or choose another disk with --scratch"
            )
        for each in missing:
            each.create()

    def share(self, phase: str) -> float:
        """About how much of the time a phase takes, of 1."""
        if not self._scans:
            return 1.0
        return 1 - SCANS_SHARE if phase == FEATURES else SCANS_SHARE / len(self._scans)

    def marks(self, phase: str) -> Marks:
        """The marks of a phase."""
        return Marks(self.folder / phase)

    def run(self, task: Task) -> None:
        """Do one task. Raises :class:`DataError` where the image does not fit the model."""
        with torch.inference_mode():
            left = self._run_tile(task) if task.phase == FEATURES else self._run_scan(task)
        self.marks(task.phase).put(task.name, left)

    def _cells(self, phase: str) -> Iterator[tuple[tuple[int, int], Region]]:
        if phase == FEATURES:
            return grid(self.shape, *self.sizes.tile)
        return grid(self._oriented(phase), self.sizes.strip, self.sizes.segment)

    def _oriented(self, phase: str) -> tuple[int, int]:
        """Steps of a scan, and the length of its lines."""
        return self.shape[::-1] if self._scans[phase].columns else self.shape

    def _run_tile(self, task: Task) -> NDArray[Any]:
        """Nothing that another task needs."""
        height, width = self.sizes.tile
        y0, x0 = task.row * height, task.column * width
        tile = Region(y0, min(self.shape[0], y0 + height), x0, min(self.shape[1], x0 + width))
        for region, features in roll_features(self.network, self._read, tile, self.shape, self.sizes.rows):
            self._write("x0" if self._scans else None, self.network.project(features), region)
        self._sync("x0" if self._scans else None)
        return np.zeros(0)

    def _read(self, region: Region) -> Tensor:
        return self.model.tensor(read_unit(self.model, self.source, region, self.name)).to(self.model.device)

    def _run_scan(self, task: Task) -> NDArray[Any]:
        """The state after the strip."""
        scan, shape, maps = self._scans[task.phase], self._oriented(task.phase), self.maps()
        y0, x0 = task.row * self.sizes.strip, task.column * self.sizes.segment
        y1, x1 = min(shape[0], y0 + self.sizes.strip), min(shape[1], x0 + self.sizes.segment)
        core, wide = Region(y0, y1, x0, x1), Region(y0, y1, x0, x1).grown(y1 - y0, shape)._replace(y0=y0, y1=y1)
        inside = slice(core.x0 - wide.x0, core.x1 - wide.x0)

        def get(name: str, region: Region) -> Tensor:
            found = maps[name].read(region.transposed if scan.columns else region)
            found = found.transpose(0, 2, 1) if scan.columns else found
            return torch.from_numpy(found)[None].to(self.model.device)

        block = self.network.lstm_blocks[scan.block]
        x = get(f"x{scan.block % 2}", wide)
        lstm = block.columns if scan.columns else block.rows
        made, state = lstm.scan(x, scan.direction, self._state(task, wide))
        if scan.direction:
            forward, _ = lstm.scan(x, 0, self._state(task._replace(phase=_forward(task.phase)), wide))
            made = (forward + made)[..., inside]
            if scan.columns:
                self._write("columns", made.transpose(2, 3), core.transposed)
                self._sync("columns")
            else:
                self._finish(scan, (x[..., inside] + made) + get("columns", core), core)
        return state[..., inside].cpu().numpy()

    def _state(self, task: Task, wide: Region) -> Tensor | None:
        before = self.needs(task)
        if not before:
            return None
        marks = self.marks(task.phase)
        states = np.concatenate([marks.get(each.name) for each in before], axis=-1)
        start = wide.x0 - before[0].column * self.sizes.segment
        return torch.from_numpy(states[..., start : start + wide.width]).to(self.model.device)

    def _finish(self, scan: _Scan, made: Tensor, region: Region) -> None:
        """Write what a block made: the x of the next one, or logits."""
        following = self.network.lstm_blocks[scan.block + 1 :]
        target = f"x{(scan.block + 1) % 2}" if following else None
        self._write(target, following[0].project(made) if following else made, region)
        self._sync(target)

    def _write(self, name: str | None, values: Tensor, region: Region) -> None:
        """Write to a map; without its name these are logits, and become the result."""
        if name is not None:
            self.maps()[name].write(region, values[0].cpu().numpy())
            return
        probabilities = values[0].float().softmax(0).cpu().numpy()
        self.mask.write(region.y0, region.x0, probabilities.argmax(0).astype(np.uint8))
        if self.probabilities is not None:
            self.probabilities.write(region.y0, region.x0, np.moveaxis(probabilities, 0, -1))

    def _sync(self, name: str | None) -> None:
        if name is not None:
            self.maps()[name].sync()


def _forward(phase: str) -> str:
    """The forward scan that a backward one follows."""
    return phase[:-1] + "0"


def read_unit(model: SegmentationModel, source: Source, region: Region, name: str) -> NDArray[np.float32]:
    """A region of an image normalised to [0, 1], with the channels of the model, YXC. Raises :class:`DataError`."""
    unit = match_channels(normalise(source.read(*region)), model.card.in_channels, name)
    check_finite(unit, name)
    return unit


def streamable(model: SegmentationModel) -> ResCRNet:
    """The network of ``model``, or :class:`UsageError` where it has to see the whole image at once."""
    if not isinstance(model.network, ResCRNet):
        raise UsageError(
            f"network '{model.card.network.architecture}': sees the whole image at once and cannot be streamed"
        )
    if model.card.resize is not None:
        size = "×".join(map(str, model.card.resize))
        raise UsageError(f"the model resizes every image to {size} and cannot be streamed; train one without resize")
    return model.network
