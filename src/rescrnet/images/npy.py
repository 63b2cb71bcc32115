"""Arrays that lie in a file uncompressed, read and written by region without mapping them into memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rescrnet.atomic import cannot_be_written, sync_tree, write_atomically
from rescrnet.errors import DataError
from rescrnet.wording import one_line

Index = tuple[int | slice, ...]


class RawArray:
    """An N-dimensional array in a NumPy ``.npy`` file, or a stretch of another file.

    Plain reads and writes, not a memory map: mapped pages count as resident memory of the process, so that a budget
    could not be kept. Regions need no alignment, and several threads or processes may write different regions at once.
    What was written outlives the process, however it ends.

    Attributes:
        shape: its extents.
        dtype: its type, byte order as in the file when reading, native when creating.
    """

    def __init__(
        self, path: Path, shape: Sequence[int], dtype: DTypeLike, offset: int = 0, *, fortran: bool = False
    ) -> None:
        self.path, self.offset, self.fortran = path, offset, fortran
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        expected, found = offset + math.prod(self.shape) * self.dtype.itemsize, path.stat().st_size
        if found < expected:
            raise DataError(path, f"is cut short, {found} bytes of {expected}", "copy it again")

    @classmethod
    def create(cls, path: Path, shape: Sequence[int], dtype: DTypeLike) -> Self:
        """Make a ``.npy`` file of zeros, which takes space only as it is written."""
        dtype = np.dtype(dtype)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}

        def write(partial: Path) -> None:
            with partial.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                file.truncate(file.tell() + math.prod(shape) * dtype.itemsize)

        write_atomically(path, write, durable=False)  # what is in it now, nobody misses
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a ``.npy`` file. Raises :class:`DataError` where it is none, or cut short."""
        try:
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                read_header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, fortran, dtype = read_header(file)
                offset = file.tell()
        except MemoryError:
            raise
        except Exception as error:  # the header is parsed as Python text, and damage raises anything
            raise DataError(
                path, f"cannot be read as a NumPy array, is it damaged? ({one_line(error)})", "copy it again"
            ) from None
        if dtype.hasobject:
            raise DataError(path, "holds Python objects", "expected an array of numbers; convert it")
        return cls(path, shape, dtype, offset, fortran=fortran)

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region as an array of its own: one integer or slice of step 1 for each axis."""
        ranges, block_shape = self._ranges(index)
        block = np.empty([len(r) for r in ranges], self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for position, run in self._runs(ranges, block):
                file.seek(position)
                _read_into(file, run.view(np.uint8).data, self.path)
        if self.fortran:
            block = block.T
        return block.reshape(block_shape).astype(self.dtype.newbyteorder("="), copy=False)

    def __setitem__(self, index: Index, block: NDArray[Any]) -> None:
        """Write a region. Raises :class:`OutputError` where the disk is full or fails."""
        ranges, block_shape = self._ranges(index)
        if block.shape != block_shape:
            raise ValueError(f"block of shape {block.shape} for a region of shape {block_shape}")
        source = np.ascontiguousarray(block, self.dtype).reshape([len(r) for r in ranges])
        try:
            with self.path.open("r+b", buffering=0) as file:
                for position, run in self._runs(ranges, source):
                    file.seek(position)
                    left = run.view(np.uint8).data
                    while left:  # a full disk takes a part and fails at the next call
                        left = left[file.write(left) :]
        except OSError as error:
            raise cannot_be_written(self.path.parent, error) from None

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        sync_tree(self.path)

    def _ranges(self, index: Index) -> tuple[list[range], tuple[int, ...]]:
        """The range along each axis, in the order of the file, and the shape of the region as the caller sees it."""
        ranges = as_ranges(index, self.shape)
        shape = tuple(len(r) for r, i in zip(ranges, index, strict=True) if isinstance(i, slice))
        return (ranges[::-1] if self.fortran else ranges), shape

    def _runs(self, ranges: list[range], block: NDArray[Any]) -> list[tuple[int, NDArray[Any]]]:
        """Where in the file, and in ``block``, each contiguous run of the region lies."""
        extents = self.shape[::-1] if self.fortran else self.shape
        strides = [self.dtype.itemsize * math.prod(extents[axis + 1 :]) for axis in range(len(extents))]
        axis = len(extents) - 1  # the first axis of a run: those after it are taken whole
        while axis > 0 and len(ranges[axis]) == extents[axis]:
            axis -= 1
        start = self.offset + sum(r.start * stride for r, stride in zip(ranges[axis:], strides[axis:], strict=True))
        runs = block.reshape(math.prod(len(r) for r in ranges[:axis]), -1)
        leading = itertools.product(*ranges[:axis])
        return [
            (start + sum(i * stride for i, stride in zip(place, strides[:axis], strict=True)), run)
            for place, run in zip(leading, runs, strict=True)
            if run.size
        ]


def as_ranges(index: Index, extents: Sequence[int]) -> list[range]:
    """The range along each axis that an integer or slice means."""
    return [
        range(i, i + 1) if isinstance(i, int) else range(*i.indices(n)) for i, n in zip(index, extents, strict=True)
    ]


def _read_into(file: Any, target: memoryview, path: Path) -> None:
    while target:
        count = file.readinto(target)
        if not count:
            raise DataError(path, "is cut short", "copy it again")
        target = target[count:]


def holds_numbers(path: Path) -> bool:
    """Whether a ``.npy`` file holds numbers rather than Python objects; also where it cannot be read, so that whoever
    reads it says why."""
    try:
        with path.open("rb") as file:
            return b"'descr': '|O'" not in file.read(128)
    except OSError:
        return True
