"""The residual block of the network: that of :mod:`rescrnet.nn.blocks`, through the compiled kernels where it can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescrnet.nn.blocks import SLOPE, ConvResBlock, SeparableConv2d
from rescrnet.ops import resblock
from rescrnet.ops.native import has_kernels
from rescrnet.ops.pixels import VECTOR
from rescrnet.ops.resblock import BlockSettings, BlockWeights, FoldedBlock, Moments
from rescrnet.ops.separable import NO_CUT, Cut, SeparableWeights, within_bounds


class FusedConvResBlock(ConvResBlock):
    """A :class:`ConvResBlock` computed in few sweeps over its pixels, to rounding: compiled where that fits, or plain.

    Streamed prediction runs it in two halves, each on a tile of its own, with :meth:`first` and :meth:`second`.

    Attributes:
        adapts: while it evaluates, move the running statistics towards those of what comes, by this share, and use
            them; for :mod:`rescrnet.nn.statistics`.
    """

    adapts: float | None = None

    def forward(self, x: Tensor, folded: FoldedBlock | None = None) -> Tensor:
        """(N, in, H, W) → (N, out_channels, H, W); channels last in memory where it is computed in sweeps.

        What :meth:`fold` made of images of this size may be given; else it is made here.
        """
        if self._sweeps_fit(x) and all(norm.training for norm in self._norms()):
            return self._train(x)
        if not self._infers_in_sweeps(x):
            return super().forward(x)
        if self.adapts is None:
            folded = folded or self._folded(x)
            result = folded.infer(self._pixels(x, folded.settings))
        else:
            settings = self._settings(compiled=self.infers_compiled(x))
            weights, pixels = self.block_weights(compiled=settings.compiled), self._pixels(x, settings)
            result, adapted = resblock.infer_adapting(pixels, weights, settings, self._running(), self.adapts)
            self._run_with(adapted)
        return self.drop_channels(result.permute(0, 3, 1, 2))

    def fold(self, x: Tensor) -> FoldedBlock | None:
        """The block for images as large as x (N, any, H, W), if it infers them in sweeps with its running statistics.

        Of all blocks before the first of them runs this takes less time than of each before its own: large images
        sweep Python's code and data out of the caches.
        """
        return self._folded(x) if self.adapts is None and self._infers_in_sweeps(x) else None

    def _folded(self, x: Tensor, *, halves: bool = False) -> FoldedBlock:
        settings = self._settings(compiled=self.infers_compiled(x))
        weights, whole = self.block_weights(compiled=settings.compiled), None if halves else x.permute(0, 2, 3, 1)
        return resblock.fold(weights, settings, self._running(), whole)

    def first(self, x: Tensor, cut: Cut = NO_CUT, out: Tensor | None = None) -> Tensor:
        """The first convolution of every branch: (N, in, H, W) → (N, inner_channels, H', W').

        The result is smaller by what is ``cut``, and written to ``out`` where that is given (channels last).
        """
        if not self._infers_in_sweeps(x):
            result = cut.crop(self.first_convolutions(x))
        else:
            folded = self._folded(x, halves=True)
            pixels = self._pixels(x, folded.settings)
            result = folded.infer_first(pixels, cut, _in_type_of(pixels, out)).permute(0, 3, 1, 2)
        return _written(result, out)

    def second(self, y: Tensor, x: Tensor, cut: Cut = NO_CUT, out: Tensor | None = None) -> Tensor:
        """The block, from what :meth:`first` gave, (N, inner_channels, H, W), and x at the pixels that are not cut."""
        if not self._infers_in_sweeps(x):
            result = self.shortcut(x) + cut.crop(self.second_convolutions(y))
        else:
            folded = self._folded(y, halves=True)
            pixels, shortcut = self._pixels(y, folded.settings), self._rows(x, folded.settings)
            result = folded.infer_second(pixels, shortcut, cut, _in_type_of(pixels, out)).permute(0, 3, 1, 2)
        return _written(result, out)

    def trains_compiled(self, x: Tensor) -> bool:
        """Whether the kernels can compute x in training, with its gradient and the batch's statistics."""
        return self._kernels_fit(x) and all(norm.training for norm in self._norms())

    def infers_compiled(self, x: Tensor) -> bool:
        """Whether the kernels can compute x with the running statistics, for which they know no gradient."""
        return self._kernels_fit(x) and self._infers_in_sweeps(x)

    def block_weights(self, *, compiled: bool) -> BlockWeights:
        """The weights, channels last; for the kernels with zeros for channels that fill up the input's."""
        spare = -self.shortcut.convolution.in_channels % VECTOR if compiled else 0
        branches, shortcut = self.branch_list, self.shortcut.convolution
        return BlockWeights(
            norm=_scales([] if self.norm is None else [self.norm], shortcut.weight),
            first=_separable([branch.first for branch in branches], spare),
            inner=_scales([branch.norm for branch in branches], shortcut.weight),
            second=_separable([branch.second for branch in branches]),
            shortcut=F.pad(shortcut.weight.flatten(1), (0, spare)),
            shortcut_bias=cast(Tensor, shortcut.bias),
            outer=_scales([self.shortcut.norm], shortcut.weight),
        )

    def _settings(self, *, compiled: bool) -> BlockSettings:
        return BlockSettings(self.dilations, self.merge == "sum", self.shortcut.norm.eps, SLOPE, compiled)

    def _running(self) -> tuple[Moments, Moments, Moments]:
        """The running statistics before, within and after the branches."""
        like = self.shortcut.convolution.weight
        places = [] if self.norm is None else [self.norm], [branch.norm for branch in self.branch_list]

        def side_by_side(norms: Sequence[nn.BatchNorm2d]) -> Moments:
            pairs = [torch.stack([cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)]) for norm in norms]
            return Moments(*torch.cat([like.new_empty(2, 0), *pairs], 1))

        return side_by_side(places[0]), side_by_side(places[1]), side_by_side([self.shortcut.norm])

    def _run_with(self, statistics: tuple[Moments, Moments, Moments]) -> None:
        """Other running statistics, as :meth:`_running` gives them."""
        before, inner, outer = statistics
        if self.norm is not None:
            self.norm.running_mean, self.norm.running_var = before
        for branch, *pair in zip(self.branch_list, *(torch.split(t, self.filters) for t in inner), strict=True):
            branch.norm.running_mean, branch.norm.running_var = pair
        self.shortcut.norm.running_mean, self.shortcut.norm.running_var = outer

    def _norms(self) -> list[nn.BatchNorm2d]:
        norms = [self.norm, *(branch.norm for branch in self.branch_list), self.shortcut.norm]
        return [norm for norm in norms if norm is not None]

    def _sweeps_fit(self, x: Tensor) -> bool:
        mixed = x.device.type != "cpu" and torch.is_autocast_enabled(x.device.type)
        return x.numel() > 0 and not mixed and not torch.compiler.is_compiling()

    def _infers_in_sweeps(self, x: Tensor) -> bool:
        needs_gradient = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *self.parameters()))
        return self._sweeps_fit(x) and not needs_gradient and not any(norm.training for norm in self._norms())

    def _kernels_fit(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and next(self.parameters()).dtype == torch.float32
            and self.filters % VECTOR == 0
            and self._sweeps_fit(x)
            and has_kernels()
            and within_bounds([branch.first.depthwise.shape[-1] for branch in self.branch_list], self.dilations)
            and (x.dtype == torch.float32 or x.dtype == _precision())
        )

    def _train(self, x: Tensor) -> Tensor:
        factors, count = self.dropout_factors(len(x)), x[:, 0].numel()
        settings = self._settings(compiled=self.trains_compiled(x))
        weights = self.block_weights(compiled=settings.compiled)
        out, moments = resblock.train(self._pixels(x, settings), weights, settings, factors)
        if self.norm is not None:
            _update(self.norm, *moments.norm, count)
        inner = zip(*(torch.split(tensor, self.filters) for tensor in moments.inner), strict=True)
        for branch, (mean, variance) in zip(self.branch_list, inner, strict=True):
            _update(branch.norm, mean, variance, count)
        _update(self.shortcut.norm, *moments.outer, count)
        return out.permute(0, 3, 1, 2)

    def _pixels(self, x: Tensor, settings: BlockSettings) -> Tensor:
        """(N, C, H, W) → (N, H, W, C'), contiguous; for the kernels with zeros as channels up to the next VECTOR."""
        dtype = _precision() if settings.compiled else self.shortcut.convolution.weight.dtype
        pixels, spare = x.permute(0, 2, 3, 1).to(dtype), -x.shape[1] % VECTOR if settings.compiled else 0
        return (F.pad(pixels, (0, spare)) if spare else pixels).contiguous()

    def _rows(self, x: Tensor, settings: BlockSettings) -> Tensor:
        """As :meth:`_pixels`, but a part of a larger image is not copied if its rows are contiguous."""
        pixels = x.permute(0, 2, 3, 1)
        same = pixels.dtype == (_precision() if settings.compiled else self.shortcut.convolution.weight.dtype)
        usable = same and x.shape[1] % VECTOR == 0 and pixels.stride()[2:] == (x.shape[1], 1)
        return pixels if usable else self._pixels(x, settings)


def _precision() -> torch.dtype:
    """Of the images. Float32 under autocast too, if the kernels have no bfloat16: PyTorch's is several times slower."""
    mixed = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return torch.bfloat16 if mixed and has_kernels(torch.bfloat16) else torch.float32


def _in_type_of(pixels: Tensor, out: Tensor | None) -> Tensor | None:
    """Where the result is written, (N, H, W, C), if it is of the type of the images."""
    return None if out is None or out.dtype != pixels.dtype else out.permute(0, 2, 3, 1)


def _written(result: Tensor, out: Tensor | None) -> Tensor:
    """The result, in ``out`` if that is given."""
    return result if out is None or result.data_ptr() == out.data_ptr() else out.copy_(result)


def _separable(layers: Sequence[SeparableConv2d], spare: int = 0) -> SeparableWeights:
    return SeparableWeights(
        tuple(F.pad(layer.depthwise.squeeze(1).permute(1, 2, 0), (0, spare)) for layer in layers),
        F.pad(torch.stack([layer.pointwise.weight.flatten(1).t() for layer in layers]), (0, 0, 0, spare)),
        torch.stack([cast(Tensor, layer.pointwise.bias) for layer in layers]),
    )


def _scales(norms: Sequence[nn.BatchNorm2d], like: Tensor) -> Tensor:
    """γ and β of normalisations side by side, (2, C); (2, 0) of none."""
    return torch.cat([like.new_empty(2, 0), *(torch.stack([norm.weight, norm.bias]) for norm in norms)], 1)


@torch.no_grad()
def _update(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """The running statistics, as :class:`torch.nn.BatchNorm2d` keeps them."""
    batches, running_mean, running_variance = norm.num_batches_tracked, norm.running_mean, norm.running_var
    if batches is None or running_mean is None or running_variance is None:
        return
    batches += 1
    momentum = 1 / float(batches) if norm.momentum is None else norm.momentum
    # The kernels fill up the channels of the input.
    mean, variance = mean[: norm.num_features], variance[: norm.num_features]
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_variance.lerp_((variance * (count / max(1, count - 1))).to(running_variance.dtype), momentum)
