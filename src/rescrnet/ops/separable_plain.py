"""A dilated separable convolution in PyTorch: any type, any device.

A convolution with dilation d never mixes pixels whose row or column differs modulo d. So it *is* d² convolutions
without dilation, one on each phase of the grid, and those run several times faster in PyTorch: the phases become a
batch. On a CPU some rows of phases are taken at a time, and so need less memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from rescrnet.ops.buffers import empty_like

_CHUNK = 1 << 14  # pixels that are worth calls of their own on a CPU
_FAST_COLUMNS = 3  # of a kernel; with more, oneDNN has no fast kernel for the gradient of depthwise weights


def separable_conv2d(x: Tensor, depthwise: Tensor, pointwise: Tensor, bias: Tensor, dilation: int = 1) -> Tensor:
    """Convolve every channel with its own dilated kernel, zero-padded to the size of the input; then mix the channels.

    For the gradient only the input is kept; the depthwise result is computed a second time.

    Args:
        x: (N, C, H, W), any floating dtype; channels last in memory is fastest. Under autocast it is cast.
        depthwise: (C, 1, k, k) with k odd.
        pointwise: (F, C).
        bias: (F).
        dilation: distance of neighbouring taps, pixels.

    Returns:
        (N, F, H, W), channels last in memory.
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, depthwise, pointwise, bias = (tensor.to(dtype) for tensor in (x, depthwise, pointwise, bias))
    with torch.autocast(device, enabled=False):
        pixels = x.permute(0, 2, 3, 1).contiguous()
        out: Tensor = _Separable.apply(pixels, depthwise, pointwise, bias, dilation)  # type: ignore[no-untyped-call]
    return out.permute(0, 3, 1, 2)


class _Separable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, depthwise: Tensor, pointwise: Tensor, bias: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, depthwise, pointwise)
        ctx.dilation = dilation
        out = empty_like(x, len(bias))
        for images, rows in _chunks(x, dilation):
            phases = _split(x[images], dilation, rows)
            _join(F.linear(_depthwise(phases, depthwise), pointwise, bias), out[images], dilation, rows)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, depthwise, pointwise = ctx.saved_tensors
        grad_out, dilation = gradients[0].contiguous(), ctx.dilation
        grad_x = empty_like(x, x.shape[-1]) if ctx.needs_input_grad[0] else None
        grad_depthwise, grad_pointwise = torch.zeros_like(depthwise), torch.zeros_like(pointwise)
        for images, rows in _chunks(x, dilation):
            phases, grad_mixed = (_split(tensor[images], dilation, rows) for tensor in (x, grad_out))
            inner = _depthwise(phases, depthwise)
            grad_pointwise += grad_mixed.flatten(0, 2).t() @ inner.flatten(0, 2)
            del inner
            grad_inner = grad_mixed @ pointwise
            grad_depthwise += _grad_depthwise(phases, depthwise, grad_inner)
            if grad_x is not None:
                _join(_depthwise(grad_inner, depthwise.flip(2, 3)), grad_x[images], dilation, rows)
        return grad_x, grad_depthwise, grad_pointwise, grad_out.sum((0, 1, 2)), None


def _chunks(x: Tensor, dilation: int) -> Iterator[tuple[slice, range]]:
    """Images of x (N, H, W, C) and rows of phases, which together make up x."""
    images, height, width, _ = x.shape
    phases = min(dilation, height)
    if x.device.type != "cpu":  # where a call costs more than the memory that it saves
        yield slice(images), range(phases)
        return
    step = max(1, -(-_CHUNK * phases // (height * width)))
    for image in range(images):
        for first in range(0, phases, step):
            yield slice(image, image + 1), range(first, min(first + step, phases))


def _split(x: Tensor, dilation: int, rows: range) -> Tensor:
    """(N, H, W, C) → (N·rows·d, ⌈H/d⌉, ⌈W/d⌉, C): some rows of phases, each an image, with zeros to a whole number."""
    if dilation == 1:
        return x
    n, height, width, channels = x.shape
    high, wide = min(dilation, height), min(dilation, width)  # beyond the image's size all phases are single pixels
    phases = x.new_empty(n, len(rows), wide, -(-height // high), -(-width // wide), channels)
    if height % high:
        phases[:, :, :, -1] = 0
    if width % wide:
        phases[:, :, :, :, -1] = 0
    for pixels, part in _pairs(x, phases, high, rows):
        part.copy_(pixels)
    return phases.flatten(0, 2)


def _join(phases: Tensor, out: Tensor, dilation: int, rows: range) -> None:
    """The inverse of :func:`_split`: these phases' pixels of ``out``."""
    if dilation == 1:
        out.copy_(phases)
        return
    high, wide = min(dilation, out.shape[1]), min(dilation, out.shape[2])
    for pixels, part in _pairs(out, phases.unflatten(0, (len(out), len(rows), wide)), high, rows):  # type: ignore[no-untyped-call]
        pixels.copy_(part)


def _pairs(image: Tensor, phases: Tensor, high: int, rows: range) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of the same pixels in (N, H, W, C) and in (N, rows, wide, ⌈H/high⌉, ⌈W/wide⌉, C), to be copied."""
    wide, width = phases.shape[2], image.shape[2]
    periods = width // wide
    whole = periods * wide
    for index, row in enumerate(rows):
        lines = image[:, row::high]
        part = phases[:, index, :, : lines.shape[1]].permute(0, 2, 3, 1, 4)  # (N, lines, columns, wide, C)
        yield lines[:, :, :whole].unflatten(2, (periods, wide)), part[:, :, :periods]  # type: ignore[no-untyped-call]
        if whole < width:
            yield lines[:, :, whole:], part[:, :, periods, : width - whole]


def _depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """(n, h, w, C) → the same shape, without dilation."""
    return F.conv2d(_planes(x), weight, padding=weight.shape[-1] // 2, groups=len(weight)).permute(0, 2, 3, 1)


def _grad_depthwise(x: Tensor, weight: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the kernels (C, 1, k, k), a few of their columns at a time."""
    channels, _, k, _ = weight.shape
    if k <= _FAST_COLUMNS:
        whole: Tensor = conv2d_weight(_planes(x), weight.shape, _planes(grad), padding=k // 2, groups=channels)  # type: ignore[no-untyped-call]
        return whole
    width, parts = x.shape[2], []
    padded = F.pad(x, (0, 0, k // 2, k // 2))
    for first in range(0, k, _FAST_COLUMNS):
        columns = min(_FAST_COLUMNS, k - first)
        seen = padded[:, :, first : first + width + columns - 1].contiguous()
        size = (channels, 1, k, columns)
        parts.append(conv2d_weight(_planes(seen), size, _planes(grad), padding=(k // 2, 0), groups=channels))  # type: ignore[no-untyped-call]
    return torch.cat(parts, dim=3)


def _planes(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2)
