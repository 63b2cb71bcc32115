"""The compiled kernels of ``kernels/resblock.c``: parallel separable convolutions.

Images are (N, H, W, C), contiguous, with C a multiple of :data:`~rescrnet.ops.pixels.VECTOR`; float32, or bfloat16
where the processor has it: then pixels are multiplied with weights that are rounded likewise. Weights, statistics and
sums are float32 or more.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rescrnet.ops.buffers import empty
from rescrnet.ops.native import call, pointer
from rescrnet.ops.pixels import pixel_add

LARGEST_KERNEL, LARGEST_REACH = 63, 4096  # of kernels/base.h
_PARTS = 32  # parts in which sums over pixels are made, whoever computes them
_Pointer, _Size = ctypes.c_void_p, ctypes.c_ssize_t


class _Branch(ctypes.Structure):  # keep in step with branch of kernels/layer.h
    _fields_ = [
        *((name, _Size) for name in ("k", "dilation", "in", "channels", "out", "add")),
        *((name, _Pointer) for name in ("depthwise", "pointwise", "bias")),
        *((name, _Pointer) for name in ("grad_depthwise", "grad_pointwise", "grad_bias")),
    ]


class _Layer(ctypes.Structure):  # keep in step with layer of kernels/layer.h
    _fields_ = [
        *((name, _Size) for name in ("n", "height", "width", "channels")),
        *((name, _Size) for name in ("top", "left", "out_height", "out_width")),
        *((name, _Size) for name in ("out_channels", "filters", "branches", "parts")),
        *((name, _Pointer) for name in ("x", "scale", "shift")),
        ("slope", ctypes.c_float),
        *((name, _Pointer) for name in ("result", "sums", "grad_result", "factor", "grad_input", "affine_sums")),
        ("branch", ctypes.POINTER(_Branch)),
    ]


class Cut(NamedTuple):
    """Pixels at each side of a result that are left out, at most as many as the convolution reaches.

    A convolution has zeros beyond its input, and so keeps the size. Where the input is part of an image, the pixels
    that see beyond it are wrong: cut, they are not computed.
    """

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def crop(self, x: Tensor) -> Tensor:
        """(N, C, H, W) without these pixels."""
        return x[:, :, self.top : x.shape[2] - self.bottom, self.left : x.shape[3] - self.right]


NO_CUT = Cut()


class Affine(NamedTuple):
    """A batch normalisation as it is applied: ``scale · x + shift`` of every channel, (C) each; or its gradients."""

    scale: Tensor
    shift: Tensor


class SeparableWeights(NamedTuple):
    """The weights of B parallel separable convolutions with F filters each, as the kernels read them; or gradients.

    Attributes:
        depthwise: of each branch (k, k, C).
        pointwise: (B, C, F).
        bias: (B, F).
    """

    depthwise: tuple[Tensor, ...]
    pointwise: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Separable:
    """B parallel separable convolutions with F filters each.

    Attributes:
        depthwise, pointwise, bias: see :class:`SeparableWeights`.
        dilations: of each branch.
        shared: every branch reads all channels; else each reads a B-th of them.
        summed: the branches are added up; else they are side by side.
    """

    depthwise: tuple[Tensor, ...]
    pointwise: Tensor
    bias: Tensor
    dilations: tuple[int, ...]
    shared: bool
    summed: bool = False

    @property
    def reach(self) -> int:
        """How far a pixel sees, pixels."""
        pairs = zip(self.depthwise, self.dilations, strict=True)
        return max(len(kernel) // 2 * dilation for kernel, dilation in pairs)

    @property
    def out_channels(self) -> int:
        """Channels of the result."""
        branches, _, filters = self.pointwise.shape
        return filters if self.summed else branches * filters

    def forward(
        self, x: Tensor, affine: Affine | None, slope: float, cut: Cut = NO_CUT, out: Tensor | None = None
    ) -> Tensor:
        """The convolutions of ``leaky(affine(x))``, written to ``out`` where that is given."""
        return self._forward(x, affine, slope, cut, out, None)

    def forward_with_moments(
        self, x: Tensor, affine: Affine | None, slope: float
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As :meth:`forward`, with the mean and the variance of the result's channels, float64 (out_channels) each."""
        sums = torch.zeros(_parts(x[..., 0].numel()), 4, self.out_channels, dtype=torch.float64)
        return self._forward(x, affine, slope, NO_CUT, None, sums), _mean_and_variance(sums)

    def _forward(
        self, x: Tensor, affine: Affine | None, slope: float, cut: Cut, out: Tensor | None, sums: Tensor | None
    ) -> Tensor:
        n, height, width, _ = x.shape
        out_height, out_width = height - cut.top - cut.bottom, width - cut.left - cut.right
        result = empty(n, out_height, out_width, self.out_channels, dtype=x.dtype) if out is None else out
        layer = self._layer(x, affine, slope, self._branches(), _parts(n * out_height * out_width))
        layer.top, layer.left = self.reach - cut.top, self.reach - cut.left
        layer.out_height, layer.out_width = out_height, out_width
        layer.result, layer.sums = pointer(result), pointer(sums)
        call("separable_forward", x.dtype, ctypes.byref(layer))
        return result

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
        """The gradients by ``affine(x)``; by the scale and the shift of ``affine``, float64 (C); and by the weights.

        The first two are none if not asked for by ``for_input``. ``factor`` (N, out_channels) multiplies ``grad_out``.
        """
        n, height, width, channels = x.shape
        parts = _parts(n * height * width)
        depthwise = tuple(torch.zeros(parts, *kernel.shape) for kernel in self.depthwise)
        pointwise = self.pointwise.new_zeros(len(depthwise), parts, *self.pointwise.shape[1:])
        bias = self.bias.new_zeros(len(depthwise), parts, *self.bias.shape[1:])
        layer = self._layer(x, affine, slope, self._branches(depthwise, pointwise, bias), parts)
        layer.out_height, layer.out_width = height, width
        grad_x = empty(*x.shape, dtype=x.dtype) if for_input else None
        sums = torch.zeros(parts, 2, channels, dtype=torch.float64) if for_input else None
        layer.grad_result, layer.factor = pointer(grad_out), pointer(factor)
        layer.grad_input, layer.affine_sums = pointer(grad_x), pointer(sums)
        call("separable_backward", x.dtype, ctypes.byref(layer))
        grad_weights = SeparableWeights(tuple(kernel.sum(0) for kernel in depthwise), pointwise.sum(1), bias.sum(1))
        if sums is None:
            return None, None, grad_weights
        grad_shift, grad_scale = sums.sum(0)
        return grad_x, Affine(grad_scale, grad_shift), grad_weights

    def add(self, grad: Tensor, scale: Tensor, x: Tensor, factor: Tensor, shift: Tensor) -> None:
        """``scale · grad + factor · x + shift`` of every channel, in place, of what :meth:`backward` gave and read."""
        pixel_add(grad, scale, x, factor, shift)

    def _branches(self, *gradients: tuple[Tensor, ...] | Tensor) -> ctypes.Array[_Branch]:
        count, channels, filters = self.pointwise.shape
        array = (_Branch * count)()
        for index, (kernel, dilation) in enumerate(zip(self.depthwise, self.dilations, strict=True)):
            array[index] = _Branch(
                len(kernel),
                dilation,
                0 if self.shared else index * channels,
                channels,
                0 if self.summed else index * filters,
                self.summed and index > 0,
                *(pointer(tensor) for tensor in (kernel, self.pointwise[index], self.bias[index])),
                *(pointer(tensor[index]) for tensor in gradients),
            )
        return array

    def _layer(
        self, x: Tensor, affine: Affine | None, slope: float, branches: ctypes.Array[_Branch], parts: int
    ) -> _Layer:
        layer = _Layer(*x.shape, slope=slope, parts=parts, x=pointer(x))
        layer.out_channels, layer.filters, layer.branches = self.out_channels, self.bias.shape[1], len(branches)
        layer.branch = ctypes.cast(branches, ctypes.POINTER(_Branch))
        if affine is not None:
            layer.scale, layer.shift = pointer(affine.scale), pointer(affine.shift)
        return layer


def within_bounds(kernel_sizes: Sequence[int], dilations: Sequence[int]) -> bool:
    """Whether the compiled kernels take these; they refuse others."""
    pairs = zip(kernel_sizes, dilations, strict=True)
    return all(k % 2 == 1 and k <= LARGEST_KERNEL and max(1, k // 2) * d <= LARGEST_REACH for k, d in pairs)


def _parts(pixels: int) -> int:
    return max(1, min(_PARTS, pixels // 1024))


def _mean_and_variance(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Of parts with a pivot, sum, sum of squares and number each, (parts, 4, C)."""
    pivot, total, squares, count = sums.unbind(1)
    pixels = count.sum(0)
    mean = (pivot * count + total).sum(0) / pixels
    above = pivot - mean
    return mean, (squares + 2 * above * total + count * above**2).sum(0) / pixels
