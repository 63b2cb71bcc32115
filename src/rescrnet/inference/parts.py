"""Predict a plane by an ensemble part by part, in the memory that one part takes.

Every part, a member on a view of the image, is a prediction of its own, whole or streamed. It adds its probabilities to
the sum of those before it, which lies on disk::

    part 0 ──► sum 0 ──► part 1 ──► sum 1 ──► part 2 ──► … ──► last part ──► result

The old sum is kept until the new one is there, so that a part that was interrupted is done again or resumed, and adds
nothing twice. A sum lies as the view of its part shows the image, and the last view is the image itself: tasks that run
side by side write whole blocks of their own, as those of a single model do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rescrnet.ensemble import Ensemble, View, pooled
from rescrnet.inference.blocked_array import BlockedArray
from rescrnet.inference.journal import Journal
from rescrnet.inference.plan import BLOCK
from rescrnet.inference.region import Region
from rescrnet.inference.resources import Resources
from rescrnet.inference.stream import PlaneReader, PlaneWriter, make_arrays
from rescrnet.model import SegmentationModel


class PredictPart(Protocol):
    """What predicts one part; the arguments are those of :func:`rescrnet.inference.plane.predict_plane`."""

    def __call__(
        self,
        model: SegmentationModel,
        image: PlaneReader,
        classes: PlaneWriter,
        probabilities: PlaneWriter,
        *,
        name: str,
        resources: Resources,
        advance: Callable[[float], object],
    ) -> None:
        """Predict."""


@dataclass(frozen=True)
class PartByPart:
    """The prediction of one plane by an ensemble.

    Attributes:
        model: the ensemble.
        image: reads the plane.
        classes: gets the class indices.
        probabilities: gets them where they are wanted.
        name: what to call the image in messages.
        journal: with a step for each part that is done; the sums lie in its folder.
        resources: of each part.
    """

    model: Ensemble
    image: PlaneReader
    classes: PlaneWriter
    probabilities: PlaneWriter | None
    name: str
    journal: Journal
    resources: Resources

    def run(self, predict: PredictPart, advance: Callable[[float], object]) -> None:
        """Do all parts but those that are done."""
        shape, parts = (self.image.shape[0], self.image.shape[1]), self.model.parts
        make_arrays([self._sum(index) for index in range(min(2, len(parts) - 1))], self.journal.folder, self.name)
        before: _Sum | None = None
        for index, (member, view) in enumerate(parts):
            last = index == len(parts) - 1
            current = _Sum(view, self._sum(index))
            result = _Result(len(parts), self.model.temperature, self.classes, self.probabilities)
            if self.journal.done(_step(index)):
                advance(shape[0] * shape[1] / len(parts))
            else:
                predict(
                    member,
                    _Seen(self.image, view),
                    _Nowhere(),
                    _Adding(view, shape, before, result if last else current),
                    name=self.name,
                    resources=replace(self.resources, scratch=self.journal.folder / _step(index)),
                    advance=lambda pixels: advance(pixels / len(parts)),
                )
                if not last:  # what becomes of the result, its writer knows
                    self.journal.record(_step(index))
            before = current

    def _sum(self, index: int) -> BlockedArray:
        """The array of the sum after part ``index``; every second part has the same file."""
        view = self.model.parts[index].view
        shape = view.shape((self.image.shape[0], self.image.shape[1]))
        path, tiling = self.journal.folder / f"sum-{index % 2}.blocks", self.resources.tiling
        block = BLOCK if tiling is None else tiling.block  # tasks side by side write whole blocks of this size alone
        return BlockedArray(path, len(self.model.classes), shape, np.float32, block)


def _step(index: int) -> str:
    return f"part-{index}"


def _turned(view: View, region: Region, shape: tuple[int, int], *, back: bool = False) -> Region:
    """Where ``region`` of an image of ``shape`` (Y, X) lies in its view; or ``back`` from there into the image."""
    y0, y1, x0, x1 = region.transposed if view.transpose and not back else region
    height, width = view.shape(shape)
    if view.flip_y:
        y0, y1 = height - y1, height - y0
    if view.flip_x:
        x0, x1 = width - x1, width - x0
    turned = Region(y0, y1, x0, x1)
    return turned.transposed if view.transpose and back else turned


@dataclass(frozen=True)
class _Seen:
    """An image as a view shows it."""

    image: PlaneReader
    view: View

    @property
    def shape(self) -> tuple[int, int, int]:
        """Y, X and channels of the view."""
        return (*self.view.shape((self.image.shape[0], self.image.shape[1])), self.image.shape[2])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values as stored."""
        return self.image.dtype

    def read(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """A region of the view."""
        shape = (self.image.shape[0], self.image.shape[1])
        values = self.image.read(*_turned(self.view, Region(y0, y1, x0, x1), shape, back=True))
        return np.ascontiguousarray(self.view.apply(values))


class _Nowhere:
    """The classes of a part, which nobody wants."""

    persistent = True

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> None:
        """Drop a block."""


@dataclass(frozen=True)
class _Sum:
    """A sum of probabilities on disk, as a view shows the image."""

    view: View
    array: BlockedArray
    persistent = True

    def read(self, region: Region, shape: tuple[int, int]) -> NDArray[np.float32]:
        """The part of it in ``region`` of an image of ``shape`` (Y, X), (classes, rows, columns)."""
        values: NDArray[np.float32] = self.array.read(_turned(self.view, region, shape))
        return self.view.undo(values, 1)

    def write(self, region: Region, total: NDArray[np.float32]) -> None:
        """Set a region of the view."""
        self.array.write(region, total)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        self.array.sync()


@dataclass(frozen=True)
class _Result:
    """What becomes of the sum of all parts. It holds no model, for it goes to workers with every task."""

    parts: int
    temperature: float
    classes: PlaneWriter
    probabilities: PlaneWriter | None

    @property
    def persistent(self) -> bool:
        """Whether what was written is there after an interruption."""
        return all(getattr(writer, "persistent", False) for writer in self._writers)

    @property
    def _writers(self) -> list[PlaneWriter]:
        return [self.classes, *([] if self.probabilities is None else [self.probabilities])]

    def write(self, region: Region, total: NDArray[np.float32]) -> None:
        """Write a region of the image."""
        mean = pooled(total, self.parts, self.temperature)
        self.classes.write(region.y0, region.x0, mean.argmax(0).astype(np.uint8))
        if self.probabilities is not None:
            self.probabilities.write(region.y0, region.x0, np.moveaxis(mean, 0, -1))

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        for writer in self._writers:
            getattr(writer, "sync", lambda: None)()


@dataclass(frozen=True)
class _Adding:
    """Takes the probabilities of a part, in its view, and adds those before it."""

    view: View
    shape: tuple[int, int]
    before: _Sum | None
    target: _Sum | _Result

    @property
    def persistent(self) -> bool:
        """Whether what was written is there after an interruption."""
        return self.target.persistent

    def write(self, y0: int, x0: int, block: NDArray[Any]) -> None:
        """Take a block (rows, columns, classes)."""
        region = Region(y0, y0 + block.shape[0], x0, x0 + block.shape[1])
        total = np.moveaxis(block, -1, 0)
        if self.before is not None:
            former = self.before.read(_turned(self.view, region, self.shape, back=True), self.shape)
            total = self.view.apply(former, 1) + total
        self.target.write(region, total)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        self.target.sync()
