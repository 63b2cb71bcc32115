"""What :mod:`rescrnet.ops.pixels` computes, in PyTorch: any type, any number of channels, any device.

On a CPU some pixels are taken at a time, so that what is computed of them stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rescrnet.ops.buffers import empty_with

_PART = 8192  # pixels


def pixel_products(a: Tensor, b: Tensor, pivot: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """See :func:`rescrnet.ops.pixels.pixel_products`."""
    n, channels_a, channels_b = len(a), a.shape[-1], b.shape[-1]
    sums, products = (
        b.new_zeros(n, *shape, dtype=_wide_type(b)) for shape in ((channels_b,), (channels_a, channels_b))
    )
    for index, (pixels_a, pixels_b) in _parts(a, b):
        if pivot is not None:
            same, pixels_a = a is b, torch.sub(pixels_a, pivot, out=_room(pixels_a))
            pixels_b = pixels_a if same else torch.sub(pixels_b, pivot, out=_room(pixels_b))
        sums[index] += _sum(pixels_b)
        products[index] += pixels_a.t() @ pixels_b
    return sums, products


def moments(x: Tensor, pixels: int | None = None, pivot: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """See :func:`rescrnet.ops.pixels.moments`. All but ``pixels`` of the pixels are ``pivot`` and do not count."""
    if pivot is None:
        pivot = x[0, x.shape[1] // 2].mean(0)
    pixels = x[..., 0].numel() if pixels is None else pixels
    sums, products = pixel_products(x, x, pivot)
    centre = sums.sum(0) / pixels
    return wide(pivot) + centre, products.sum(0) / pixels - torch.outer(centre, centre)


def pixel_affine(out: Tensor, scale: Tensor, shift: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """See :func:`rescrnet.ops.pixels.pixel_affine`."""
    scale, shift = scale.to(out.dtype), shift.to(out.dtype)
    matrices = [matrix.to(out.dtype) for _, matrix in terms]
    for index, (pixels, *others) in _parts(out, *(x for x, _ in terms)):
        torch.addcmul(shift[index], pixels, scale[index], out=pixels)
        for other, matrix in zip(others, matrices, strict=True):
            pixels.addmm_(other, matrix[index])
    return out


def pixel_add(out: Tensor, scale: Tensor, x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """See :func:`rescrnet.ops.pixels.pixel_add`."""
    scale, factor, shift = (tensor.to(out.dtype) for tensor in (scale, factor, shift))
    for _, (pixels, others) in _parts(out, x):
        torch.addcmul(shift, pixels, scale, out=pixels).addcmul_(others, factor)
    return out


def affine_gradient(grad: Tensor, x: Tensor, scale: Tensor, shift: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """From the gradient by ``leaky(u)`` that by ``u = scale · x + shift``, in place; and those by scale and shift."""
    grad_scale, grad_shift = torch.zeros_like(wide(scale)), torch.zeros_like(wide(shift))
    for _, (pixels, others) in _parts(grad, x):
        u = torch.addcmul(shift, others, scale, out=_room(others))
        torch.ops.aten.leaky_relu_backward.grad_input(pixels, u, slope, False, grad_input=pixels)
        grad_shift += _sum(pixels)
        grad_scale += _sum(torch.mul(pixels, others, out=u))
    return grad_scale, grad_shift


def wide(x: Tensor) -> Tensor:
    """In the precision of sums over pixels."""
    return x.to(_wide_type(x))


def _wide_type(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64  # Apple's GPUs have none


def _room(pixels: Tensor) -> Tensor:
    return empty_with(pixels, *pixels.shape)


def _sum(pixels: Tensor) -> Tensor:
    """Σ over (pixels, C), as a product, which is the fastest."""
    return pixels.new_ones(len(pixels)) @ pixels


def _parts(*images: Tensor) -> Iterator[tuple[int, list[Tensor]]]:
    """The number of an image, and views of the same pixels in all of ``images`` (N, H, W, C), (pixels, C) each."""
    n, height, width, _ = images[0].shape
    lines = max(1, _PART // width) if images[0].device.type == "cpu" else height
    for index in range(n):
        for y in range(0, height, lines):
            yield index, [image[index, y : y + lines].flatten(0, 1) for image in images]
