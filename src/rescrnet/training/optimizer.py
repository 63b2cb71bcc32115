"""The optimiser of the paper."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_EPSILON, _BETA = 1e-7, 0.999


def adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    """Adam as Keras computes it (Kingma and Ba 2015, arXiv:1412.6980, the last form of section 2).

    Keras adds epsilon before the bias correction of the second moment, PyTorch after it. So PyTorch's epsilon is scaled
    step by step; early in training, where many gradients are as small as 1e-7, that makes a difference.
    """
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, _BETA))
    optimizer.register_step_pre_hook(_scale_epsilon)
    return optimizer


def _scale_epsilon(optimizer: Any, args: Any, kwargs: Any) -> None:
    steps = (int(state["step"]) for state in optimizer.state.values())
    correction = 1 - _BETA ** (next(steps, 0) + 1)
    for group in optimizer.param_groups:
        group["eps"] = _EPSILON / correction**0.5
