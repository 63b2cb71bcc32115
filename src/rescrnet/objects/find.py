"""The objects of one class in a plane of any size: the same numbers however it is divided."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import DataError, UsageError
from rescrnet.images.stack import Source
from rescrnet.inference.budget import format_bytes
from rescrnet.inference.region import Region, grid
from rescrnet.object_settings import ObjectSettings
from rescrnet.objects.components import label_parts, sizes_of
from rescrnet.objects.evidence import ArrayScores, Evidence, Found, by_distance, distance_halo
from rescrnet.objects.flood import HALO, Window, flood_tile
from rescrnet.objects.scratch import InMemory, Scratch

BYTES = 130
"""Memory that a pixel of a window takes at most, measured (docs/objects.md)."""
_INSIDE, _SEED = 1, 2  # bits of the state of a pixel
_SMALLEST_TILE = 128


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one class in a plane, numbered 1, 2, … in the order in which their first pixels are read.

    Attributes:
        array: (rows, columns) int32, provisional numbers.
        numbers: the table from those to the numbers of objects, 0 for what is none.
        boxes: of each object its first row, the row after its last, its first column, the column after its last;
            (objects, 4).
        shape: rows and columns.
    """

    array: Any
    numbers: NDArray[np.int32]
    boxes: NDArray[np.int32]
    shape: tuple[int, int]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.boxes)

    def read(self, region: Region) -> NDArray[np.int32]:
        """The numbers in a region, 0 where there is no object."""
        found = self.array[region.slices]
        return np.asarray(self.numbers[found])

    def read_rows(self, y0: int, y1: int) -> NDArray[np.int32]:
        """The numbers in some rows."""
        return self.read(Region(y0, y1, 0, self.shape[1]))

    def whole(self) -> NDArray[np.int32]:
        """The numbers in the whole plane."""
        return self.read_rows(0, self.shape[0])


def tile_side(memory: int, settings: ObjectSettings, shape: tuple[int, int]) -> int:
    """Side of the tiles that ``memory`` bytes are enough for, pixels; the image in one where it fits.

    Raises :class:`UsageError` where no tile would fit.
    """
    most = memory // BYTES
    if shape[0] * shape[1] <= most:
        return max(shape)
    around = 4 * HALO if settings.split == "watershed" else 2 * distance_halo(settings.radius)
    side = int(most**0.5) - around
    if side < _SMALLEST_TILE:
        needed = (_SMALLEST_TILE + around + 1) ** 2 * BYTES
        raise UsageError(
            "--memory", f"{format_bytes(memory)} are left for objects", f"give at least {format_bytes(needed)} more"
        )
    return side


def find_objects(
    evidence: Evidence,
    scratch: Scratch | None = None,
    *,
    memory: int | None = None,
    tile: int | None = None,
    name: str = "image",
    advance: Callable[[float], object] = lambda share: None,
) -> Objects:
    """Find the objects of one class, in tiles where the plane is large.

    Args:
        evidence: for the objects.
        scratch: for arrays as large as the plane, and what is done; in memory where left out.
        memory: bytes for a tile and what is worked out of it.
        tile: side of a tile, pixels; as fits ``memory`` where left out.
        name: what to call the image in messages.
        advance: called with the share of the work done since the last call.

    Raises:
        UsageError: the memory is too little.
    """
    shape, settings = evidence.scores.shape, evidence.settings
    side = tile or (max(shape) if memory is None else tile_side(memory, settings, shape))
    most = shape[0] * shape[1] if memory is None else max(memory // BYTES, side * side)
    work = _Work(evidence, scratch or InMemory(), shape, side, most, name)
    work.look()
    advance(0.3)
    work.fill_holes()
    if settings.split == "distance":
        work.look_deep()
    advance(0.1)
    seeds, table = label_parts(work.scratch, "seeds", work.read_seeds, shape, side, settings.connectivity)
    advance(0.1)
    array = seeds
    if settings.split != "parts":
        array, table = work.flood(seeds, table), np.arange(int(table.max()) + 1, dtype=np.int32)
    advance(0.4)
    objects = _numbered(array, table, shape, settings, max(1, side * side // shape[1]))
    advance(0.1)
    return objects


def objects_of(array: NDArray[Any], index: int, boundary: int | None, settings: ObjectSettings) -> NDArray[np.int32]:
    """The objects of the class ``index`` in probabilities (classes, Y, X) or a class mask (Y, X), numbered; YX."""
    return find_objects(Evidence(ArrayScores(array), index, boundary, settings)).whole()


def numbered_objects(mask: Source, settings: ObjectSettings, band: int) -> Objects:
    """The objects that a mask itself numbers, renumbered; those that ``settings`` drop are left out.

    Raises :class:`DataError` where it holds negative numbers.
    """
    rows, columns, _ = mask.shape
    values = np.zeros(1, np.int64)
    for y0 in range(0, rows, band):
        values = np.union1d(values, mask.read(y0, min(rows, y0 + band), 0, columns)[..., 0].astype(np.int64))
    if values[0] < 0:
        raise DataError(mask.name, f"holds the number {values[0]}", "expected 0 outside and numbers of objects from 1")
    return _numbered(_Ranked(mask, values), np.arange(len(values), dtype=np.int32), (rows, columns), settings, band)


@dataclass(frozen=True)
class _Ranked:
    """A mask with each value replaced by its place among ``values``."""

    mask: Source
    values: NDArray[np.int64]

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[np.int64]:
        rows, columns = index
        block = self.mask.read(rows.start, rows.stop, columns.start, columns.stop)[..., 0]
        return np.searchsorted(self.values, block)


@dataclass(frozen=True)
class _Work:
    """One plane; the arrays in ``scratch`` are ``state`` (bits), ``walls``, ``seeds`` and ``flooded``."""

    evidence: Evidence
    scratch: Scratch
    shape: tuple[int, int]
    side: int
    most: int
    name: str

    def tiles(self, phase: str) -> Iterator[tuple[str, Region]]:
        """The tiles that are not done, with the step that says so."""
        for (row, column), region in grid(self.shape, self.side, self.side):
            if not self.scratch.done(step := f"{phase}-{row}-{column}"):
                yield step, region
                self.scratch.record(step, np.zeros(0))

    @property
    def state(self) -> Any:
        """(rows, columns) uint8: bits that say what a pixel is."""
        return self.scratch.array("state", self.shape, np.uint8)

    @property
    def walls(self) -> Any:
        """(rows, columns) uint16."""
        return self.scratch.array("walls", self.shape, np.uint16)

    def look(self) -> None:
        """Write the evidence."""
        for _, region in self.tiles("look"):
            self._write(region, self.evidence.read(region))

    def look_deep(self) -> None:
        """Write the evidence that lies in the depth of a pixel, once holes are filled."""
        settings, deep = self.evidence.settings, self.scratch.array("deep", self.shape, np.uint8)
        for _, region in self.tiles("deep"):
            wide = region.with_halo(distance_halo(settings.radius), self.shape)
            found = by_distance(self.read_inside(wide), settings.radius)
            top, bottom, left, right = region.crop_within(wide)
            inner = np.s_[top : wide.height - bottom, left : wide.width - right]
            deep[region.slices] = found.seeds[inner].view(np.uint8)
            self.walls[region.slices] = found.walls[inner]

    def _write(self, region: Region, found: Found) -> None:
        self.state[region.slices] = found.inside * np.uint8(_INSIDE) | found.seeds * np.uint8(_SEED)
        if self.evidence.settings.split == "watershed":
            self.walls[region.slices] = found.walls

    def fill_holes(self) -> None:
        """Take the holes up to the size that is to be filled for inside."""
        settings = self.evidence.settings
        if not settings.fill_holes:
            return
        others = 3 - settings.connectivity  # where objects are connected at corners, what is around them is not
        array, table = label_parts(
            self.scratch, "outside", lambda region: ~self.read_inside(region), self.shape, self.side, others
        )
        if self.scratch.done("holes"):
            filled = self.scratch.state("holes")
        else:  # kept, for what was filled already is a hole no more
            pixels, at_border = sizes_of(array, table, self.shape, self.side)
            filled = (pixels <= settings.fill_holes) & ~at_border
            filled[0] = False
            self.scratch.record("holes", filled)
        for _, region in self.tiles("fill"):
            holes = filled[table[array[region.slices]]]
            bits = np.uint8(_INSIDE | _SEED if settings.split == "parts" else _INSIDE)
            self.state[region.slices] = self.state[region.slices] | holes * bits

    def read_inside(self, region: Region) -> NDArray[np.bool_]:
        """Which pixels belong to objects."""
        return np.asarray(self.state[region.slices] & _INSIDE != 0)

    def read_seeds(self, region: Region) -> NDArray[np.bool_]:
        """Which pixels surely belong to one."""
        if self.evidence.settings.split == "distance":
            return np.asarray(self.scratch.array("deep", self.shape, np.uint8)[region.slices] != 0)
        return np.asarray(self.state[region.slices] & _SEED != 0)

    def flood(self, seeds: Any, table: NDArray[np.int32]) -> Any:
        """The labels that floods from the seeds give."""
        flooded = self.scratch.array("flooded", self.shape, np.int32)

        def read(region: Region) -> Window:
            place = region.slices
            return Window(self.read_inside(region), self.walls[place], table[seeds[place]])

        for _, region in self.tiles("flood"):
            flooded[region.slices] = flood_tile(
                read, region, self.shape, self.evidence.settings.connectivity, self.most, self.name
            )
        return flooded


def _numbered(
    array: Any, table: NDArray[np.int32], shape: tuple[int, int], settings: ObjectSettings, band: int
) -> Objects:
    """The objects that are large enough, in the order of their first pixels."""
    count = int(table.max(initial=0)) + 1
    pixels, first = np.zeros(count, np.int64), np.full(count, np.iinfo(np.int64).max)
    boxes = np.tile(np.array([*shape, 0, 0], np.int32), (count, 1))[:, [0, 2, 1, 3]]
    for y0 in range(0, shape[0], band):
        numbers = table[array[slice(y0, min(shape[0], y0 + band)), slice(0, shape[1])]]
        rows, columns = np.nonzero(numbers)
        found = numbers[rows, columns]
        rows += y0
        pixels += np.bincount(found, minlength=count)
        present, at = np.unique(found, return_index=True)
        first[present] = np.minimum(first[present], rows[at] * shape[1] + columns[at])
        np.minimum.at(boxes[:, 0], found, rows.astype(np.int32))
        np.maximum.at(boxes[:, 1], found, rows.astype(np.int32) + 1)
        np.minimum.at(boxes[:, 2], found, columns.astype(np.int32))
        np.maximum.at(boxes[:, 3], found, columns.astype(np.int32) + 1)
    kept = pixels >= max(1, settings.smallest)
    if settings.drop_edge:
        kept &= (boxes[:, 0] > 0) & (boxes[:, 1] < shape[0]) & (boxes[:, 2] > 0) & (boxes[:, 3] < shape[1])
    order = np.flatnonzero(kept)
    order = order[first[order].argsort(kind="stable")]
    numbers = np.zeros(count, np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return Objects(array, numbers[table], boxes[order], shape)
