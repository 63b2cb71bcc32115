"""The statistics that batch normalisation uses in prediction: stored ones, or those of the image itself.

A short training sees one patch a step and normalises it with its own mean and variance, layer by layer. What it learns
so is instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022), and a prediction with stored statistics is another
network. With ``network.image_statistics`` each image is predicted with its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rescrnet.nn.build import Network
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.unet import UNet
from rescrnet.ops.buffers import release

SAMPLED = 2**18  # pixels of the blocks that an image's statistics are taken from at most
GRID = 4  # windows of a larger image down and across
SIDE = 128  # of a window, pixels of the blocks; 4 · 4 · 128² = 2^18
_SMALL = 32  # pixels
_one_at_a_time = threading.RLock()  # threads that share a network


def uses_image_statistics(network: Network) -> bool:
    """Whether a network is to predict each image with the statistics of that image."""
    return isinstance(network, ResCRNet | UNet) and network.config.image_statistics


@contextmanager
def own_statistics(network: nn.Module) -> Iterator[None]:
    """Within it, a network in evaluation mode normalises each batch with the batch's own statistics, keeping none."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with _one_at_a_time:
        kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
            norm.num_batches_tracked = None
            norm.train()
        try:
            yield
        finally:
            for norm, (momentum, batches) in zip(norms, kept, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, batches
                norm.eval()


def predict_logits(network: Network, x: Tensor) -> Tensor:
    """Logits of one whole image (1, C, H, W), as its network is meant to predict it; the network evaluates."""
    if not uses_image_statistics(network):
        logits: Tensor = network(x)
        return logits
    if isinstance(network, ResCRNet):
        windows = sample_windows((x.shape[2], x.shape[3]), network.config.space_to_depth)
        if len(windows) > 1:
            with taking_statistics_of(network, torch.cat([x[:, :, y0:y1, x0:x1] for y0, y1, x0, x1 in windows])):
                of_windows: Tensor = network(x)
                return of_windows
    # PyTorch has no statistics of single values, which the deepest level of a U-Net sees of small images.
    twice = x if x.shape[2] * x.shape[3] > _SMALL**2 else x.repeat(2, 1, 1, 1)
    with own_statistics(network):
        return torch.narrow(network(twice), 0, 0, 1)


@contextmanager
def taking_statistics_of(network: ResCRNet, sample: Tensor) -> Iterator[None]:
    """Within it, the stored statistics are those of ``sample`` (N, C, H, W), all of its pixels together."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with _one_at_a_time:
        kept = [(norm.running_mean, norm.running_var) for norm in norms]
        for norm, (mean, variance) in zip(norms, kept, strict=True):
            norm.running_mean = None if mean is None else mean.clone()
            norm.running_var = None if variance is None else variance.clone()
        try:
            take_statistics(network, sample)
            release()  # its buffers fit nothing that follows, and would count in a prediction's memory
            yield
        finally:
            for norm, (mean, variance) in zip(norms, kept, strict=True):
                norm.running_mean, norm.running_var = mean, variance


@torch.no_grad()
def take_statistics(network: ResCRNet, sample: Tensor) -> None:
    """Replace the stored statistics by those of ``sample`` (N, C, H, W), as :func:`own_statistics` would use them."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    with own_statistics(network):
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 1.0, torch.zeros((), dtype=torch.long)
        features = network.features(sample if sample[0, 0].numel() > _SMALL**2 else sample.repeat(2, 1, 1, 1))
    values = features[:, 0].numel()
    for norm in norms:
        if norm.running_var is not None:  # which PyTorch keeps without bias, but does not use so
            norm.running_var *= (values - 1) / values


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
