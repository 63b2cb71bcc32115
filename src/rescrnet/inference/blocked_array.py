"""An array on disk in blocks, read and written by region, by several processes at a time.

What was written survives the end of the process at any moment. Which parts have been written in full it does not know:
that is for a :mod:`journal <rescrnet.inference.journal>`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.inference.region import Region


class BlockedArray:
    """An array (channels, Y, X) on disk, in square blocks, so that rows and columns alike are read in long pieces.

    The file holds the blocks row by row, each (channels, block, block) in C order; those at the lower and right edge
    are padded. Processes may write different blocks at the same time. Reading does not map the file into memory, where
    it would count as the process's.

    Args:
        path: the file.
        channels: first axis.
        shape: Y and X.
        dtype: of the values.
        block: side of a block, pixels.
    """

    def __init__(self, path: Path, channels: int, shape: tuple[int, int], dtype: Any, block: int) -> None:
        self.path, self.channels, self.shape, self.block = path, channels, shape, block
        self.dtype = np.dtype(dtype)
        self._grid = (-(-shape[0] // block), -(-shape[1] // block))
        self._block_bytes: int = channels * block * block * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._grid[0] * self._grid[1] * self._block_bytes

    def exists(self) -> bool:
        """Whether the file is there, in full."""
        return self.path.is_file() and self.path.stat().st_size == self.size

    def create(self) -> None:
        """Make the file. Raises :class:`OSError` where the disk has no room for it."""
        with self.path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # so that the disk cannot turn out to be full later on
                os.posix_fallocate(file.fileno(), 0, self.size)
            else:
                file.truncate(self.size)

    def read(self, region: Region) -> NDArray[Any]:
        """The part of the array in ``region``, (channels, rows, columns)."""
        out = np.empty((self.channels, region.height, region.width), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for line in self._lines(region):
                self._seek(file, line)
                part = _inside(self._get(file, line), line, region)
                out[:, _rows_of(line, region)] = part
        return out

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Set the part of the array in ``region`` to ``values`` (channels, rows, columns)."""
        with self.path.open("r+b", buffering=0) as file:
            for line in self._lines(region):
                if self._covers(region, line):
                    stored = np.zeros((self.channels, self.block, line.width), self.dtype)
                else:
                    self._seek(file, line)
                    stored = self._get(file, line)
                _inside(stored, line, region)[:] = values[:, _rows_of(line, region)]
                self._seek(file, line)
                self._put(file, stored)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())

    def _lines(self, region: Region) -> Iterator[Region]:
        """The rows of blocks that ``region`` touches, each as the region that its touched blocks cover."""
        side = self.block
        left, right = region.x0 // side * side, -(-region.x1 // side) * side
        for top in range(region.y0 // side * side, region.y1, side):
            yield Region(top, top + side, left, right)

    def _covers(self, region: Region, line: Region) -> bool:
        """Whether ``region`` holds all of the blocks of ``line`` but their padding."""
        (height, width), (y0, y1, x0, x1) = self.shape, region
        across = x0 <= line.x0 and min(line.x1, width) <= x1
        return across and y0 <= line.y0 and min(line.y1, height) <= y1

    def _seek(self, file: FileIO, line: Region) -> None:
        file.seek((line.y0 // self.block * self._grid[1] + line.x0 // self.block) * self._block_bytes)

    def _get(self, file: FileIO, line: Region) -> NDArray[Any]:
        blocks = np.empty((line.width // self.block, self.channels, self.block, self.block), self.dtype)
        view = memoryview(blocks.data).cast("B")
        while view and (count := file.readinto(view)):
            view = view[count:]
        return blocks.transpose(1, 2, 0, 3).reshape(self.channels, self.block, line.width)

    def _put(self, file: FileIO, line: NDArray[Any]) -> None:
        blocks = line.reshape(self.channels, self.block, -1, self.block).transpose(2, 0, 1, 3)
        view = memoryview(np.ascontiguousarray(blocks).data).cast("B")
        while view:
            view = view[file.write(view) :]


def _inside(stored: NDArray[Any], line: Region, region: Region) -> NDArray[Any]:
    """The part of the blocks of ``line`` that lies in ``region``, a view."""
    rows = slice(max(region.y0, line.y0) - line.y0, min(region.y1, line.y1) - line.y0)
    return stored[:, rows, region.x0 - line.x0 : region.x1 - line.x0]


def _rows_of(line: Region, region: Region) -> slice:
    """The rows of ``line`` counted from the first row of ``region``."""
    return slice(max(region.y0, line.y0) - region.y0, min(region.y1, line.y1) - region.y0)
