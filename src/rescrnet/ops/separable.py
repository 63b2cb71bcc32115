"""The compiled kernels of ``resblock.c``: parallel separable convolutions, and sums and mixtures of pixels.

Images are (N, H, W, C), contiguous, with C a multiple of :data:`VECTOR`; float32, or bfloat16 where the processor has
it: then pixels are multiplied with weights that are rounded likewise. Weights, statistics and sums are float32 or more.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rescrnet.ops.buffers import empty
from rescrnet.ops.native import kernels, pointer, required

VECTOR = 16  # channels come by the vector
_PARTS = 32  # parts in which sums over pixels are made, whoever computes them
_PART = 8192  # pixels of a part where there are many
_MACROS: dict[torch.dtype, tuple[str, ...]] = {torch.float32: (), torch.bfloat16: ("BFLOAT16",)}
_Pointer, _Size = ctypes.c_void_p, ctypes.c_long


class _Branch(ctypes.Structure):
    _fields_ = [
        *((name, _Size) for name in ("k", "dilation", "first", "channels", "out", "add")),
        *((name, _Pointer) for name in ("depthwise", "pointwise", "bias")),
        *((name, _Pointer) for name in ("grad_depthwise", "grad_pointwise", "grad_bias")),
    ]


class _Layer(ctypes.Structure):
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
        _library(x.dtype).separable_forward(ctypes.byref(layer))
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
        _library(x.dtype).separable_backward(ctypes.byref(layer))
        grad_weights = SeparableWeights(tuple(kernel.sum(0) for kernel in depthwise), pointwise.sum(1), bias.sum(1))
        if sums is None:
            return None, None, grad_weights
        grad_shift, grad_scale = sums.sum(0)
        return grad_x, Affine(grad_scale, grad_shift), grad_weights

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


def pixel_products(a: Tensor, b: Tensor, pivot: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Σ b and Σ a·bᵀ over the pixels of every image, float64 (N, C_b) and (N, C_a, C_b), both less ``pivot`` (C)."""
    n, height, width, _ = a.shape
    parts = max(1, height * width // _PART)
    sums = torch.empty(n, parts, b.shape[-1])
    products = torch.empty(n, parts, a.shape[-1], b.shape[-1])
    pointers = [pointer(tensor) for tensor in (a, b, pivot, pivot)]
    sizes = [_Size(size) for size in (n, height * width, a.shape[-1], b.shape[-1], parts)]
    _library(a.dtype).pixel_products(*pointers, *sizes, pointer(sums), pointer(products))
    return sums.double().sum(1), products.double().sum(1)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C) and covariance (C, C) of the channels over all pixels, float64."""
    # What is subtracted beforehand need only lie amid the values, for their squares not to drown their spread.
    pivot = x[0, x.shape[1] // 2].float().mean(0)
    sums, products = pixel_products(x, x, pivot)
    pixels = x[..., 0].numel()
    centre = sums.sum(0) / pixels
    return pivot.double() + centre, products.sum(0) / pixels - torch.outer(centre, centre)


def pixel_affine(out: Tensor, scale: Tensor, shift: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """``scale · out + Σ matrix · term + shift``, in place.

    Every image has its own factors: scale and shift (N, C), matrices (N, C_term, C). There are one or two terms; the
    first may be a crop of a larger image.
    """
    n, height, width, channels = out.shape
    (x, matrix_x), (y, matrix_y) = terms if len(terms) == 2 else (terms[0], (None, None))
    factors = [None if factor is None else factor.float().contiguous() for factor in (scale, matrix_x, matrix_y, shift)]
    pointers = [pointer(tensor) for tensor in (out, x, y, *factors)]
    y_channels = 0 if y is None else y.shape[-1]
    sizes = [_Size(size) for size in (n, height, width, channels, x.shape[-1], x.stride(0), x.stride(1), y_channels)]
    _library(out.dtype).pixel_affine(*pointers, *sizes)
    return out


def pixel_add(out: Tensor, scale: Tensor, x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """``scale · out + factor · x + shift`` of every channel, (C) each, in place."""
    factors = [tensor.float().contiguous() for tensor in (scale, factor, shift)]
    pointers = [pointer(tensor) for tensor in (out, x, *factors)]
    _library(out.dtype).pixel_add(*pointers, _Size(out[..., 0].numel()), _Size(out.shape[-1]))
    return out


def has_kernels(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this machine has the compiled kernels for images of this type."""
    return dtype in _MACROS and kernels("resblock", *_MACROS[dtype]) is not None


def _library(dtype: torch.dtype) -> ctypes.CDLL:
    return required("resblock", *_MACROS[dtype])


def _parts(pixels: int) -> int:
    return max(1, min(_PARTS, pixels // 1024))


def _mean_and_variance(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Of parts with a pivot, sum, sum of squares and number each, (parts, 4, C)."""
    pivot, total, squares, count = sums.unbind(1)
    pixels = count.sum(0)
    mean = (pivot * count + total).sum(0) / pixels
    above = pivot - mean
    return mean, (squares + 2 * above * total + count * above**2).sum(0) / pixels
