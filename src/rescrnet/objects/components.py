"""Connected parts of an image in tiles: each tile by itself, then those that meet at borders are made one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import generate_binary_structure, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rescrnet.inference.region import Region, grid
from rescrnet.objects.scratch import Scratch

Pairs = NDArray[np.int64]


def label_parts(
    scratch: Scratch,
    name: str,
    read: Callable[[Region], NDArray[np.bool_]],
    shape: tuple[int, int],
    tile: int,
    connectivity: int,
) -> tuple[Any, NDArray[np.int32]]:
    """Number the connected parts of a mask of any size.

    Args:
        scratch: takes the array ``name`` and the steps of the work.
        name: of the array.
        read: reads a region of the mask.
        shape: rows and columns.
        tile: side of a tile.
        connectivity: 1 where pixels are connected at sides, 2 at corners too.

    Returns:
        The array, (rows, columns) int32 of provisional numbers, 0 outside; and the table from those to the numbers
        1, 2, … of the parts, 0 for 0.
    """
    structure = generate_binary_structure(2, connectivity)
    array = scratch.array(name, shape, np.int32)
    first, starts = 0, []
    for (row, column), region in grid(shape, tile, tile):
        step = f"{name}-{row}-{column}"
        if not scratch.done(step):
            numbers, count = label(read(region), structure)
            array[region.slices] = np.where(numbers, numbers + first, 0).astype(np.int32)
            scratch.record(step, np.array(count))
        starts.append(first)
        first += int(scratch.state(step))
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *_meeting(array, shape, tile, connectivity)])
    return array, _joined(pairs, first)


def _joined(pairs: Pairs, count: int) -> NDArray[np.int32]:
    """The table from provisional numbers to those of the parts that ``pairs`` join."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count + 1, count + 1))
    _, parts = connected_components(graph, directed=False)
    return np.asarray(parts, np.int32)  # 0, which nothing is joined to, is the first


def _meeting(array: Any, shape: tuple[int, int], tile: int, connectivity: int) -> Iterator[Pairs]:
    """The pairs of numbers that touch across the borders of tiles."""
    for y in range(tile, shape[0], tile):
        yield _touching(array[(slice(y - 1, y + 1), slice(0, shape[1]))], connectivity)
    for x in range(tile, shape[1], tile):
        yield _touching(array[(slice(0, shape[0]), slice(x - 1, x + 1))].T, connectivity)


def _touching(border: NDArray[Any], connectivity: int) -> Pairs:
    """The pairs of numbers that touch in two lines along a border, (2, pixels)."""
    one, other = border
    lines = [(one, other)]
    if connectivity == 2:
        lines += [(one[:-1], other[1:]), (one[1:], other[:-1])]
    pairs = np.concatenate([np.stack(line, axis=1) for line in lines])
    return np.unique(pairs[pairs.all(1)], axis=0).astype(np.int64)


def sizes_of(
    array: Any, table: NDArray[np.int32], shape: tuple[int, int], tile: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Pixels of every part, and whether it reaches the border of the image; by number."""
    count = int(table.max(initial=0)) + 1
    pixels, at_border = np.zeros(count, np.int64), np.zeros(count, bool)
    for _, region in grid(shape, tile, tile):
        numbers = table[array[region.slices]]
        pixels += np.bincount(numbers.ravel(), minlength=count)
        for line, outermost in (
            (numbers[0], region.y0 == 0),
            (numbers[-1], region.y1 == shape[0]),
            (numbers[:, 0], region.x0 == 0),
            (numbers[:, -1], region.x1 == shape[1]),
        ):
            if outermost:
                at_border[line] = True
    return pixels, at_border
