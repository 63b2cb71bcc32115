"""A residual block of separable atrous convolutions in few sweeps over its pixels, compiled or in PyTorch.

The same numbers as :class:`rescrnet.nn.blocks.ConvResBlock` spells out. The compiled kernels are for a CPU, for images
of float32 or bfloat16 and weights of float32; PyTorch takes any type on any device. For the gradient nothing is stored
but the input and what the first convolutions give: normalisation and activation are computed where they are read, and
the normalised shortcut, affine in the input, follows from its mean and covariance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from itertools import islice
from types import ModuleType
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rescrnet.ops import pixels as pixels_compiled
from rescrnet.ops import pixels_plain
from rescrnet.ops.pixels_plain import wide
from rescrnet.ops.separable import NO_CUT, Affine, Cut, Separable, SeparableWeights
from rescrnet.ops.separable_plain import PlainSeparable

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _without_autocast(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same, computed in the type of the images, whatever is cast around it."""

    @wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return wrapped


class Moments(NamedTuple):
    """Mean and variance (C) of what a normalisation reads."""

    mean: Tensor
    variance: Tensor


class BlockMoments(NamedTuple):
    """Of the input, of what the first convolutions give, and of the shortcut: what a block's normalisations read."""

    norm: Moments
    inner: Moments
    outer: Moments


class BlockWeights(NamedTuple):
    """The weights of a block of B branches with F filters, or their gradients.

    Attributes:
        norm: γ and β before the branches, (2, C); in the stem, whose branches read the input as it is, (2, 0).
        first: the first convolutions of the branches.
        inner: γ and β between the convolutions, (2, B·F).
        second: the second convolutions.
        shortcut: (out_channels, C).
        shortcut_bias: (out_channels).
        outer: γ and β after the shortcut, (2, out_channels).
    """

    norm: Tensor
    first: SeparableWeights
    inner: Tensor
    second: SeparableWeights
    shortcut: Tensor
    shortcut_bias: Tensor
    outer: Tensor

    def flatten(self) -> list[Tensor]:
        """All tensors in a row, as autograd takes them."""
        convolutions = [[*layer.depthwise, layer.pointwise, layer.bias] for layer in (self.first, self.second)]
        first, second = convolutions
        return [self.norm, *first, self.inner, *second, self.shortcut, self.shortcut_bias, self.outer]

    @classmethod
    def unflatten(cls, tensors: Iterable[Tensor], branches: int) -> Self:
        """The inverse of :meth:`flatten`."""
        remaining = iter(tensors)

        def convolution() -> SeparableWeights:
            return SeparableWeights(tuple(islice(remaining, branches)), next(remaining), next(remaining))

        norm, first, inner, second = next(remaining), convolution(), next(remaining), convolution()
        return cls(norm, first, inner, second, *remaining)


@dataclass(frozen=True)
class BlockSettings:
    """What is no weight: the dilations, whether the branches are summed, the constants, and what computes it."""

    dilations: tuple[int, ...]
    summed: bool
    eps: float
    slope: float
    compiled: bool

    @property
    def sweeps(self) -> ModuleType:
        """What maps and sums pixels."""
        return pixels_compiled if self.compiled else pixels_plain


@dataclass(frozen=True)
class FoldedBlock:
    """The block with running statistics, for inference: each normalisation is an affine map of channels.

    Attributes:
        first, second: the convolutions.
        before: the normalisation before the branches; none in the stem.
        inner: that between the convolutions.
        matrix, shift: the normalised shortcut, (C, out_channels) and (out_channels).
        settings: of the block.
    """

    first: Separable
    second: Separable
    before: Affine | None
    inner: Affine
    matrix: Tensor
    shift: Tensor
    settings: BlockSettings

    @_without_autocast
    def infer(self, x: Tensor) -> Tensor:
        """The block, without gradient: (N, H, W, C) → (N, H, W, out_channels)."""
        return self.infer_second(self.infer_first(x), x)

    @_without_autocast
    def infer_first(self, x: Tensor, cut: Cut = NO_CUT, out: Tensor | None = None) -> Tensor:
        """The first convolutions: (N, H, W, C) → (N, H', W', B·F)."""
        return self.first.forward(x, self.before, self.settings.slope, cut, out)

    @_without_autocast
    def infer_second(self, y: Tensor, x: Tensor, cut: Cut = NO_CUT, out: Tensor | None = None) -> Tensor:
        """The block from what its first convolutions made, (N, H, W, B·F), and its input at the pixels wanted, x."""
        branches = self.second.forward(y, self.inner, self.settings.slope, cut, out)
        n, (scale, shift) = len(x), (torch.ones_like(self.shift), self.shift)
        arguments = scale.expand(n, -1), shift.expand(n, -1), (x, self.matrix.expand(n, -1, -1))
        return self.settings.sweeps.pixel_affine(branches, *arguments)  # type: ignore[no-any-return]


@_without_autocast
def fold(
    weights: BlockWeights,
    settings: BlockSettings,
    running: tuple[Moments, Moments, Moments],
    whole: Tensor | None = None,
) -> FoldedBlock:
    """The block for inference, with the running statistics before, within and after its branches.

    It reads ``whole`` images (N, H, W, C), or images of that size; without, parts of images in two halves.
    """
    before, inner, outer = running
    matrix, shift = _shortcut(weights, outer, settings.eps)
    return FoldedBlock(
        *_layers(weights, settings, whole),
        _affine(weights.norm, before, settings.eps) if weights.norm.numel() else None,
        _affine(weights.inner, inner, settings.eps),
        matrix.t().contiguous(),
        shift,
        settings,
    )


@_without_autocast
def infer_adapting(
    x: Tensor, weights: BlockWeights, settings: BlockSettings, norms: tuple[Moments, Moments, Moments], share: float
) -> tuple[Tensor, tuple[Moments, Moments, Moments]]:
    """The block for inference, its running statistics moved towards the batch's own by ``share`` first; with them."""
    before, inner, outer = norms
    first, second = _layers(weights, settings, x)
    mean, covariance = settings.sweeps.moments(x)
    affine = None
    if weights.norm.numel():
        before = mixed(before, Moments(mean, covariance.diagonal()), share)
        affine = _affine(weights.norm, before, settings.eps)
    outer = mixed(outer, _of_shortcut(weights, mean, covariance), share)
    y, own = first.forward_with_moments(x, affine, settings.slope)
    inner = mixed(inner, Moments(*own), share)
    matrix, shift = _shortcut(weights, outer, settings.eps)
    inner_affine = _affine(weights.inner, inner, settings.eps)
    folded = FoldedBlock(first, second, affine, inner_affine, matrix.t(), shift, settings)
    return folded.infer_second(y, x), (before, inner, outer)


@_without_autocast
def train(
    x: Tensor, weights: BlockWeights, settings: BlockSettings, factor: Tensor | None = None
) -> tuple[Tensor, BlockMoments]:
    """The block with the batch's own statistics, which it returns: (N, H, W, C) → (N, H, W, out_channels).

    ``factor`` (N, out_channels) multiplies the result: a dropout of whole channels.
    """
    out, *statistics = _Block.apply(x, factor, settings, *weights.flatten())  # type: ignore[no-untyped-call]
    pairs = zip(statistics[::2], statistics[1::2], strict=True)
    return out, BlockMoments(*(Moments(mean, variance) for mean, variance in pairs))


class _OuterGraph(NamedTuple):
    """What follows from the moments of the input, with its graph: the first affine map, and the shortcut's matrix."""

    mean: Tensor
    covariance: Tensor
    affine: Affine | None
    matrix: Tensor
    shift: Tensor


class _InnerGraph(NamedTuple):
    """What follows from the moments of the first convolutions' result, with its graph."""

    moments: Moments
    affine: Affine


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor | None, settings: BlockSettings, *flat: Tensor) -> Any:
        # What lies between the sweeps over pixels is small, and autograd knows its gradient: it is kept as a graph.
        leaves = (tensor.detach().requires_grad_() for tensor in flat)
        weights = BlockWeights.unflatten(leaves, len(settings.dilations))
        first, second = _layers(weights, settings, x)
        mean, covariance = (tensor.requires_grad_() for tensor in settings.sweeps.moments(x))
        with torch.enable_grad():
            norm = Moments(mean, covariance.diagonal())
            affine = _affine(weights.norm, norm, settings.eps) if weights.norm.numel() else None
            outer = _of_shortcut(weights, mean, covariance)
            matrix, shift = _shortcut(weights, outer, settings.eps)
        y, (inner_mean, inner_variance) = first.forward_with_moments(x, affine, settings.slope)
        inner = Moments(inner_mean.requires_grad_(), inner_variance.requires_grad_())
        with torch.enable_grad():
            inner_affine = _affine(weights.inner, inner, settings.eps)
        out = second.forward(y, inner_affine, settings.slope)
        scale = torch.ones_like(shift).expand(len(x), -1) if factor is None else factor
        settings.sweeps.pixel_affine(out, scale, shift * scale, (x, matrix.t() * scale[:, None]))

        ctx.save_for_backward(x, y, factor)
        ctx.settings, ctx.weights, ctx.layers = settings, weights, (first, second)
        ctx.outer = _OuterGraph(mean, covariance, affine, matrix, shift)
        ctx.inner = _InnerGraph(inner, inner_affine)
        statistics = [tensor.detach() for pair in (norm, inner, outer) for tensor in pair]
        ctx.mark_non_differentiable(*statistics)
        return out, *statistics

    @staticmethod
    @once_differentiable
    @_without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, y, factor = ctx.saved_tensors
        slope, sweeps = ctx.settings.slope, ctx.settings.sweeps
        weights, (first, second) = ctx.weights, ctx.layers
        outer, inner = ctx.outer, ctx.inner
        grad_out = gradients[0].to(x.dtype).contiguous()
        pixels = x[..., 0].numel()

        # Through the second convolutions and the normalisation before them.
        grad_y, grad_affine, grad_second = second.backward(grad_out, y, inner.affine, slope, factor)
        grad_mean, grad_variance, grad_inner = _gradients(
            [inner.affine.scale, inner.affine.shift],
            [grad_affine.scale, grad_affine.shift],
            [inner.moments.mean, inner.moments.variance, weights.inner],
        )
        spread = 2 * grad_variance / pixels
        second.add(grad_y, inner.affine.scale, y, spread, grad_mean / pixels - spread * inner.moments.mean)

        # Through the first convolutions, beside them through the shortcut, and the normalisations of both.
        for_input = ctx.needs_input_grad[0] or outer.affine is not None  # the norm's own gradient comes with it
        grad_x, grad_affine, grad_first = first.backward(grad_y, x, outer.affine, slope, for_input=for_input)
        del grad_y
        scale = torch.ones_like(outer.shift).expand(len(x), -1) if factor is None else factor
        sums, products = sweeps.pixel_products(x, grad_out)
        outputs = [outer.matrix, outer.shift]
        seeds = [(products * scale[:, None]).sum(0).t(), (sums * scale).sum(0)]
        if outer.affine is not None and grad_affine is not None:
            outputs += [outer.affine.scale, outer.affine.shift]
            seeds += [grad_affine.scale, grad_affine.shift]
        grad_mean, grad_covariance, grad_norm, grad_shortcut, grad_bias, grad_outer = _gradients(
            outputs,
            seeds,
            [outer.mean, outer.covariance, weights.norm, weights.shortcut, weights.shortcut_bias, weights.outer],
        )
        if for_input:
            spread = (grad_covariance + grad_covariance.t()) / pixels
            n = len(x)
            sweeps.pixel_affine(
                grad_x,
                (x.new_ones(x.shape[-1]) if outer.affine is None else outer.affine.scale).expand(n, -1),
                (grad_mean / pixels - spread @ outer.mean).expand(n, -1),
                (x, spread.expand(n, -1, -1)),
                (grad_out, outer.matrix * scale[:, :, None]),
            )
        grad_weights = BlockWeights(
            grad_norm, grad_first, grad_inner, grad_second, grad_shortcut, grad_bias, grad_outer
        )
        return grad_x, None, None, *grad_weights.flatten()


def _gradients(outputs: list[Tensor], seeds: list[Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradients by ``inputs`` through a small graph, from those by its ``outputs``; none of what is not in it."""
    seeds = [seed.to(output.dtype) for output, seed in zip(outputs, seeds, strict=True)]
    return torch.autograd.grad(outputs, inputs, seeds, allow_unused=True)


def mixed(stored: Moments, own: Moments, share: float) -> Moments:
    """Statistics that lie between two, by ``share`` of the way to ``own``."""
    return Moments(
        *(torch.lerp(from_.to(to.dtype), to, share).to(from_.dtype) for from_, to in zip(stored, own, strict=True))
    )


def _of_shortcut(weights: BlockWeights, mean: Tensor, covariance: Tensor) -> Moments:
    """What the shortcut's convolution makes of pixels with these."""
    kernel = wide(weights.shortcut)
    spread = ((kernel @ covariance) * kernel).sum(1)
    return Moments(kernel @ mean + wide(weights.shortcut_bias), spread)


def _affine(norm: Tensor, moments: Moments, eps: float) -> Affine:
    weight, bias = wide(norm)
    scale = weight / (wide(moments.variance) + eps).sqrt()
    return Affine(scale.to(norm.dtype), (bias - wide(moments.mean) * scale).to(norm.dtype))


def _shortcut(weights: BlockWeights, moments: Moments, eps: float) -> tuple[Tensor, Tensor]:
    """The normalised 1×1 convolution as one matrix (out_channels, C) and one shift."""
    weight, bias = wide(weights.outer)
    scale = weight / (wide(moments.variance) + eps).sqrt()
    shift = (wide(weights.shortcut_bias) - wide(moments.mean)) * scale + bias
    dtype = weights.shortcut.dtype
    return (wide(weights.shortcut) * scale[:, None]).to(dtype), shift.to(dtype)


def _layers(weights: BlockWeights, settings: BlockSettings, whole: Tensor | None = None) -> tuple[Separable, Separable]:
    """The convolutions, the second of which read all that the first make of the ``whole`` images, or parts of it."""

    def layer(own: SeparableWeights, *, shared: bool, summed: bool) -> Separable:
        depthwise = tuple(kernel.detach().contiguous() for kernel in own.depthwise)
        arguments = depthwise, own.pointwise.detach().contiguous(), own.bias.detach().contiguous()
        if settings.compiled:
            return Separable(*arguments, settings.dilations, shared, summed)
        between = None if whole is None else (len(whole), whole.shape[1], whole.shape[2])
        return PlainSeparable(*arguments, settings.dilations, shared, summed, between)

    first = layer(weights.first, shared=True, summed=False)
    return first, layer(weights.second, shared=False, summed=settings.summed)
