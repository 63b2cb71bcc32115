"""Batch-norm running statistics, recomputed for the weights as they are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from rescrnet.nn.build import Network

_REMEMBERED = 100  # steps, by the running statistics


@torch.no_grad()
def recalibrate(network: Network, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics by their mean over ``batches``, without dropout. No weight changes.

    With the paper's momentum of 0.99 the statistics lag a hundred steps behind the weights, and a validation early in
    a run measures the lag. The network is left in evaluation mode.

    Args:
        network: its batch normalisation is recalibrated in place.
        batches: images (N, C, H, W) like those of training.
    """
    network.eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
        norm.train()
    for batch in batches:
        network.features(batch)  # type: ignore[operator]  # several networks are not trained as one
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def remember_training_alone(network: nn.Module, done: int) -> None:
    """Before the step after ``done`` ones: the running statistics shall hold nothing from before the first.

    They are the mean over all steps while these are few, and run with the paper's momentum from then on. So they can be
    used as they are, where to recompute them would cost a tenth of a short training.
    """
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = 1 / min(done + 1, _REMEMBERED)
