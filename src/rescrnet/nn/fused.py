"""How a residual block of the network runs through the compiled kernels, where it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescrnet.ops.resblock import BlockSettings, BlockWeights, Moments, infer_first, infer_second
from rescrnet.ops.resblock import train as train_block
from rescrnet.ops.separable import VECTOR, Cut, has_kernels

if TYPE_CHECKING:
    from rescrnet.nn.blocks import ConvResBlock, SeparableConv2d

    Norms = list[nn.BatchNorm2d]


def trains(block: ConvResBlock, x: Tensor) -> bool:
    """Whether :func:`train` can do what ``block`` is asked to."""
    return _applies(block, x) and all(norm.training for norms in _norms(block) for norm in norms)


def infers(block: ConvResBlock, x: Tensor) -> bool:
    """Whether :func:`first` and :func:`second` can do what ``block`` is asked to."""
    needs_gradient = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in block.parameters()))
    return _applies(block, x) and not needs_gradient and not any(n.training for norms in _norms(block) for n in norms)


def _applies(block: ConvResBlock, x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and next(block.parameters()).dtype == torch.float32
        and block.filters % VECTOR == 0
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and has_kernels()
        and (x.dtype == torch.float32 or x.dtype == _precision())
    )


def _precision() -> torch.dtype:
    """Of the images. Float32 under autocast too, if the kernels have no bfloat16: PyTorch's is several times slower."""
    mixed = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return torch.bfloat16 if mixed and has_kernels(torch.bfloat16) else torch.float32


def train(block: ConvResBlock, x: Tensor, kept: Tensor | None) -> Tensor:
    """What ``block`` makes of x with the batch's statistics, (N, C, H, W) → (N, out_channels, H, W), channels last."""
    spare = -x.shape[1] % VECTOR
    out, found = train_block(_pixels(x), _weights(block, spare), _settings(block), kept)
    for norms, (means, variances) in zip(_norms(block), found, strict=True):
        for index, norm in enumerate(norms):
            share = slice(index * norm.num_features, (index + 1) * norm.num_features)
            _update(norm, means[share], variances[share], x[:, 0].numel())
    return out.permute(0, 3, 1, 2)


def first(block: ConvResBlock, x: Tensor, cut: Cut, out: Tensor | None) -> Tensor:
    """:meth:`ConvResBlock.first`."""
    weights, running = _weights(block, -x.shape[1] % VECTOR), _running(_norms(block)[0])
    made = infer_first(_pixels(x), weights, _settings(block), running, cut, _room(out)).permute(0, 3, 1, 2)
    return made if out is None or made.dtype == out.dtype else out.copy_(made)


def second(block: ConvResBlock, y: Tensor, x: Tensor, cut: Cut, out: Tensor | None) -> Tensor:
    """:meth:`ConvResBlock.second`."""
    weights, (_, inner, after) = _weights(block, -x.shape[1] % VECTOR), _norms(block)
    running = _running(inner), _running(after)
    made = infer_second(_pixels(y), _pixels(x, whole=False), weights, _settings(block), running, cut, _room(out))
    made = made.permute(0, 3, 1, 2)
    return made if out is None or made.dtype == out.dtype else out.copy_(made)


def _pixels(x: Tensor, *, whole: bool = True) -> Tensor:
    """(N, H, W, C) with channels by the vector; contiguous, or only its rows if it need not be ``whole``."""
    spare = -x.shape[1] % VECTOR
    pixels = x.permute(0, 2, 3, 1).to(_precision())
    if spare:
        return F.pad(pixels, (0, spare)).contiguous()
    return pixels if not whole and pixels.stride()[2:] == (x.shape[1], 1) else pixels.contiguous()


def _room(out: Tensor | None) -> Tensor | None:
    """Where the kernels write, if it is of their type."""
    return None if out is None or out.dtype != _precision() else out.permute(0, 2, 3, 1)


def _settings(block: ConvResBlock) -> BlockSettings:
    return BlockSettings(block.dilations, block.merge == "sum", _norms(block)[2][0].eps, block.slope)


def _branches(block: ConvResBlock) -> list[nn.Sequential]:
    return cast("list[nn.Sequential]", list(block.branches))


def _norms(block: ConvResBlock) -> tuple[Norms, Norms, Norms]:
    """The normalisations before, in and after the branches; in the stem there is none before."""
    inner = [branch[1] for branch in _branches(block)]
    return tuple(cast("Norms", norms) for norms in (list(block.activation.children())[:1], inner, [block.shortcut[1]]))  # type: ignore[return-value]


def _weights(block: ConvResBlock, spare: int) -> BlockWeights:
    """As the kernels read them: channels last, and ``spare`` channels of zeros more where the input has them."""
    before, inner, after = (_scales(norms) for norms in _norms(block))
    first, second = (cast("list[SeparableConv2d]", [b[place] for b in _branches(block)]) for place in (0, 3))
    shortcut = cast(nn.Conv2d, block.shortcut[0])
    weight, bias = F.pad(shortcut.weight.flatten(1), (0, spare)), cast(Tensor, shortcut.bias)
    return BlockWeights(before, _separable(first, spare), inner, _separable(second, 0), weight, bias, after)


def _separable(layers: list[SeparableConv2d], spare: int) -> tuple[Tensor, ...]:
    depthwise = [F.pad(layer.depthwise.squeeze(1).permute(1, 2, 0), (0, spare)) for layer in layers]
    pointwise = torch.stack([layer.pointwise.weight.flatten(1).t() for layer in layers])
    bias = torch.stack([cast(Tensor, layer.pointwise.bias) for layer in layers])
    return *depthwise, F.pad(pointwise, (0, 0, 0, spare)), bias


def _scales(norms: Norms) -> Tensor:
    return torch.cat([torch.empty(2, 0), *(torch.stack([norm.weight, norm.bias]) for norm in norms)], 1)


def _running(norms: Norms) -> Moments:
    pairs = [torch.stack([cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)]) for norm in norms]
    return Moments(*torch.cat([torch.empty(2, 0), *pairs], 1))


@torch.no_grad()
def _update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """The running statistics, as :class:`torch.nn.BatchNorm2d` keeps them."""
    batches, running_mean, running_variance = norm.num_batches_tracked, norm.running_mean, norm.running_var
    if batches is None or running_mean is None or running_variance is None:
        return
    batches += 1
    momentum = 1 / float(batches) if norm.momentum is None else norm.momentum
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_variance.lerp_((variance * (count / max(1, count - 1))).to(running_variance.dtype), momentum)
