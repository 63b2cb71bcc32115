"""Res-CR-Net, the network (paper, "Architecture of Res-CR-Net", Fig. 2)."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescrnet.config import ResCRNetConfig, Variant, validate
from rescrnet.nn.blocks import LSTMResBlock, Projection
from rescrnet.nn.fused import FusedConvResBlock
from rescrnet.nn.variants import dropouts, join


def space_to_depth(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) → (N, C·side², ⌈H/side⌉, ⌈W/side⌉): a pixel for each square; the border fills up the last ones."""
    if side == 1:
        return x
    padded = F.pad(x, (0, -x.shape[3] % side, 0, -x.shape[2] % side), mode="replicate")
    return F.pixel_unshuffle(padded, side).contiguous(memory_format=torch.channels_last)


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
        self.variant: Variant = config.architecture
        self.in_channels, self.classes = in_channels, classes

        scale = config.space_to_depth
        blocks, width = [], in_channels * scale**2
        columns = (config.per_block("filters"), config.per_block("kernel_sizes"), config.per_block("dilations"))
        for index, (*sizes, dropout) in enumerate(zip(*columns, dropouts(config), strict=True)):
            block = FusedConvResBlock(width, *sizes, merge=config.merge, dropout=dropout, stem=index == 0)
            blocks.append(block)
            width = block.out_channels
        self.blocks = nn.ModuleList(blocks)

        head: list[nn.Module] = []
        for _ in range(config.m):
            head.append(LSTMResBlock(width, classes, config.lstm_filters, config.recurrent_dropout, scale))
            width, scale = classes, 1
        self.head = nn.Sequential(*head) if head else Projection(width, classes, scale)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) float, intensities scaled → logits (N, classes, H, W)."""
        logits = self.project(self.features(x))[:, :, : x.shape[2], : x.shape[3]]
        for index, block in enumerate(self.lstm_blocks):
            logits = block.add_scans(logits if index == 0 else block.project(logits))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """What the convolutional blocks make of x: (N, in_channels, H, W) → (N, width, ⌈H/side⌉, ⌈W/side⌉).

        All that holds batch normalisation: recomputing the running statistics runs nothing but this.
        """
        state: tuple[Tensor, ...] = (space_to_depth(x, self.config.space_to_depth),)
        blocks = [(block, block.fold(state[0])) for block in self.conv_blocks]
        for index, (block, folded) in enumerate(blocks):
            state = join(self.variant, index, block(state[0], folded), state[-1])
        return state[0]

    def project(self, features: Tensor) -> Tensor:
        """The pointwise step from features to classes: what the first LSTM block scans, or logits.

        (N, width, h, w) → (N, classes, h·side, w·side), with the ``side`` of ``space_to_depth``; of an image that does
        not divide, rows and columns more than it has.

        For streamed prediction, which scans the image line by line.
        """
        projected: Tensor = self.projections[0](features)
        return projected

    @property
    def conv_blocks(self) -> list[FusedConvResBlock]:
        """The stem and the convolutional residual blocks, in order."""
        return cast("list[FusedConvResBlock]", list(self.blocks))

    @property
    def lstm_blocks(self) -> list[LSTMResBlock]:
        """The ConvLSTM residual blocks, in order."""
        return [block for block in self.head if isinstance(block, LSTMResBlock)]

    @property
    def projections(self) -> list[Projection]:
        """The projections to classes: of each LSTM block, or without such blocks the head itself."""
        return [self.head] if isinstance(self.head, Projection) else [block.project for block in self.lstm_blocks]
