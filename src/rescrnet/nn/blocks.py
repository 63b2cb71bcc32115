"""The residual blocks of Res-CR-Net (paper, "Architecture of Res-CR-Net", Fig. 2)."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescrnet.nn.convlstm import BidirectionalConvLSTM, he_normal_
from rescrnet.ops.pointwise import pointwise_conv2d
from rescrnet.ops.separable_plain import separable_conv2d

SLOPE = 0.1  # of every LeakyReLU


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with the authors' constants."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Pointwise(nn.Conv2d):
    """1×1 convolution with bias, He-normal; a matrix product, for its gradient takes half as long."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)
        he_normal_(self.weight, fan_in=in_channels)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out, H, W)."""
        bias = cast(Tensor, self.bias)
        return pointwise_conv2d(x.permute(0, 2, 3, 1), self.weight.flatten(1), bias).permute(0, 3, 1, 2)


class SeparableConv2d(nn.Module):
    """Dilated depthwise convolution without bias, then a 1×1 convolution; the size stays."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.depthwise = nn.Parameter(torch.empty(in_channels, 1, kernel_size, kernel_size))
        # Keras counts the channels into the fan of a depthwise kernel, and the paper's network was started so.
        he_normal_(self.depthwise, fan_in=in_channels * kernel_size**2)
        self.pointwise = Pointwise(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out, H, W)."""
        pointwise, bias = self.pointwise.weight.flatten(1), cast(Tensor, self.pointwise.bias)
        return separable_conv2d(x, self.depthwise, pointwise, bias, self.dilation)


class Branch(nn.Sequential):
    """Separable convolution, batch normalisation, LeakyReLU, separable convolution: (N, in, H, W) → (N, F, H, W)."""

    def __init__(self, in_channels: int, filters: int, kernel_size: int, dilation: int) -> None:
        super().__init__(
            SeparableConv2d(in_channels, filters, kernel_size, dilation),
            batch_norm(filters),
            nn.LeakyReLU(SLOPE),
            SeparableConv2d(filters, filters, kernel_size, dilation),
        )

    @property
    def first(self) -> SeparableConv2d:
        """The first convolution."""
        return cast(SeparableConv2d, self[0])

    @property
    def norm(self) -> nn.BatchNorm2d:
        """The normalisation between the convolutions."""
        return cast(nn.BatchNorm2d, self[1])

    @property
    def second(self) -> SeparableConv2d:
        """The second convolution."""
        return cast(SeparableConv2d, self[3])

    def after_first(self, y: Tensor) -> Tensor:
        """What follows the first convolution, which gave ``y``; (N, F, H, W) both."""
        activation = self[2]
        out: Tensor = self.second(activation(self.norm(y)))
        return out


class Shortcut(nn.Sequential):
    """1×1 convolution and batch normalisation: (N, in, H, W) → (N, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(Pointwise(in_channels, out_channels), batch_norm(out_channels))

    @property
    def convolution(self) -> Pointwise:
        """The convolution."""
        return cast(Pointwise, self[0])

    @property
    def norm(self) -> nn.BatchNorm2d:
        """The normalisation after it."""
        return cast(nn.BatchNorm2d, self[1])


class ConvResBlock(nn.Module):
    """CONV RES BLOCK: parallel branches of separable atrous convolutions beside a 1×1 shortcut.

    The branches read ``LeakyReLU(BatchNorm(x))``, the shortcut reads x. In the STEM both read x. In training, whole
    channels of the result are dropped.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_sizes: Sequence[int],
        dilations: Sequence[int],
        *,
        merge: str = "concatenate",
        dropout: float = 0.0,
        stem: bool = False,
    ) -> None:
        super().__init__()
        self.filters, self.dilations, self.merge, self.dropout = filters, tuple(dilations), merge, dropout
        self.inner_channels = filters * len(kernel_sizes)
        self.out_channels = self.inner_channels if merge == "concatenate" else filters
        sizes = list(zip(kernel_sizes, dilations, strict=True))
        self.reach = 2 * max(k // 2 * dilation for k, dilation in sizes)  # pixels that a pixel sees to each side
        self.activation = nn.Identity() if stem else nn.Sequential(batch_norm(in_channels), nn.LeakyReLU(SLOPE))
        self.branches = nn.ModuleList(Branch(in_channels, filters, k, dilation) for k, dilation in sizes)
        self.shortcut = Shortcut(in_channels, self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out_channels, H, W)."""
        activated = self.activation(x)
        # Each branch by itself: a normalisation of some channels of a joined tensor takes several times as long.
        branches = self._merge([branch(activated) for branch in self.branch_list])
        return self.drop_channels(branches.add_(self.shortcut(x)))

    def first_convolutions(self, x: Tensor) -> Tensor:
        """The first convolution of every branch, side by side: (N, in, H, W) → (N, inner_channels, H, W)."""
        activated = self.activation(x)
        return torch.cat([branch.first(activated) for branch in self.branch_list], dim=1)

    def second_convolutions(self, y: Tensor) -> Tensor:
        """What the branches make of their first convolutions, y, joined: → (N, out_channels, H, W)."""
        parts = zip(self.branch_list, y.chunk(len(self.branches), dim=1), strict=True)
        return self._merge(
            [branch.after_first(part.contiguous(memory_format=torch.channels_last)) for branch, part in parts]
        )

    def _merge(self, branches: list[Tensor]) -> Tensor:
        return torch.cat(branches, dim=1) if self.merge == "concatenate" else torch.stack(branches).sum(0)

    def drop_channels(self, x: Tensor) -> Tensor:
        """In training, x (N, out_channels, H, W) with some of its channels zero and the others larger instead."""
        factors = self.dropout_factors(len(x))
        return x if factors is None else x * factors[:, :, None, None].to(x.dtype)

    def dropout_factors(self, images: int) -> Tensor | None:
        """What the channels of each image are multiplied with in training, (N, out_channels), if by anything."""
        if not self.training or self.dropout == 0:
            return None
        return F.dropout(next(self.parameters()).new_ones(images, self.out_channels), self.dropout)

    @property
    def norm(self) -> nn.BatchNorm2d | None:
        """The normalisation before the branches; the stem has none."""
        return cast(nn.BatchNorm2d, self.activation[0]) if isinstance(self.activation, nn.Sequential) else None

    @property
    def branch_list(self) -> list[Branch]:
        """The branches in order."""
        return cast("list[Branch]", list(self.branches))


class Projection(nn.Sequential):
    """1×1 convolution to classes and LeakyReLU: (N, in, H, W) → (N, classes, scale·H, scale·W).

    With a ``scale`` beyond 1 it is a sub-pixel convolution (Shi et al. 2016, arXiv:1609.05158).
    """

    def __init__(self, in_channels: int, classes: int, scale: int = 1) -> None:
        shuffle = [nn.PixelShuffle(scale)] if scale > 1 else []
        super().__init__(Pointwise(in_channels, classes * scale**2), nn.LeakyReLU(SLOPE), *shuffle)
        if scale > 1:  # all pixels of a square start alike, or their pattern stays visible (arXiv:1707.02937)
            weight = self.convolution.weight
            weight.data = weight.data[:: scale**2].repeat_interleave(scale**2, 0)

    @property
    def convolution(self) -> Pointwise:
        """The convolution."""
        return cast(Pointwise, self[0])


class LSTMResBlock(nn.Module):
    """LSTM RES BLOCK: project to classes, then add what two ConvLSTMs make of the rows and of the columns."""

    def __init__(self, in_channels: int, classes: int, filters: int = 1, dropout: float = 0.1, scale: int = 1) -> None:
        super().__init__()
        self.project = Projection(in_channels, classes, scale)
        self.rows = BidirectionalConvLSTM(classes, filters, dropout)
        self.columns = BidirectionalConvLSTM(classes, filters, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, classes, H, W)."""
        return self.add_scans(self.project(x))

    def add_scans(self, x: Tensor) -> Tensor:
        """What the ConvLSTMs make of the rows and of the columns, added; (N, classes, H, W) both."""
        out: Tensor = x + self.rows(x) + self.columns(x.transpose(2, 3)).transpose(2, 3)
        return out
