"""Dilated separable convolutions in PyTorch: any type, any device.

A convolution with dilation d never mixes pixels whose row or column differs modulo d. So it *is* d² convolutions
without dilation, one on each phase of the grid, and those run several times faster in PyTorch: the phases become a
batch. On a CPU as many phases, or lines of one, are taken at a time as the cache holds. The memory between is small and
used again, and what comes before the convolution is computed on the way into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from rescrnet.ops.buffers import empty_with
from rescrnet.ops.pixels_plain import affine_gradient, moments
from rescrnet.ops.separable import NO_CUT, Affine, Cut, Separable, SeparableWeights

_CHUNK = 3 << 18  # numbers that are taken at a time on a CPU
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
        pixels, kernel = x.permute(0, 2, 3, 1).contiguous(), depthwise.squeeze(1).permute(1, 2, 0)
        out: Tensor = _SeparableConv2d.apply(pixels, kernel, pointwise.t()[None], bias[None], dilation)  # type: ignore[no-untyped-call]
    return out.permute(0, 3, 1, 2)


class _SeparableConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, depthwise: Tensor, pointwise: Tensor, bias: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.layer = PlainSeparable((depthwise,), pointwise, bias, (dilation,), shared=True)
        return ctx.layer.forward(x, None, 0.0)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        grad_out, asked = gradients[0].contiguous(), ctx.needs_input_grad[0]
        grad_x, _, weights = ctx.layer.backward(grad_out, x, None, 0.0, for_input=asked)
        return grad_x, weights.depthwise[0], weights.pointwise, weights.bias, None


class PlainSeparable(Separable):
    """A :class:`Separable` without compiled kernels."""

    def forward(
        self, x: Tensor, affine: Affine | None, slope: float, cut: Cut = NO_CUT, out: Tensor | None = None
    ) -> Tensor:
        """See :meth:`Separable.forward`."""
        result = out if out is not None and cut == NO_CUT else empty_with(x, *x.shape[:-1], self.out_channels)
        for index, source, target in self._parts(x, result):
            kernel, pointwise = _kernel(self.depthwise[index]), self.pointwise[index].t()
            own = None if affine is None else Affine(*(self._read(index, tensor) for tensor in affine))
            for chunk in _chunks(source, len(self.depthwise[index]) // 2, self.dilations[index]):
                inner = chunk.depthwise(chunk.split(source, affine=own, slope=slope), kernel)
                add = self.summed and index > 0
                room = None if add else chunk.in_a_row(target)
                mixed = _product(inner, pointwise.t(), self.bias[index], room)
                if room is None:
                    chunk.join(mixed, target, add=add)
        if result is out or cut == NO_CUT:
            return result
        inside = cut.crop(result.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return inside.contiguous() if out is None else out.copy_(inside)

    def forward_with_moments(
        self, x: Tensor, affine: Affine | None, slope: float
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """See :meth:`Separable.forward_with_moments`."""
        result = self.forward(x, affine, slope)
        mean, covariance = moments(result)
        return result, (mean, covariance.diagonal())

    def backward(
        self,
        grad_out: Tensor,
        x: Tensor,
        affine: Affine | None,
        slope: float,
        factor: Tensor | None = None,
        *,
        for_input: bool = True,
    ) -> tuple[Tensor | None, Affine | None, SeparableWeights]:
        """See :meth:`Separable.backward`."""
        grad_x = empty_with(x, *x.shape) if for_input else None
        weights = SeparableWeights(
            tuple(torch.zeros_like(kernel) for kernel in self.depthwise),
            torch.zeros_like(self.pointwise),
            torch.zeros_like(self.bias),
        )
        for index, source, grad in self._parts(x, grad_out):
            kernel, pointwise = _kernel(self.depthwise[index]), self.pointwise[index].t()
            own = None if affine is None else Affine(*(self._read(index, tensor) for tensor in affine))
            scale = None if factor is None else self._written(index, factor)
            for chunk in _chunks(source, len(self.depthwise[index]) // 2, self.dilations[index]):
                phases = chunk.split(source, affine=own, slope=slope, spare=True)
                grad_mixed = chunk.split(grad, factor=scale, spare=True)
                inner, inside = chunk.depthwise(phases, kernel), chunk.inside(grad_mixed).flatten(0, 2)
                weights.pointwise[index] += inner.flatten(0, 2).t() @ inside
                weights.bias[index] += inside.sum(0)
                grad_inner = _product(grad_mixed, pointwise)
                weights.depthwise[index].add_(chunk.grad_depthwise(phases, grad_inner))
                if grad_x is not None:
                    grad_phases = chunk.depthwise(grad_inner, kernel.flip(2, 3))
                    chunk.join(grad_phases, self._read(index, grad_x), add=self.shared and index > 0, spare=True)
        if grad_x is None:
            return None, None, weights
        return grad_x, None if affine is None else Affine(*affine_gradient(grad_x, x, *affine, slope)), weights

    def _parts(self, read: Tensor, written: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        for index in range(len(self.depthwise)):
            yield index, self._read(index, read), self._written(index, written)

    def _read(self, branch: int, x: Tensor) -> Tensor:
        """The channels that a branch reads."""
        return x if self.shared else x.chunk(len(self.depthwise), -1)[branch]

    def _written(self, branch: int, x: Tensor) -> Tensor:
        """The channels that a branch writes."""
        return x if self.summed else x.chunk(len(self.depthwise), -1)[branch]


@dataclass(frozen=True)
class _Chunk:
    """Some phases, or some lines of one, of some images, on the way through a depthwise convolution of reach ``reach``.

    Attributes:
        images: of the batch.
        phases: row and column of the first pixel of each.
        lines: of the phases that are convolved, the first and the one after the last.
        halo: lines before and after these that are read as well; without, they are all lines, and zeros beyond.
        shape: height and width of the largest phase.
    """

    images: slice
    phases: tuple[tuple[int, int], ...]
    lines: tuple[int, int]
    halo: int
    shape: tuple[int, int]
    dilation: int
    reach: int

    def split(
        self,
        x: Tensor,
        *,
        affine: Affine | None = None,
        slope: float = 0.0,
        factor: Tensor | None = None,
        spare: bool = False,
    ) -> Tensor:
        """The phases of x (N, H, W, C), ``leaky(affine(x))``, or x times ``factor`` (N, C): (n·phases, h, w, C).

        Where a phase, or the halo, has no pixel, there are zeros. For the gradient of the weights, a column before and
        some after the phase are ``spare``: zeros, too.
        """
        start, (height, width) = self.lines[0] - self.halo, self.shape
        before, after = self._spare(spare)
        channels = x.shape[-1]
        size = (self._images(x), len(self.phases), self.lines[1] + self.halo - start, before + width + after, channels)
        margin = self.reach * channels if spare else 0
        memory = empty_with(x, math.prod(size) + 2 * margin)
        memory[:margin] = memory[len(memory) - margin :] = 0
        phases = memory[margin : len(memory) - margin].view(size)
        phases[:, :, : max(0, -start)] = phases[:, :, max(0, height - 1 - start) :] = 0
        phases[:, :, :, :before] = phases[:, :, :, before + width - 1 :] = 0
        for pixels, part in self._pairs(x, phases, before, self.halo):
            if affine is not None:
                torch.addcmul(affine.shift, pixels, affine.scale, out=part)
            elif factor is not None:
                torch.mul(pixels, factor[self.images, None, None], out=part)
            else:
                part.copy_(pixels)
        return (phases if affine is None else F.leaky_relu_(phases, slope)).flatten(0, 1)

    def join(self, phases: Tensor, out: Tensor, *, add: bool, spare: bool = False) -> None:
        """The inverse of :meth:`split`: these phases' pixels of ``out`` (N, H, W, C), to which they may be added."""
        phases = phases.view(self._images(out), len(self.phases), *phases.shape[1:])
        for pixels, part in self._pairs(out, phases, self._spare(spare)[0], 0):
            if add:
                pixels.add_(part)
            else:
                pixels.copy_(part)

    def in_a_row(self, out: Tensor) -> Tensor | None:
        """What :meth:`join` writes to, (pixels, C), if that can be seen so: without dilation, in whole lines."""
        lines = out[self.images, slice(*self.lines)]
        whole = lines.stride(1) == lines.shape[2] * lines.stride(2)
        several = len(lines) > 1 and lines.stride(0) != lines.shape[1] * lines.stride(1)
        return lines.flatten(0, 2) if self.dilation == 1 and whole and not several else None

    def _pairs(self, x: Tensor, phases: Tensor, before: int, halo: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of the same pixels in x (N, H, W, C) and in phases (n, phases, h, before + w + after, C)."""
        _, height, width, channels = x.shape
        start, d = self.lines[0] - halo, self.dilation
        first = max(0, start)
        along = (x.stride(0), x.stride(1) * d, x.stride(2) * d, 1)
        origin = x.storage_offset() + self.images.start * x.stride(0) + first * along[1]
        across = (phases.stride(0), *phases.stride()[2:])
        corner = phases.storage_offset() + (first - start) * across[1] + before * across[2]
        for index, (row, column) in enumerate(self.phases):
            lines = min(-(-(height - row) // d), self.lines[1] + halo) - first
            size = (len(phases), lines, -(-(width - column) // d), channels)
            if lines > 0:
                yield (
                    x.as_strided(size, along, origin + row * x.stride(1) + column * x.stride(2)),
                    phases.as_strided(size, across, corner + index * phases.stride(1)),
                )

    def _images(self, x: Tensor) -> int:
        return len(range(*self.images.indices(len(x))))

    def depthwise(self, phases: Tensor, kernel: Tensor) -> Tensor:
        """(n, h, w, C) → the same without the halo; ``kernel`` (C, 1, k, k)."""
        padding = (self.reach - self.halo, self.reach)
        return F.conv2d(_planes(phases), kernel, padding=padding, groups=len(kernel)).permute(0, 2, 3, 1)

    def grad_depthwise(self, phases: Tensor, grad: Tensor) -> Tensor:
        """The gradient of the kernel, (k, k, C), from phases and gradients with halo and spare columns.

        A few columns of the kernel at a time: what they see begins some columns sooner or later in memory, and in the
        spare columns between two lines there are zeros.
        """
        channels, k = phases.shape[-1], 2 * self.reach + 1
        columns = min(k, _FAST_COLUMNS)
        size, padding = (channels, 1, k, columns), (self.reach - self.halo, columns // 2)
        grad, parts = _planes(self.inside(grad)), []
        for first in range(0, k, columns):
            begin = min(first, k - columns)
            offset = phases.storage_offset() + (begin + columns // 2 - self.reach) * channels
            seen = _planes(phases.as_strided(phases.shape, phases.stride(), offset))
            part: Tensor = conv2d_weight(seen, size, grad, padding=padding, groups=channels)  # type: ignore[no-untyped-call]
            parts.append(part[..., first - begin :])
        return torch.cat(parts, dim=3).squeeze(1).permute(1, 2, 0)

    def inside(self, phases: Tensor) -> Tensor:
        """Without the halo."""
        return phases[:, self.halo : phases.shape[1] - self.halo]

    def _spare(self, spare: bool) -> tuple[int, int]:
        return (1, max(2, self.reach) - 1) if spare else (0, 0)


def _chunks(x: Tensor, reach: int, dilation: int) -> Iterator[_Chunk]:
    """Parts of the batch x (N, H, W, C), which together make it up."""
    images, height, width, channels = x.shape
    phases = tuple((row, column) for row in range(min(dilation, height)) for column in range(min(dilation, width)))
    shape = -(-height // dilation), -(-width // dilation)
    size = shape[0] * shape[1]

    def chunk(first: int, count: int, some: tuple[tuple[int, int], ...], y0: int = 0, y1: int = shape[0]) -> _Chunk:
        halo = reach if y1 - y0 < shape[0] else 0
        return _Chunk(slice(first, first + count), some, (y0, y1), halo, shape, dilation, reach)

    if x.device.type != "cpu":  # where a call costs more than the memory that it saves
        yield chunk(0, images, phases)
        return
    pixels = max(1, _CHUNK // channels)
    together, some = max(1, pixels // (size * len(phases))), max(1, pixels // size)
    lines = -(-shape[0] // max(1, round(size / pixels)))
    for image in range(0, images, together):
        count = min(together, images - image)
        for first in range(0, len(phases), some):
            for y0 in range(0, shape[0], lines):
                yield chunk(image, count, phases[first : first + some], y0, min(shape[0], y0 + lines))


def _product(pixels: Tensor, matrix: Tensor, bias: Tensor | None = None, room: Tensor | None = None) -> Tensor:
    """(n, h, w, C) times (C, F), plus (F) → (n, h, w, F), or in its room, (pixels, F)."""
    out = empty_with(pixels, *pixels.shape[:-1], matrix.shape[1]) if room is None else room
    flat, into = pixels.flatten(0, 2), out.flatten(0, -2)
    if bias is None:
        torch.mm(flat, matrix, out=into)
    else:
        torch.addmm(bias, flat, matrix, out=into)
    return out


def _kernel(depthwise: Tensor) -> Tensor:
    """(k, k, C) → (C, 1, k, k)."""
    return depthwise.permute(2, 0, 1).unsqueeze(1)


def _planes(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2)
