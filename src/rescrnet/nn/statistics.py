"""The statistics that batch normalisation uses in prediction: stored ones, those of the image itself, or between them.

A short training sees one patch a step and normalises it with its own mean and variance, layer by layer. What it learns
so is instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022), and a prediction with stored statistics is another
network. But an image may look unlike all patches, with fewer objects in it, say. ``network.image_statistics`` is the
share of the image's own statistics; the rest is what training stored, as Schneider et al. 2020 (arXiv:2006.16971) adapt
networks to corrupted images. The stem of Res-CR-Net, which sees the light itself, has a share of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from rescrnet.nn.build import Network
from rescrnet.nn.fused import FusedConvResBlock
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.unet import UNet
from rescrnet.ops.buffers import release
from rescrnet.ops.resblock import Moments, mixed

SAMPLED = 2**18  # pixels of the blocks that an image's statistics are taken from at most
GRID = 4  # windows of a larger image down and across
SIDE = 128  # of a window, pixels of the blocks; 4 · 4 · 128² = 2^18
_one_at_a_time = threading.RLock()  # threads that share a network


def share_of_image(network: Network) -> float:
    """The share of the image's own statistics with which a network is to predict it, but for its stem."""
    return network.config.image_statistics if isinstance(network, ResCRNet | UNet) else 0.0


def predict_logits(network: Network, x: Tensor) -> Tensor:
    """Logits of one whole image (1, C, H, W), as its network is meant to predict it; the network evaluates."""
    share = share_of_image(network)
    with ExitStack() as stack:
        windows = []
        if share and isinstance(network, ResCRNet):
            windows = sample_windows((x.shape[2], x.shape[3]), network.config.space_to_depth)
        if len(windows) > 1:
            sample = torch.cat([x[:, :, y0:y1, x0:x1] for y0, y1, x0, x1 in windows])
            stack.enter_context(taking_statistics_of(network, sample))  # type: ignore[arg-type]  # only one has windows
        elif share:
            stack.enter_context(_keeping(network))
            stack.enter_context(_adapting(network))
        logits: Tensor = network(x)
        return logits


@contextmanager
def taking_statistics_of(network: ResCRNet, sample: Tensor) -> Iterator[None]:
    """Within it, the stored statistics are those to predict an image with: ``sample`` (N, C, H, W) is a part of it.

    All pixels of the sample together are taken for its own.
    """
    with _keeping(network):
        with torch.no_grad(), _adapting(network):
            network.features(sample)
        release()  # its buffers fit nothing that follows, and would count in a prediction's memory
        yield


@contextmanager
def _keeping(network: nn.Module) -> Iterator[None]:
    """After it, a network has the stored statistics that it had before."""
    with _one_at_a_time:
        kept = [(norm, norm.running_mean, norm.running_var) for norm in _norms(network)]
        try:
            yield
        finally:
            for norm, mean, variance in kept:
                norm.running_mean, norm.running_var = mean, variance


@contextmanager
def _adapting(network: Network) -> Iterator[None]:
    """Within it, each layer of an evaluating network moves its stored statistics towards those of what comes, once."""

    def adapt(norm: nn.Module, inputs: tuple[Tensor, ...], share: float) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), unbiased=False)
        stored = Moments(norm.running_mean, norm.running_var)  # type: ignore[arg-type]  # buffers are untyped
        norm.running_mean, norm.running_var = mixed(stored, Moments(mean, variance), share)

    parts, hooks = _parts(network), []
    for part, share in parts:
        # A block in sweeps does not call its normalisations.
        hooks += [norm.register_forward_pre_hook(partial(adapt, share=share)) for norm in _norms(part)]
        if isinstance(part, FusedConvResBlock):
            part.adapts = share
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for part, _ in parts:
            if isinstance(part, FusedConvResBlock):
                part.adapts = None


def _parts(network: Network) -> list[tuple[nn.Module, float]]:
    """Whatever holds normalisations, and the share of the image's own statistics in it."""
    if isinstance(network, ResCRNet):
        return list(zip(network.conv_blocks, network.config.statistics_per_block, strict=True))
    return [(network, share_of_image(network))]


def _norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def sample_windows(shape: tuple[int, int], side: int) -> list[tuple[int, int, int, int]]:
    """The windows (y0, y1, x0, x1) that the statistics of an image of ``shape`` are taken from: all of it, or 16.

    They are spread evenly; each begins where a square of ``side`` pixels does.
    """
    if shape[0] * shape[1] <= SAMPLED * side**2:
        return [(0, shape[0], 0, shape[1])]
    height, width = (min(length, SIDE * side) for length in shape)
    tops, lefts = (
        sorted({(length - extent) * index // (GRID - 1) // side * side for index in range(GRID)})
        for length, extent in ((shape[0], height), (shape[1], width))
    )
    return [(top, top + height, left, left + width) for top in tops for left in lefts]
