"""The residual blocks of Res-CR-Net (paper, "Architecture of Res-CR-Net", Fig. 2)."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescrnet.nn import fused
from rescrnet.nn.convlstm import BidirectionalConvLSTM, he_normal_
from rescrnet.ops.depthwise import depthwise_conv2d
from rescrnet.ops.pointwise import pointwise_conv2d
from rescrnet.ops.separable import NO_CUT, Cut

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
        out: Tensor = self.pointwise(depthwise_conv2d(x, self.depthwise, self.dilation))
        return out


class ConvResBlock(nn.Module):
    """CONV RES BLOCK: parallel branches of separable atrous convolutions beside a 1×1 shortcut.

    The branches read ``LeakyReLU(BatchNorm(x))``, the shortcut reads x. In the STEM both read x. In training, whole
    channels of the result are dropped.
    """

    slope = SLOPE

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
        self.reach = 2 * max(k // 2 * dilation for k, dilation in zip(kernel_sizes, dilations, strict=True))
        self.inner_channels = filters * len(kernel_sizes)
        self.out_channels = filters * (len(kernel_sizes) if merge == "concatenate" else 1)
        self.activation = nn.Identity() if stem else nn.Sequential(batch_norm(in_channels), nn.LeakyReLU(SLOPE))
        self.branches = nn.ModuleList(
            nn.Sequential(
                SeparableConv2d(in_channels, filters, kernel_size, dilation),
                batch_norm(filters),
                nn.LeakyReLU(SLOPE),
                SeparableConv2d(filters, filters, kernel_size, dilation),
            )
            for kernel_size, dilation in zip(kernel_sizes, dilations, strict=True)
        )
        self.shortcut = nn.Sequential(Pointwise(in_channels, self.out_channels), batch_norm(self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, out_channels, H, W)."""
        kept = None
        if self.training and self.dropout:
            kept = F.dropout(next(self.parameters()).new_ones(len(x), self.out_channels), self.dropout)
        if fused.trains(self, x):
            return fused.train(self, x, kept)
        out = self.second(self.first(x), x)
        return out if kept is None else out * kept[:, :, None, None].to(out.dtype)

    def first(self, x: Tensor, cut: Cut = NO_CUT, out: Tensor | None = None) -> Tensor:
        """The first half, up to the first convolution of every branch: (N, in, H, W) → (N, inner_channels, H', W').

        The result is smaller by what is ``cut``, and written to ``out`` where that is given (channels last).
        """
        if fused.infers(self, x):
            return fused.first(self, x, cut, out)
        activated = self.activation(x)
        made = cut.crop(torch.cat([branch[0](activated) for branch in self._branches()], dim=1))
        return made if out is None else out.copy_(made)

    def second(self, y: Tensor, x: Tensor, cut: Cut = NO_CUT, out: Tensor | None = None) -> Tensor:
        """The second half, of what the first made, (N, inner_channels, H, W), and x at the pixels that are not cut."""
        if fused.infers(self, x):
            return fused.second(self, y, x, cut, out)
        branches = zip(y.chunk(len(self.branches), dim=1), self._branches(), strict=True)
        made = [convolution(activation(norm(part))) for part, (_, norm, activation, convolution) in branches]
        merged = torch.cat(made, dim=1) if self.merge == "concatenate" else torch.stack(made).sum(0)
        result: Tensor = self.shortcut(x) + cut.crop(merged)
        return result if out is None else out.copy_(result)

    def _branches(self) -> list[nn.Sequential]:
        return cast("list[nn.Sequential]", list(self.branches))


class LSTMResBlock(nn.Module):
    """LSTM RES BLOCK: project to classes, then add what two ConvLSTMs make of the rows and of the columns."""

    def __init__(self, in_channels: int, classes: int, filters: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.project = nn.Sequential(Pointwise(in_channels, classes), nn.LeakyReLU(SLOPE))
        self.rows = BidirectionalConvLSTM(classes, filters, dropout)
        self.columns = BidirectionalConvLSTM(classes, filters, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) → (N, classes, H, W)."""
        x = self.project(x)
        out: Tensor = x + self.rows(x) + self.columns(x.transpose(2, 3)).transpose(2, 3)
        return out
