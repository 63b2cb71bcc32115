"""The compiled kernels of ``kernels/pixels.c``: sums over the pixels of images, and affine maps of every pixel.

Images are (N, H, W, C), contiguous, with C a multiple of :data:`VECTOR`; float32, or bfloat16 where the processor has
it. Matrices, factors and sums are float32 or more.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from rescrnet.ops.native import call, pointer

VECTOR = 16  # numbers of channels are multiples of this
_PART = 8192  # pixels of a part where there are many
_Size = ctypes.c_ssize_t


def pixel_products(a: Tensor, b: Tensor, pivot: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Σ b and Σ a·bᵀ over the pixels of every image, float64 (N, C_b) and (N, C_a, C_b), both less ``pivot`` (C)."""
    n, height, width, _ = a.shape
    parts = max(1, height * width // _PART)
    sums = torch.empty(n, parts, b.shape[-1])
    products = torch.empty(n, parts, a.shape[-1], b.shape[-1])
    pointers = [pointer(tensor) for tensor in (a, b, pivot, pivot)]
    sizes = [_Size(size) for size in (n, height * width, a.shape[-1], b.shape[-1], parts)]
    call("pixel_products", a.dtype, *pointers, *sizes, pointer(sums), pointer(products))
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
    call("pixel_affine", out.dtype, *pointers, *sizes)
    return out


def pixel_add(out: Tensor, scale: Tensor, x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """``scale · out + factor · x + shift`` of every channel, (C) each, in place."""
    factors = [tensor.float().contiguous() for tensor in (scale, factor, shift)]
    pointers = [pointer(tensor) for tensor in (out, x, *factors)]
    call("pixel_add", out.dtype, *pointers, _Size(out[..., 0].numel()), _Size(out.shape[-1]))
    return out
