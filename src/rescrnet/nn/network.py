"""Res-CR-Net, the network (paper, "Architecture of Res-CR-Net", Fig. 2)."""

from typing import Any

from torch import Tensor, nn

from rescrnet.config import NetworkConfig, validate
from rescrnet.errors import UsageError
from rescrnet.nn.blocks import SLOPE, ConvResBlock, LSTMResBlock, Pointwise


class ResCRNet(nn.Module):
    """A stem and n - 1 convolutional residual blocks, m ConvLSTM residual blocks; full resolution throughout.

    ``ResCRNet(1, 3)`` is the paper's network for grey images and three classes, 58,662 trainable parameters.

    Args:
        in_channels: channels of the images.
        classes: number of classes, at least 2.
        config: the settings, or
        **settings: single ones by the names of :class:`~rescrnet.config.NetworkConfig`: ``n``, ``m``, ``filters``,
            ``kernel_sizes``, ``dilations``, ``merge``, ``dropout``, ``lstm_filters``, ``recurrent_dropout`` and the
            variant's ``name``.

    Raises:
        UsageError: a setting is unknown or does not fit the others.
    """

    def __init__(self, in_channels: int, classes: int, config: NetworkConfig | None = None, **settings: Any) -> None:
        super().__init__()
        base = {} if config is None else config.model_dump()
        self.config = config = validate(NetworkConfig, {**base, **settings}, where="network")
        if config.name not in _JOIN:
            raise UsageError(f"network: '{config.name}' is no Res-CR-Net; use rescrnet.nn.build.build_network")
        self.in_channels, self.classes = in_channels, classes

        blocks, width = [], in_channels
        columns = (config.per_block("filters"), config.per_block("kernel_sizes"), config.per_block("dilations"))
        for index, (filters, kernel_sizes, dilations) in enumerate(zip(*columns, strict=True)):
            stem = index == 0
            dropout = 0.0 if stem and config.name != "res-cr-net" else config.dropout  # the denser ones keep the stem
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
        return _JOIN[self.config.name](self, x)

    def _chain(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x

    def _dense(self, x: Tensor) -> Tensor:
        """Every block from the third adds what came before it."""
        stem, *blocks = self.blocks
        x = total = stem(x)
        for index, block in enumerate(blocks):
            x = block(x)
            if index > 0:
                x = x + total
            total = total + x if index == 0 else x
        return x

    def _very_dense(self, x: Tensor) -> Tensor:
        """Every block adds the outputs of all before it."""
        stem, *blocks = self.blocks
        x = total = stem(x)
        for block in blocks:
            x = total + block(x)
            total = total + x
        return x


_JOIN = {"res-cr-net": ResCRNet._chain, "dense": ResCRNet._dense, "very-dense": ResCRNet._very_dense}
