"""A residual block of separable atrous convolutions through the compiled kernels.

The same numbers as :class:`rescrnet.nn.blocks.ConvResBlock` spells out in PyTorch, on a CPU, for images of float32 or
bfloat16 and weights of float32. For the gradient nothing is stored but the input and what the first convolutions give:
normalisation and activation are computed where they are read, and the normalised shortcut, affine in the input, follows
from its mean and covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rescrnet.ops.separable import NO_CUT, Affine, Cut, Separable, moments, pixel_add, pixel_mix, pixel_products


class Moments(NamedTuple):
    """Mean and variance (C) of what a normalisation reads."""

    mean: Tensor
    variance: Tensor


class BlockWeights(NamedTuple):
    """The weights of a block of B branches with F filters.

    ``norm``, ``inner`` and ``outer`` are (2, C), γ and β. In the stem ``norm`` is empty, (2, 0): its branches read the
    input as it is. A separable convolution is its B kernels (k, k, C), then (B, C, F), then (B, F).
    """

    norm: Tensor
    first: tuple[Tensor, ...]
    inner: Tensor
    second: tuple[Tensor, ...]
    shortcut: Tensor
    shortcut_bias: Tensor
    outer: Tensor


@dataclass(frozen=True)
class BlockSettings:
    """What is no weight: the dilations, whether the branches are summed, and the constants."""

    dilations: tuple[int, ...]
    summed: bool
    eps: float
    slope: float


def infer_first(
    x: Tensor,
    weights: BlockWeights,
    settings: BlockSettings,
    norm: Moments,
    cut: Cut = NO_CUT,
    out: Tensor | None = None,
) -> Tensor:
    """The first convolutions with running statistics, without gradient: (N, H, W, C) → (N, H', W', B·F)."""
    first, _ = _layers(weights, settings)
    return first.forward(x, _affine(weights.norm, norm, settings.eps), settings.slope, cut, out)[0]


def infer_second(
    y: Tensor,
    x: Tensor,
    weights: BlockWeights,
    settings: BlockSettings,
    running: tuple[Moments, Moments],
    cut: Cut = NO_CUT,
    out: Tensor | None = None,
) -> Tensor:
    """The block from what its first convolutions made, (N, H, W, B·F), and its input at the pixels wanted, x.

    ``running`` are the statistics of the normalisations in and after the branches.
    """
    inner, outer = running
    _, second = _layers(weights, settings)
    made, _ = second.forward(y, _affine(weights.inner, inner, settings.eps), settings.slope, cut, out)
    matrix, shift = _shortcut(weights, outer, settings.eps)
    n = len(x)
    return pixel_mix(made, torch.ones(n, len(shift)), shift.expand(n, -1), (x, matrix.t().expand(n, -1, -1)))


def train(
    x: Tensor, weights: BlockWeights, settings: BlockSettings, factor: Tensor | None = None
) -> tuple[Tensor, list[Moments]]:
    """The block with the batch's own statistics, which it returns: (N, H, W, C) → (N, H, W, out_channels).

    ``factor`` (N, out_channels) multiplies the result: a dropout of whole channels.
    """
    flat = [weights.norm, *weights.first, weights.inner, *weights.second, *weights[4:]]
    out, *statistics = _Block.apply(x, factor, settings, *flat)  # type: ignore[no-untyped-call]
    return out, [Moments(*pair) for pair in zip(statistics[::2], statistics[1::2], strict=True)]


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor | None, settings: BlockSettings, *flat: Tensor) -> Any:
        # What lies between the sweeps over pixels is small, and autograd knows its gradient: it is kept as a graph.
        leaves = [tensor.detach().requires_grad_() for tensor in flat]
        weights = _unflatten(leaves, len(settings.dilations))
        first, second = _layers(weights, settings)
        mean, covariance = (tensor.requires_grad_() for tensor in moments(x))
        with torch.enable_grad():
            norm = Moments(mean, covariance.diagonal())
            affine = _affine(weights.norm, norm, settings.eps)
            kernel = weights.shortcut.double()
            spread = ((kernel @ covariance) * kernel).sum(1)
            outer = Moments(kernel @ mean + weights.shortcut_bias.double(), spread)
            matrix, shift = _shortcut(weights, outer, settings.eps)
        y, found = first.forward(x, affine, settings.slope, moments=True)
        inner = Moments(*(tensor.requires_grad_() for tensor in found or ()))
        with torch.enable_grad():
            inner_affine = _affine(weights.inner, inner, settings.eps)
        out, _ = second.forward(y, inner_affine, settings.slope)
        scale = torch.ones(len(x), len(shift)) if factor is None else factor
        pixel_mix(out, scale, shift * scale, (x, matrix.t() * scale[:, None]))

        ctx.save_for_backward(x, y, factor)
        ctx.settings, ctx.leaves, ctx.layers = settings, leaves, (first, second)
        ctx.outer_graph = ((mean, covariance), affine, matrix, shift)
        ctx.inner_graph = (inner, inner_affine)
        statistics = [tensor.detach() for pair in (norm, inner, outer) for tensor in pair]
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, y, factor = ctx.saved_tensors
        slope, leaves, (first, second) = ctx.settings.slope, ctx.leaves, ctx.layers
        gradient = gradients[0].to(x.dtype).contiguous()
        pixels = x[..., 0].numel()
        for_leaves: dict[int, Tensor] = {}

        inner, inner_affine = ctx.inner_graph
        by_y, sums, by_second = second.backward(gradient, y, inner_affine, slope, factor)
        by_mean, by_variance = _backward(inner_affine, (sums[1], sums[0]), inner, leaves, for_leaves)
        factors = 2 * by_variance / pixels
        pixel_add(by_y, inner_affine.scale, y, factors, by_mean / pixels - factors * inner.mean)

        statistics, affine, matrix, shift = ctx.outer_graph
        for_input = ctx.needs_input_grad[0]
        by_x, sums, by_first = first.backward(by_y, x, affine, slope, for_input=for_input)
        del by_y
        scale = torch.ones(len(x), len(shift)) if factor is None else factor
        by_sums, by_products = pixel_products(x, gradient)
        by_matrix, by_shift = (by_products * scale[:, None]).sum(0).t(), (by_sums * scale).sum(0)
        roots, seeds = [matrix, shift], [by_matrix, by_shift]
        if affine is not None and sums is not None:
            roots, seeds = [*roots, affine.scale, affine.shift], [*seeds, sums[1], sums[0]]
        by_mean, by_covariance = _backward(roots, seeds, statistics, leaves, for_leaves)
        if for_input:
            by_square = (by_covariance + by_covariance.t()) / pixels
            n = len(x)
            pixel_mix(
                by_x,
                (torch.ones(x.shape[-1]) if affine is None else affine.scale).expand(n, -1),
                (by_mean / pixels - by_square @ statistics[0]).expand(n, -1),
                (x, by_square.expand(n, -1, -1)),
                (gradient, matrix * scale[:, :, None]),
            )
        for at, layer in ((1, by_first), (len(first.dilations) + 4, by_second)):
            for index, tensor in enumerate((*layer.depthwise, layer.pointwise, layer.bias)):
                for_leaves[at + index] = tensor
        return by_x, None, None, *(for_leaves.get(index) for index in range(len(leaves)))


def _backward(roots: Any, seeds: Any, statistics: Any, leaves: list[Tensor], found: dict[int, Tensor]) -> Any:
    """Gradients by the ``statistics`` through the small graph; those by the ``leaves`` it holds go to ``found``."""
    outputs = [seed.to(root.dtype) for root, seed in zip(roots, seeds, strict=True)]
    gradients = torch.autograd.grad(list(roots), [*statistics, *leaves], outputs, allow_unused=True)
    found.update((index, gradient) for index, gradient in enumerate(gradients[2:]) if gradient is not None)
    return gradients[:2]


def _affine(norm: Tensor, found: Moments, eps: float) -> Affine | None:
    if norm.numel() == 0:
        return None
    weight, bias = norm.double()
    scale = weight / (found.variance.double() + eps).sqrt()
    return Affine(scale.float(), (bias - found.mean.double() * scale).float())


def _shortcut(weights: BlockWeights, found: Moments, eps: float) -> tuple[Tensor, Tensor]:
    """The normalised 1×1 convolution as one matrix (out_channels, C) and one shift."""
    weight, bias = weights.outer.double()
    scale = weight / (found.variance.double() + eps).sqrt()
    shift = (weights.shortcut_bias.double() - found.mean.double()) * scale + bias
    return (weights.shortcut.double() * scale[:, None]).float(), shift.float()


def _layers(weights: BlockWeights, settings: BlockSettings) -> tuple[Separable, Separable]:
    def layer(tensors: tuple[Tensor, ...], *, shared: bool, summed: bool) -> Separable:
        *depthwise, pointwise, bias = (tensor.detach().contiguous() for tensor in tensors)
        return Separable(tuple(depthwise), pointwise, bias, settings.dilations, shared, summed)

    first = layer(weights.first, shared=True, summed=False)
    return first, layer(weights.second, shared=False, summed=settings.summed)


def _unflatten(flat: list[Tensor], branches: int) -> BlockWeights:
    norm, *rest = flat
    first, rest = tuple(rest[: branches + 2]), rest[branches + 2 :]
    inner, *rest = rest
    second, (shortcut, bias, outer) = tuple(rest[: branches + 2]), rest[branches + 2 :]
    return BlockWeights(norm, first, inner, second, shortcut, bias, outer)
