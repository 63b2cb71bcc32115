"""The convolutional part of the network on one tile of an image, exactly, rolled downwards a few rows at a time.

Every convolution sees some pixels to each side, its halo, so a tile reads more than it makes. That is cropped
convolution by convolution, so that none computes what a later one throws away. Downwards nothing is computed twice:
every map keeps the rows that are still to be read, and a few new rows of it make as many of the next::

      image             ┌────────┐                  new rows
                     ▒▒▒└───┬────┘
      half of block 0   ▒▒▒▒└──┬──┐                 each map is `halo` rows behind the one before,
      block 0              ▒▒▒▒└┬─┴─┐               and its rows `halo` columns narrower inside the image
      half of block 1         ▒▒└───┴──┐
                                       ▼
                                 rows of the tile

Beyond the image there are zeros, in every map, as when a whole image is predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from rescrnet.inference.region import Region
from rescrnet.nn.fused import FusedConvResBlock
from rescrnet.nn.network import ResCRNet, space_to_depth
from rescrnet.nn.variants import join
from rescrnet.ops.buffers import empty

Read = Callable[[Region], Tensor]


def regions(tile: Region, halos: Sequence[int], shape: tuple[int, int]) -> list[Region]:
    """What each of several steps reads to make ``tile``; the last entry is the tile itself."""
    extents = [tile]
    for halo in reversed(halos):
        extents.insert(0, extents[0].with_halo(halo, shape))
    return extents


def roll_features(
    network: ResCRNet, read: Read, tile: Region, shape: tuple[int, int], rows: int
) -> Iterator[tuple[Region, Tensor]]:
    """The features of ``tile``, from top to bottom.

    A network with ``space_to_depth`` computes on an image with a pixel for each square of pixels, read here so:
    all below but what goes in and comes out is in its pixels.

    Args:
        network: in evaluation mode.
        read: gives (1, channels, rows, columns) of a region of the image, scaled.
        tile: what is wanted; where it does not end with the image, between two squares.
        shape: height and width of the image.
        rows: computed at a time; decides the memory used, not the result.

    Yields:
        Regions that follow each other and make up the tile, with their features, (1, width, rows, columns), which are
        good until the next ones are asked for.
    """
    side = network.config.space_to_depth

    def read_squares(region: Region) -> Tensor:
        return space_to_depth(read(region.multiplied(side, shape)), side)

    squares = (-(-shape[0] // side), -(-shape[1] // side))
    for region, features in _roll(network, read_squares, tile.divided(side), squares, max(1, rows // side)):
        yield region.multiplied(side, shape), features


def _roll(
    network: ResCRNet, read: Read, tile: Region, shape: tuple[int, int], rows: int
) -> Iterator[tuple[Region, Tensor]]:
    """As :func:`roll_features`, in the pixels of the blocks."""
    blocks = network.conv_blocks
    source, *extents = regions(tile, [reach for block in blocks for reach in (block.reach // 2,) * 2], shape)
    state = [RowBuffer(source, rows, blocks[0].reach)]
    arrivals = _read(read, state[0], rows)
    for index, block in enumerate(blocks):
        halfway = RowBuffer(extents[2 * index], rows, block.reach)
        kept = blocks[index + 1].reach if index + 1 < len(blocks) else 0
        following = [RowBuffer(extents[2 * index + 1], rows, kept)]
        arrivals = _first(block, state, halfway, following[0], arrivals)
        arrivals = _second(network, index, state, halfway, following, arrivals)
        state = following
    for _ in arrivals:
        region = state[0].held
        yield region, state[0].part(region)
        for buffer in state:
            buffer.drop(region.y1)


class RowBuffer:
    """The rows of a map that are still to be read, in a buffer that they move up in.

    Args:
        region: the rows and columns that there will be, one after the other.
        rows: at most so many come at a time.
        kept: at most so many are still to be read when more come; there is room for both.
    """

    def __init__(self, region: Region, rows: int, kept: int) -> None:
        self.region, self.rows, self.kept = region, rows, kept
        self.held = region._replace(y1=region.y0)
        self._height = min(kept + rows, region.height)
        self._buffer: Tensor | None = None
        self._top = 0  # of what is held, in the buffer

    def part(self, region: Region) -> Tensor:
        """A part of what is held."""
        if self._buffer is None:
            raise ValueError("nothing has come yet")
        top, left = self._top + region.y0 - self.held.y0, region.x0 - self.region.x0
        return self._buffer[:, :, top : top + region.height, left : left + region.width]

    def room(self, rows: int, channels: int, like: Tensor) -> Tensor:
        """Where the next rows belong."""
        if self._buffer is None:
            self._buffer = _empty(channels, self._height, self.region.width, like)
        end = self._top + self.held.height
        if end + rows > self._height:
            held = self._buffer[:, :, self._top : end]
            overlaps = self._top < self.held.height
            self._buffer[:, :, : self.held.height] = held.clone() if overlaps else held
            self._top, end = 0, self.held.height
        return self._buffer[:, :, end : end + rows]

    def put(self, part: Tensor) -> None:
        """Take the next rows, which may be there already."""
        room = self.room(part.shape[2], part.shape[1], part)
        if room.data_ptr() != part.data_ptr():
            room.copy_(part)
        self.held = self.held._replace(y1=self.held.y1 + part.shape[2])

    def drop(self, y0: int) -> None:
        """Forget the rows before ``y0``."""
        y0 = max(y0, self.held.y0)
        self._top += y0 - self.held.y0
        self.held = self.held._replace(y0=y0)

    def following(self, source: RowBuffer, halo: int) -> tuple[Region, Region] | None:
        """The next rows that ``source`` suffices for, and what of it they are made from."""
        whole = source.held.y1 == source.region.y1
        y0, y1 = self.held.y1, self.region.y1 if whole else min(self.region.y1, source.held.y1 - halo)
        if y1 <= y0:
            return None
        output = self.region._replace(y0=y0, y1=min(y1, y0 + self.rows))
        inputs = source.region._replace(y0=max(source.region.y0, y0 - halo), y1=min(source.region.y1, output.y1 + halo))
        return output, inputs


def _empty(channels: int, rows: int, width: int, like: Tensor) -> Tensor:
    """(1, channels, rows, width), channels last."""
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return empty(1, rows, width, channels).permute(0, 3, 1, 2)
    return like.new_empty(1, rows, width, channels).permute(0, 3, 1, 2)


def _read(read: Read, image: RowBuffer, rows: int) -> Iterator[None]:
    for y0 in range(image.region.y0, image.region.y1, rows):
        image.put(read(image.region._replace(y0=y0, y1=min(image.region.y1, y0 + rows))))
        yield


def _first(
    block: FusedConvResBlock, state: list[RowBuffer], halfway: RowBuffer, output: RowBuffer, arrivals: Iterator[None]
) -> Iterator[None]:
    """The first half of a block, whenever rows have come."""
    halo = block.reach // 2
    for _ in arrivals:
        while step := halfway.following(state[0], halo):
            inner, inputs = step
            room = halfway.room(inner.height, block.inner_channels, state[0].part(inputs))
            halfway.put(block.first(state[0].part(inputs), inner.crop_within(inputs), room))
            yield
            for buffer in state:  # what neither half reads again
                buffer.drop(min(halfway.held.y1 - halo, output.held.y1))


def _second(
    network: ResCRNet,
    index: int,
    state: list[RowBuffer],
    halfway: RowBuffer,
    outputs: list[RowBuffer],
    arrivals: Iterator[None],
) -> Iterator[None]:
    """The second half of a block, and what the variant of the network adds to it."""
    halo = network.conv_blocks[index].reach // 2
    for _ in arrivals:
        while step := outputs[0].following(halfway, halo):
            _join(network, index, state, halfway, outputs, *step)
            halfway.drop(step[0].y1 - halo)
            yield


def _join(
    network: ResCRNet,
    index: int,
    state: list[RowBuffer],
    halfway: RowBuffer,
    outputs: list[RowBuffer],
    output: Region,
    inputs: Region,
) -> None:
    block, x = network.conv_blocks[index], state[0].part(output)
    room = outputs[0].room(output.height, block.out_channels, x)
    out = block.second(halfway.part(inputs), x, output.crop_within(inputs), room)
    for place, part in enumerate(join(network.variant, index, out, state[-1].part(output))):
        if place == len(outputs):  # the variant's sum of the outputs so far
            outputs.append(RowBuffer(outputs[0].region, outputs[0].rows, outputs[0].kept))
        outputs[place].put(part)
