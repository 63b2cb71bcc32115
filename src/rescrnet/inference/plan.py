"""How to predict an image within a given memory: whole, or divided into tiles and strips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rescrnet.config import ResCRNetConfig, Variant
from rescrnet.ensemble import Ensemble
from rescrnet.errors import UsageError
from rescrnet.inference.budget import PROGRAM, format_bytes
from rescrnet.inference.stream import Tiling
from rescrnet.model import SegmentationModel
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.statistics import SAMPLED
from rescrnet.nn.variants import join
from rescrnet.ops.native import has_kernels
from rescrnet.ops.pixels import VECTOR

_FLOAT = 4  # bytes
BLOCK = 64  # side of a block on disk: 16 kB of a channel, a multiple of every page and sector
_STRIP, _SEGMENT = 128, 4096
_TILE_HEIGHT = 8192  # tiles this high waste little above and below, and are done again in a minute after a kill
# Measured peaks as multiples of what the formulas below count, without and with compiled kernels, and some to spare.
_WHOLE, _WORK = (1.15, 1.0), (1.0, 0.15)
_BESIDES = (85_000_000, 0)  # bytes that PyTorch's convolutions take besides, whatever the size; measured 80 MB
_AGAIN = (1.0, 0.4)  # part of the work that is done again on the rows around those that are computed
_WHOLE_SCAN, _SCAN = 32, 2
_UNET = 50  # channels; measured 33 and 24
_HEADROOM = 0.95  # of what the program leaves is planned with


@dataclass(frozen=True)
class Cost:
    """What the parts of a network hold at once. The factors are measured (docs/scaling.md).

    Attributes:
        classes: number of classes.
        variant: how its blocks are joined.
        config: of the network.
        reaches: the halo of each convolutional block, pixels.
        widths: channels that each block reads, and then those that the last one makes.
        compiled: whether the blocks have compiled kernels.
    """

    classes: int
    variant: Variant
    config: ResCRNetConfig
    reaches: list[int]
    widths: list[int]
    compiled: bool

    @property
    def side(self) -> int:
        """Of the squares of pixels that are a pixel to the blocks."""
        return self.config.space_to_depth

    @classmethod
    def of(cls, network: ResCRNet) -> Cost:
        """The cost of a network."""
        config = network.config
        branches = config.per_block("kernel_sizes")
        widths = [
            filters * (len(sizes) if config.merge == "concatenate" else 1)
            for filters, sizes in zip(config.per_block("filters"), branches, strict=True)
        ]
        compiled = has_kernels() and all(width % VECTOR == 0 for width in config.per_block("filters"))
        reaches = [block.reach for block in network.conv_blocks]
        first = network.in_channels * config.space_to_depth**2
        return cls(network.classes, network.variant, config, reaches, [first, *widths], compiled)

    def block(self, index: int) -> int:
        """Channels held at once while block ``index`` works."""
        joined = 0 if self.variant == "res-cr-net" else self._states(index + 1) * self.widths[index + 1]
        # What it reads, in pieces and joined; between its convolutions; what it makes; what is joined to that.
        return 2 * self._states(index) * self.widths[index] + self._inner(index) + self.widths[index + 1] + joined

    def _inner(self, index: int) -> int:
        """Channels between the convolutions of block ``index``."""
        filters: int = self.config.per_block("filters")[index]
        return filters * len(self.config.per_block("kernel_sizes")[index])

    def whole(self, shape: tuple[int, int]) -> int:
        """Bytes for a whole image of ``shape`` (Y, X)."""
        states = self.config.lstm_filters * self.classes * (self.config.m > 0)
        pixels = shape[0] * shape[1]
        return int(_FLOAT * pixels * max(self._blocks(), _WHOLE_SCAN * states)) + _BESIDES[self.compiled]

    def _blocks(self) -> float:
        """Channels of a pixel of the image that the blocks hold at once."""
        return _WHOLE[self.compiled] * max(map(self.block, range(len(self.reaches)))) / self.side**2

    def sample(self, shape: tuple[int, int]) -> int:
        """Bytes for the windows that the statistics of an image of ``shape`` (Y, X) are taken from, if any are."""
        if not self.config.image_statistics:
            return 0
        held = 2 * self.widths[0] / self.side**2  # channels of the windows, as they are and as squares
        pixels = min(shape[0] * shape[1], SAMPLED * self.side**2)
        return int(_FLOAT * pixels * (held + self._blocks())) + _BESIDES[self.compiled]

    def tile(self, width: int, rows: int, image_width: int) -> int:
        """Bytes for a tile of ``width`` columns rolled down ``rows`` at a time."""
        kept = work = 0
        width, rows, image_width = (-(-extent // self.side) for extent in (width, rows, image_width))
        for index, reach in enumerate(self.reaches):
            across = min(image_width, width + 2 * sum(self.reaches[index:]))
            # The rows held of what the block reads and of what lies between its convolutions, with room to move in.
            maps = self._states(index) * self.widths[index] + self._inner(index)
            kept += maps * (reach + rows) * across
            work = max(work, self.block(index) * (rows + reach) * across)
        held = kept + self.widths[-1] * rows * width + _WORK[self.compiled] * work
        return int(_FLOAT * held) + _BESIDES[self.compiled]

    def _states(self, index: int) -> int:
        """How many maps are there for block ``index`` and those after it."""
        return len(join(self.variant, index - 1, 0, 0)) if index else 1

    def waste(self, width: int, rows: int, image_width: int) -> float:
        """Work for such a tile as a multiple of its share of a whole image's."""
        work = 0.0
        width, rows, image_width = (-(-extent // self.side) for extent in (width, rows, image_width))
        for index, reach in enumerate(self.reaches):
            across = min(image_width, width + 2 * sum(self.reaches[index + 1 :]) + reach)
            work += self.widths[index + 1] * across / width * (1 + _AGAIN[self.compiled] * reach / rows)
        return work / sum(self.widths[1:])

    def scan(self, strip: int, segment: int, length: int) -> int:
        """Bytes for a segment of a strip of lines of ``length``."""
        states = self.config.lstm_filters * self.classes
        return _FLOAT * _SCAN * (5 * states + 4 * self.classes) * strip * min(length, segment + 2 * strip)


def choose_tiling(network: ResCRNet, shape: tuple[int, int], memory: int, program: int = PROGRAM) -> Tiling | None:
    """How to divide an image of ``shape`` (Y, X) to stay within ``memory`` bytes; none where it fits as a whole.

    ``program`` bytes of it are taken before anything is predicted. The same arguments give the same tiling everywhere.

    Raises:
        UsageError: the memory is too small for the smallest tile.
    """
    cost = Cost.of(network)
    room = int((memory - program) * _HEADROOM)
    if cost.whole(shape) <= room:
        return None
    tiles = [(width, rows) for width, rows in _tiles(shape) if cost.tile(width, rows, shape[1]) <= room]
    scans = [(strip, segment) for strip, segment in _scans(shape) if cost.scan(strip, segment, max(shape)) <= room]
    if not tiles or not scans or cost.sample(shape) > room:
        least = max(
            cost.sample(shape),
            min(cost.tile(width, rows, shape[1]) for width, rows in _tiles(shape)),
            min(cost.scan(strip, segment, max(shape)) for strip, segment in _scans(shape)),
        )
        needed = format_bytes(int(program + least / _HEADROOM), up=True)
        raise UsageError(f"--memory {format_bytes(memory)}", "is too little for this model", f"give at least {needed}")
    width, rows = min(tiles, key=lambda tile: cost.waste(tile[0], tile[1], shape[1]))
    strip, segment = max(scans, key=lambda scan: scan[1])
    return Tiling(tile=(_even(shape[0], _TILE_HEIGHT), width), rows=rows, strip=strip, segment=segment, block=BLOCK)


def whole_bytes(model: SegmentationModel, shape: tuple[int, int]) -> int:
    """Memory for an image of ``shape`` (Y, X) at once, by any network, bytes."""
    if isinstance(model, Ensemble):
        return sum_bytes(model, shape) + max(whole_bytes(member, shape) for member in model.members)
    height, width = model.card.resize or shape
    around = 0  # what a model that resizes holds at the size of the image: the image, scaled, and the result
    if model.card.resize is not None:
        around = _FLOAT * shape[0] * shape[1] * 3 * (model.card.in_channels + len(model.classes))
    if isinstance(model.network, ResCRNet):
        return around + Cost.of(model.network).whole((height, width))
    return around + height * width * _FLOAT * _UNET


def sum_bytes(model: SegmentationModel, shape: tuple[int, int]) -> int:
    """Memory of an ensemble beside that of a part: the sum, what a part adds to it, and a turned image; bytes."""
    return _FLOAT * shape[0] * shape[1] * (3 * len(model.classes) + model.card.in_channels)


def _tiles(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Widths of tiles and rows at a time to choose from."""
    for width in range(BLOCK, min(4096, shape[1] + BLOCK) + 1, BLOCK):
        for rows in (8, 16, 24, 32, 48, 64, 80, 96, 112, 136):  # the compiled kernels work on 136 at a time
            yield min(_even(shape[1], width), shape[1]), rows


def _scans(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Strips and segments to choose from."""
    for segment in (256, 512, 1024, 2048, _SEGMENT):
        yield min(_STRIP, segment // 4), segment


def _even(size: int, largest: int) -> int:
    """The side of parts of ``size``, none larger than ``largest``, that are about equal and end between blocks."""
    parts = -(-size // largest)
    return min(largest, -(-size // parts // BLOCK) * BLOCK) if parts > 1 else size
