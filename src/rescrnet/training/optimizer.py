"""The optimiser of the paper, and courses of its learning rate."""

from collections.abc import Callable, Iterable
from math import cos, pi
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


_WARM_UP, _LEAST = 0.04, 0.01


def _cosine(done: float) -> float:
    """A short warm-up, then down along a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    fall = (1 + cos(pi * max(0.0, done - _WARM_UP) / (1 - _WARM_UP))) / 2
    return min(1.0, done / _WARM_UP) * (_LEAST + (1 - _LEAST) * fall)


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": lambda done: 1.0, "cosine": _cosine}
"""Factor of the learning rate after a share of the run, from 0 to 1."""
