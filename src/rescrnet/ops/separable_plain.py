"""Dilated separable convolutions in PyTorch: any type, any device.

A convolution with dilation d never mixes pixels whose row or column differs modulo d. So it *is* d² convolutions
without dilation, one on each phase of the grid, and those run several times faster in PyTorch: the phases become a
batch. On a CPU as many phases, or lines of one, are taken at a time as the cache holds. The memory between is small and
used again, and what comes before the convolution is computed on the way into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from rescrnet.ops.buffers import empty_with
from rescrnet.ops.pixels_plain import affine_gradient, moments, pixel_add
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


@dataclass(frozen=True)
class PlainSeparable(Separable):
    """A :class:`Separable` without compiled kernels.

    Attributes:
        between: (N, H, W) of images whose result of the first convolutions of a block stays in phases until the second
            have read it: one row of numbers, the phases of the first branch, (N, phases, h, w, F), then of the next.
    """

    between: tuple[int, int, int] | None = None

    def forward(
        self, x: Tensor, affine: Affine | None, slope: float, cut: Cut = NO_CUT, out: Tensor | None = None
    ) -> Tensor:
        """See :meth:`Separable.forward`."""
        shape = self.between or x.shape[:-1]
        phased = self.between is not None and self.shared
        size = (sum(self._sizes()),) if phased else (*shape, self.out_channels)
        result = out if out is not None and cut == NO_CUT else empty_with(x, *size)
        for index, source, target in self._parts(x, result):
            kernel, pointwise = _kernel(self.depthwise[index]), self.pointwise[index]
            own = affine and self._own(index, affine)
            for chunk in _chunks(source, shape, len(kernel[0, 0]) // 2, self.dilations[index]):
                inner = chunk.depthwise(chunk.split(source, affine=own, slope=slope), kernel)
                mixed = _product(inner, pointwise, self.bias[index], chunk.of_phases(target) if phased else None)
                if not phased:
                    chunk.join(mixed, target, add=self.summed and index > 0)
        if result is out or cut == NO_CUT:
            return result
        inside = cut.crop(result.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return inside.contiguous() if out is None else out.copy_(inside)

    def forward_with_moments(
        self, x: Tensor, affine: Affine | None, slope: float
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """See :meth:`Separable.forward_with_moments`."""
        result, found = self.forward(x, affine, slope), []
        for index, dilation in enumerate(self.dilations):
            part, pivot = self._written(index, result), None
            if self.between is not None:  # what lies beyond the image is not to count
                pivot = part[0, 0, part.shape[2] // 2].mean(0)
                _whole(self.between, 0, dilation).clear(part, 0, value=pivot)
            mean, covariance = moments(part.flatten(0, -4), x[..., 0].numel(), pivot)
            found.append((mean, covariance.diagonal()))
        mean, variance = (torch.cat(parts) for parts in zip(*found, strict=True))
        return result, (mean, variance)

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
            own, scale = affine and self._own(index, affine), None
            if factor is not None:
                scale = factor if self.summed else factor.chunk(len(self.depthwise), -1)[index]
            for chunk in _chunks(source, self.between or x.shape[:-1], len(kernel[0, 0]) // 2, self.dilations[index]):
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
        return grad_x, None if affine is None else self._affine_gradient(grad_x, x, affine, slope), weights

    def add(self, grad: Tensor, scale: Tensor, x: Tensor, factor: Tensor, shift: Tensor) -> None:
        """See :meth:`Separable.add`."""
        every = zip(*(tensor.chunk(len(self.depthwise)) for tensor in (scale, factor, shift)), strict=True)
        for index, (scale, factor, shift) in enumerate(every):
            own = (self._read(index, tensor).flatten(0, -4) for tensor in (grad, x))
            pixel_add(next(own), scale, next(own), factor, shift)

    def _affine_gradient(self, grad: Tensor, x: Tensor, affine: Affine, slope: float) -> Affine:
        if self.shared:
            return Affine(*affine_gradient(grad, x, *affine, slope))
        found = []
        for index in range(len(self.depthwise)):
            images = (self._read(index, tensor).flatten(0, -4) for tensor in (grad, x))
            found.append(affine_gradient(next(images), next(images), *self._own(index, affine), slope))
        return Affine(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _parts(self, read: Tensor, written: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        for index in range(len(self.depthwise)):
            yield index, self._read(index, read), self._written(index, written)

    def _read(self, branch: int, x: Tensor) -> Tensor:
        """What a branch reads."""
        return x if self.shared else self._part(branch, x, phased=self.between is not None)

    def _written(self, branch: int, x: Tensor) -> Tensor:
        """What a branch writes."""
        return x if self.summed else self._part(branch, x, phased=self.between is not None and self.shared)

    def _own(self, branch: int, affine: Affine) -> Affine:
        """The factors of the channels that a branch reads."""
        if self.shared:
            return affine
        return Affine(*(tensor.chunk(len(self.depthwise))[branch] for tensor in affine))

    def _part(self, branch: int, x: Tensor, *, phased: bool) -> Tensor:
        """A branch's channels of (N, H, W, C), or its phases, (N, phases, h, w, C)."""
        if not phased or self.between is None:
            return x.chunk(len(self.depthwise), -1)[branch]
        images, height, width = self.between
        d = self.dilations[branch]
        size = (images, -1, -(-height // d), -(-width // d), self.pointwise.shape[2 if self.shared else 1])
        return torch.split(x, self._sizes())[branch].view(size)

    def _sizes(self) -> list[int]:
        """Of the branches' phases."""
        if self.between is None:
            return []
        images, height, width = self.between
        pixels = [min(d, height) * min(d, width) * -(-height // d) * -(-width // d) for d in self.dilations]
        return [images * count * self.pointwise.shape[2 if self.shared else 1] for count in pixels]


@dataclass(frozen=True)
class _Chunk:
    """Some phases, or some lines of one, of some images, on the way through a depthwise convolution of reach ``reach``.

    Attributes:
        images: of the batch.
        first: number of the first phase.
        phases: row and column of the first pixel of each.
        lines: of the phases that are convolved, the first and the one after the last.
        halo: lines before and after these that are read as well; without, they are all lines, and zeros beyond.
        size: height and width of the images.
    """

    images: slice
    first: int
    phases: tuple[tuple[int, int], ...]
    lines: tuple[int, int]
    halo: int
    size: tuple[int, int]
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
        some after the phase are ``spare``: zeros, too. What is in phases already, (N, phases, h, w, C), stays so.
        """
        start, (height, width) = self.lines[0] - self.halo, self._extent(0, 0)
        before, after = self._spare(spare)
        channels = x.shape[-1]
        size = (self._count(x), len(self.phases), self.lines[1] + self.halo - start, before + width + after, channels)
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
        if affine is not None:
            F.leaky_relu_(phases, slope)
        if x.dim() == 5:
            self.clear(phases, start, before)
        return phases.flatten(0, 1)

    def join(self, phases: Tensor, out: Tensor, *, add: bool, spare: bool = False) -> None:
        """The inverse of :meth:`split`: these phases' pixels of ``out`` (N, H, W, C), to which they may be added."""
        phases = phases.view(self._count(out), len(self.phases), *phases.shape[1:])
        for pixels, part in self._pairs(out, phases, self._spare(spare)[0], 0):
            if add:
                pixels.add_(part)
            else:
                pixels.copy_(part)
            if out.dim() == 5:
                self.clear(pixels, self.lines[0])

    def of_phases(self, x: Tensor, halo: int = 0) -> Tensor:
        """The view of what is in phases, (N, phases, h, w, C), that belongs to this."""
        lines = slice(max(0, self.lines[0] - halo), self.lines[1] + halo)
        return x[self.images, self.first : self.first + len(self.phases), lines]

    def clear(self, phases: Tensor, start: int, before: int = 0, value: Tensor | float = 0) -> None:
        """A value where a phase of (n, phases, h, w, C), whose lines begin with ``start``, has no pixel."""
        height, width = self._extent(0, 0)
        for index, phase in enumerate(self.phases):
            lines, columns = self._extent(*phase)
            if lines < height:
                phases[:, index, lines - start :] = value
            if columns < width:
                phases[:, index, :, before + columns :] = value

    def _pairs(self, x: Tensor, phases: Tensor, before: int, halo: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Views of the same pixels in x (N, H, W, C) and in phases (n, phases, h, before + w + after, C)."""
        start, d = self.lines[0] - halo, self.dilation
        first = max(0, start)
        if x.dim() == 5:
            own = self.of_phases(x, halo)
            yield own, phases[:, :, first - start : first - start + own.shape[2], before : before + own.shape[3]]
            return
        along = (x.stride(0), x.stride(1) * d, x.stride(2) * d, 1)
        origin = x.storage_offset() + (self.images.start or 0) * x.stride(0) + first * along[1]
        across = (phases.stride(0), *phases.stride()[2:])
        corner = phases.storage_offset() + (first - start) * across[1] + before * across[2]
        for index, (row, column) in enumerate(self.phases):
            height, width = self._extent(row, column)
            size = (len(phases), min(height, self.lines[1] + halo) - first, width, x.shape[-1])
            if size[1] > 0:
                yield (
                    x.as_strided(size, along, origin + row * x.stride(1) + column * x.stride(2)),
                    phases.as_strided(size, across, corner + index * phases.stride(1)),
                )

    def _extent(self, row: int, column: int) -> tuple[int, int]:
        """Height and width of the phase that begins there; that of (0, 0) is the largest."""
        height, width = self.size
        return -(-(height - row) // self.dilation), -(-(width - column) // self.dilation)

    def _count(self, x: Tensor) -> int:
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


def _whole(shape: Sequence[int], reach: int, dilation: int) -> _Chunk:
    """A batch of a shape (N, H, W)."""
    images, height, width = shape
    phases = tuple((row, column) for row in range(min(dilation, height)) for column in range(min(dilation, width)))
    return _Chunk(slice(images), 0, phases, (0, -(-height // dilation)), 0, (height, width), dilation, reach)


def _chunks(x: Tensor, shape: Sequence[int], reach: int, dilation: int) -> Iterator[_Chunk]:
    """Parts of a batch x of a shape (N, H, W), which together make it up."""
    whole = _whole(shape, reach, dilation)
    if x.device.type != "cpu":  # where a call costs more than the memory that it saves
        yield whole
        return
    images, phases, high = shape[0], whole.phases, whole.lines[1]
    size = high * -(-shape[2] // dilation)
    pixels = max(1, _CHUNK // x.shape[-1])
    together, some = max(1, pixels // (size * len(phases))), max(1, pixels // size)
    lines = -(-high // max(1, round(size / pixels)))
    for image in range(0, images, together):
        of = slice(image, min(images, image + together))
        for first in range(0, len(phases), some):
            for y0 in range(0, high, lines):
                halo = reach if lines < high else 0
                part = phases[first : first + some], (y0, min(high, y0 + lines)), halo
                yield _Chunk(of, first, *part, whole.size, dilation, reach)


def _product(pixels: Tensor, matrix: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """(n, h, w, C) times (C, F), plus (F) → (n, h, w, F)."""
    out = empty_with(pixels, *pixels.shape[:-1], matrix.shape[1]) if out is None else out
    flat, into = pixels.flatten(0, 2), out.view(-1, matrix.shape[1])
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
