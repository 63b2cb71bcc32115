"""Dilated depthwise convolution: a plain path, and a compiled one with the same numbers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rescrnet.ops.native import depthwise_kernels

_VECTOR = 16  # the compiled path takes channels by the vector
_PARTS = 32  # stretches of lines whose weight gradients are added up


def depthwise_conv2d(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    """Convolve every channel with its own dilated kernel, zero-padded to the size of the input.

    Args:
        x: (N, C, H, W), any floating dtype; channels last in memory is fastest.
        weight: (C, 1, k, k) with k odd.
        dilation: distance of neighbouring taps, pixels.

    Returns:
        (N, C, H, W), the same to rounding as ``torch.nn.functional.conv2d(..., groups=C, padding="same")``.
    """
    if _has_kernel(x, weight):
        result: Tensor = _Compiled.apply(x, weight, dilation)  # type: ignore[no-untyped-call]
        return result
    return phased_depthwise_conv2d(x, weight, dilation)


def _has_kernel(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.shape[1] % _VECTOR == 0
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and depthwise_kernels() is not None
    )


class _Compiled(torch.autograd.Function):
    """The compiled path. Its kernels want NHWC in memory and the border padded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _correlate(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, _ = ctx.needs_input_grad
        return (
            _correlate(gradients[0], weight.flip(2, 3), ctx.dilation) if for_x else None,
            _weight_gradient(x, gradients[0], weight.shape[-1], ctx.dilation) if for_weight else None,
            None,
        )


def _padded(x: Tensor, reach: int) -> Tensor:
    """(N, C, H, W) → (N, H + 2·reach, W + 2·reach, C), contiguous."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, reach, reach, reach, reach)).contiguous()


def _correlate(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    n, channels, height, width = x.shape
    k = weight.shape[-1]
    image = _padded(x, k // 2 * dilation)
    taps = weight.detach().squeeze(1).permute(1, 2, 0).contiguous()
    result = torch.empty(n, height, width, channels)
    pointers = (image.data_ptr(), taps.data_ptr(), result.data_ptr())
    depthwise_kernels().depthwise_forward(*pointers, n, height, width, channels, k, dilation)  # type: ignore[union-attr]
    return result.permute(0, 3, 1, 2)


def _weight_gradient(x: Tensor, gradient: Tensor, k: int, dilation: int) -> Tensor:
    n, channels, height, width = x.shape
    image, by = _padded(x, k // 2 * dilation), _padded(gradient, 0)
    parts = torch.empty(min(_PARTS, n * height), k, k, channels)
    pointers = (image.data_ptr(), by.data_ptr(), parts.data_ptr())
    depthwise_kernels().depthwise_weight_gradient(  # type: ignore[union-attr]
        *pointers, n, height, width, channels, k, dilation, len(parts)
    )
    return parts.sum(0).permute(2, 0, 1).unsqueeze(1)


def phased_depthwise_conv2d(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """The plain path of :func:`depthwise_conv2d`.

    A convolution with dilation d never mixes pixels whose row or column differs modulo d. So it *is* d² convolutions
    without dilation, one on each phase of the grid, and those run faster in PyTorch: the phases become a batch.
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
