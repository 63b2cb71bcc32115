"""Res-CR-Net, the network (paper, "Architecture of Res-CR-Net", Fig. 2)."""

from typing import Any, cast

from torch import Tensor, nn

from rescrnet.config import ResCRNetConfig, validate
from rescrnet.nn.blocks import SLOPE, ConvResBlock, LSTMResBlock, Pointwise

State = tuple[Tensor, ...]


class ResCRNet(nn.Module):
    """A stem and n - 1 convolutional residual blocks, m ConvLSTM residual blocks; full resolution throughout.

    ``ResCRNet(1, 3)`` is the paper's network for grey images and three classes, 58,662 trainable parameters.

    Args:
        in_channels: channels of the images.
        classes: number of classes, at least 2.
        config: the settings, or
        **settings: single ones by the names of :class:`~rescrnet.config.ResCRNetConfig`: ``n``, ``m``, ``filters``,
            ``kernel_sizes``, ``dilations``, ``merge``, ``dropout``, ``lstm_filters``, ``recurrent_dropout`` and the
            variant's name as ``architecture``.

    Raises:
        UsageError: a setting is unknown or does not fit the others.
    """

    def __init__(self, in_channels: int, classes: int, config: ResCRNetConfig | None = None, **settings: Any) -> None:
        super().__init__()
        base = {} if config is None else config.model_dump()
        self.config = config = validate(ResCRNetConfig, {**base, **settings}, where="network")
        self.in_channels, self.classes = in_channels, classes

        blocks, width = [], in_channels
        columns = (config.per_block("filters"), config.per_block("kernel_sizes"), config.per_block("dilations"))
        for index, (filters, kernel_sizes, dilations) in enumerate(zip(*columns, strict=True)):
            stem = index == 0
            dropout = (
                0.0 if stem and config.architecture != "res-cr-net" else config.dropout
            )  # the denser ones keep the stem
            block = ConvResBlock(
                width, filters, kernel_sizes, dilations, merge=config.merge, dropout=dropout, stem=stem
            )
            blocks.append(block)
            width = block.out_channels
        self.blocks = nn.ModuleList(blocks)

        head: list[nn.Module] = []
        for _ in range(config.m):
            head.append(LSTMResBlock(width, classes, config.lstm_filters, config.recurrent_dropout))
            width = classes
        self.head = nn.Sequential(*head or [Pointwise(width, classes), nn.LeakyReLU(SLOPE)])

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) float, intensities scaled → logits (N, classes, H, W)."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → what the convolutional blocks make of it, (N, width, H, W)."""
        state: State = (x,)
        for index, block in enumerate(self.conv_blocks):
            state = self.join(index, block(state[0]), state[-1])
        return state[0]

    def join(self, index: int, made: Tensor, total: Tensor) -> State:
        """What follows block ``index``, which ``made`` its output, by the variant of the network.

        A state is what the blocks to come read: the output of the block before, and in a very dense network also the
        sum of the outputs so far, ``total``; (N, width, H, W) each.
        """
        return _JOIN[self.config.architecture](index, made, total)

    def project(self, features: Tensor) -> Tensor:
        """The pointwise step from features to (N, classes, H, W): what the first LSTM block scans, or logits."""
        first = self.head[0]
        projected: Tensor = first.project(features) if isinstance(first, LSTMResBlock) else self.head(features)
        return projected

    @property
    def conv_blocks(self) -> list[ConvResBlock]:
        """The stem and the convolutional residual blocks, in order."""
        return cast("list[ConvResBlock]", list(self.blocks))

    @property
    def lstm_blocks(self) -> list[LSTMResBlock]:
        """The ConvLSTM residual blocks, in order."""
        return [block for block in self.head if isinstance(block, LSTMResBlock)]


def _chain(index: int, made: Tensor, total: Tensor) -> State:
    return (made,)


def _dense(index: int, made: Tensor, total: Tensor) -> State:
    """Every block from the third adds what came before it."""
    if index == 0:
        return (made,)
    return (made, total + made) if index == 1 else (made + total,)


def _very_dense(index: int, made: Tensor, total: Tensor) -> State:
    """Every block adds the outputs of all before it."""
    if index == 0:
        return (made,)
    made = total + made
    return made, total + made


_JOIN = {"res-cr-net": _chain, "dense": _dense, "very-dense": _very_dense}
