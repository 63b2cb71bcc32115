"""The convolutional part of the network on one tile of an image, exactly, rolled downwards a few rows at a time.

Every block sees ``reach`` pixels to each side, so a tile reads more than it makes: its halo. The halo is cropped block
by block, so that no block computes what a later one throws away. Downwards nothing is computed twice but inside a
block: each keeps the last ``2·reach`` rows that it has read, and a few new rows of its input make as many of its
output::

      rows read, x          ┌────────┐                  new rows of the image
        kept by block 0  ▒▒▒└───┬────┘
        kept by block 1     ▒▒▒▒└──┬──┐                 each block is `reach` rows behind the one before,
        kept by block 2         ▒▒▒└──┴──┐              and its rows `reach` columns narrower at a cut
                                    ▼
                              rows of the tile

At an edge of the image nothing is cropped: there the blocks pad with zeros, as they do for a whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from rescrnet.inference.region import Region
from rescrnet.nn.network import ResCRNet, State
from rescrnet.ops.memory import empty
from rescrnet.ops.separable import Edges

Read = Callable[[Region], Tensor]


def regions(tile: Region, reaches: Sequence[int], shape: tuple[int, int]) -> list[Region]:
    """What each block reads to make ``tile``; the last entry is the tile itself."""
    found = [tile]
    for reach in reversed(reaches):
        found.insert(0, found[0].grown(reach, shape))
    return found


def roll_features(
    network: ResCRNet, read: Read, tile: Region, shape: tuple[int, int], rows: int
) -> Iterator[tuple[Region, Tensor]]:
    """The features of ``tile``, from top to bottom.

    Args:
        network: in evaluation mode.
        read: gives (1, channels, rows, columns) of a region of the image, scaled.
        tile: what is wanted.
        shape: height and width of the image.
        rows: computed at a time; decides the memory used, not the result.

    Yields:
        Regions that follow each other and make up the tile, with their features, (1, width, rows, columns).
    """
    extents = regions(tile, network.reaches, shape)
    states = _read_states(read, extents[0], rows)
    for index, (source, target) in enumerate(pairwise(extents)):
        states = _roll(network, index, states, source, target, shape, rows)
    top = tile.y0
    for state in states:
        bottom = top + state[0].shape[2]
        yield Region(top, bottom, tile.x0, tile.x1), state[0]
        top = bottom


def _read_states(read: Read, source: Region, rows: int) -> Iterator[State]:
    for top in range(source.y0, source.y1, rows):
        yield (read(source._replace(y0=top, y1=min(source.y1, top + rows))),)


def _roll(
    network: ResCRNet,
    index: int,
    states: Iterator[State],
    source: Region,
    target: Region,
    shape: tuple[int, int],
    rows: int,
) -> Iterator[State]:
    """One block rolled over ``source``, of which ``states`` are the rows in turn: the rows of ``target`` in turn."""
    reach, held, y0 = network.reaches[index], None, source.y0
    for state in states:
        held = _joined(held, state)
        del state
        y1 = y0 + held[0].shape[2]
        if y1 < source.y1 and y1 - y0 <= 2 * reach:
            continue  # not enough for a row yet
        here = source._replace(y0=y0, y1=y1)
        edges = here.edges(shape)
        made = _cropped(network.stage(index, held, edges), _made(here, reach, edges), target)
        held = _last_rows(held, 2 * reach) if y1 < source.y1 else None
        y0 = y1 - 2 * reach
        pieces = _split(made, rows)
        del made
        while pieces:
            yield pieces.pop(0)  # and keeps no hold of it, so that its memory is free as soon as it has been used


def _made(read: Region, reach: int, edges: Edges) -> Region:
    """What a block makes of the rows and columns that it reads."""
    margins = [0 if edge else reach for edge in edges]
    return Region(read.y0 + margins[0], read.y1 - margins[1], read.x0 + margins[2], read.x1 - margins[3])


def _joined(held: State | None, state: State) -> State:
    if held is None:
        return state
    return tuple(_stacked(*pair) for pair in zip(held, state, strict=True))


def _stacked(above: Tensor, below: Tensor) -> Tensor:
    """Rows above rows, channels last; in memory used before, the first touch of which costs as much as the copy."""
    n, channels, rows, width = above.shape
    if above.device.type != "cpu" or above.dtype != torch.float32:
        return torch.cat([above, below], dim=2)
    out = empty(n, rows + below.shape[2], width, channels).permute(0, 3, 1, 2)
    out[:, :, :rows] = above
    out[:, :, rows:] = below
    return out


def _last_rows(state: State, count: int) -> State:
    return tuple(x[:, :, max(0, x.shape[2] - count) :].clone() for x in state)


def _cropped(state: State, made: Region, target: Region) -> State:
    """The part of ``made`` that lies in ``target``. Only at an edge of the image is more made than is wanted."""
    rows = slice(max(0, target.y0 - made.y0), min(made.y1, target.y1) - made.y0)
    columns = slice(target.x0 - made.x0, target.x1 - made.x0)
    return tuple(x[:, :, rows, columns] for x in state)


def _split(state: State, rows: int) -> list[State]:
    """``rows`` rows at a time; the last part has what is left."""
    return list(zip(*(torch.split(x, rows, dim=2) for x in state), strict=True))
