"""Dilated depthwise convolution, done on the phases of the grid."""

import torch
import torch.nn.functional as F
from torch import Tensor


def depthwise_conv2d(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Convolve every channel with its own dilated kernel, zero-padded to the size of the input.

    A convolution with dilation d never mixes pixels whose row or column differs modulo d. So it *is* d² convolutions
    without dilation, one on each phase of the grid, and those run faster in PyTorch: the phases become a batch.

    Args:
        x: (N, C, H, W), any floating dtype; channels last in memory is fastest.
        weight: (C, 1, k, k) with k odd.
        dilation: distance of neighbouring taps, pixels.

    Returns:
        (N, C, H, W), the same to rounding as ``torch.nn.functional.conv2d(..., groups=C, padding="same")``.
    """
    padding, channels = weight.shape[-1] // 2, x.shape[1]
    if dilation == 1:
        return F.conv2d(x, weight, padding=padding, groups=channels)
    phases = F.conv2d(_split_phases(x, dilation), weight, padding=padding, groups=channels)
    return _join_phases(phases, dilation, x.shape)


def _split_phases(x: Tensor, d: int) -> Tensor:
    """(N, C, H, W) → (N·d·d, C, ⌈H/d⌉, ⌈W/d⌉), channels last in memory."""
    n, c, height, width = x.shape
    x = F.pad(x, (0, -width % d, 0, -height % d))
    rows, columns = x.shape[2] // d, x.shape[3] // d
    x = x.permute(0, 2, 3, 1).reshape(n, rows, d, columns, d, c)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(n * d * d, rows, columns, c).permute(0, 3, 1, 2)


def _join_phases(phases: Tensor, d: int, shape: torch.Size) -> Tensor:
    """The inverse of :func:`_split_phases`, cropped to ``shape``."""
    n, c, height, width = shape
    rows, columns = phases.shape[2:]
    x = phases.permute(0, 2, 3, 1).reshape(n, d, d, rows, columns, c)
    x = x.permute(0, 3, 1, 4, 2, 5).reshape(n, rows * d, columns * d, c).permute(0, 3, 1, 2)
    return x[:, :, :height, :width]
