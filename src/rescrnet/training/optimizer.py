"""The optimiser of the paper, one that needs fewer steps, and courses of the learning rate."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn

_EPSILON, _BETA = 1e-7, 0.999


def adam(parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    """Adam as Keras computes it (Kingma and Ba 2015, arXiv:1412.6980, the last form of section 2).

    Keras adds epsilon before the bias correction of the second moment, PyTorch after it. So PyTorch's epsilon is scaled
    step by step; early in training, where many gradients are as small as 1e-7, that makes a difference.
    """
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, _BETA), fused=True)
    optimizer.register_step_pre_hook(_scale_epsilon)
    return optimizer


def _scale_epsilon(optimizer: Any, args: Any, kwargs: Any) -> None:
    steps = (int(state["step"]) for state in optimizer.state.values())
    correction = 1 - _BETA ** (next(steps, 0) + 1)
    for group in optimizer.param_groups:
        group["eps"] = _EPSILON / correction**0.5


class Muon(torch.optim.Optimizer):
    """Moves each matrix along the orthogonal matrix that is nearest to its momentum (Jordan et al. 2024).

    So all directions of a matrix are learnt at the same rate, where Adam mostly follows the few that the gradients of
    all steps share. The matrix is found as in https://kellerjordan.github.io/posts/muon/, by five steps of a
    Newton-Schulz iteration, here in float32. The entries of an update have a root mean square of 0.6 times the learning
    rate, about twice that of Adam's (Liu et al. 2025, arXiv:2502.16982), so that one rate serves both.

    Args:
        weights: of convolutions, (out, in, height, width), each seen as a matrix of its outputs.
        learning_rate: as Adam's.
    """

    def __init__(self, weights: Iterable[Tensor], learning_rate: float) -> None:
        super().__init__(weights, {"lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient; those of one shape together, for one alone is mostly calls."""
        for group in self.param_groups:
            of_shape = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    of_shape[weight.flatten(1).shape].append(weight)
            for (rows, columns), weights in of_shape.items():
                for weight in weights:
                    if not self.state[weight]:
                        self.state[weight]["momentum"] = torch.zeros_like(weight)
                    self.state[weight]["momentum"].lerp_(weight.grad, 1 - _MOMENTUM)
                ahead = [weight.grad.lerp(self.state[weight]["momentum"], _MOMENTUM).flatten(1) for weight in weights]
                updates = _orthogonal(torch.stack(ahead)) * (group["lr"] * _SIZE * max(rows, columns) ** 0.5)
                for weight, update in zip(weights, updates, strict=True):
                    weight.sub_(update.view_as(weight))


_MOMENTUM, _SIZE = 0.95, 0.6


def _orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns), of the same singular vectors each, with singular values of about 1."""
    if matrices.shape[1] > matrices.shape[2]:
        return _orthogonal(matrices.mT).mT
    x: Tensor = matrices / torch.linalg.matrix_norm(matrices, keepdim=True).clamp(min=1e-12)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (2.0315 * square @ square - 4.775 * square) @ x
    return x


_SMALLEST = 5  # sides of a matrix that there are directions to tell apart in
MOMENTS = {"optimizer": ("step", "exp_avg", "exp_avg_sq"), "muon": ("momentum",)}
"""What an optimiser keeps of each parameter, by the name of the optimiser in the state of a run."""


def optimizers(network: nn.Module, name: str, learning_rate: float) -> dict[str, torch.optim.Optimizer]:
    """Those that share the parameters of a network: Adam, or Muon for weights of convolutions and Adam for the rest.

    A depthwise kernel is a matrix of its channels, so that they come to see different things. The ConvLSTMs and what is
    but a few numbers wide count as the rest.
    """
    weights = [one for one in network.parameters() if one.ndim == 4 and min(one.flatten(1).shape) >= _SMALLEST]
    matrices = weights if name == "muon" else []
    taken = {id(weight) for weight in matrices}
    found: dict[str, torch.optim.Optimizer] = {
        "optimizer": adam((one for one in network.parameters() if id(one) not in taken), learning_rate)
    }
    return {**found, "muon": Muon(matrices, learning_rate)} if matrices else found


_WARM_UP, _LEAST = 0.04, 0.01


def _cosine(done: float) -> float:
    """A short warm-up, then down along a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    fall = (1 + cos(pi * max(0.0, done - _WARM_UP) / (1 - _WARM_UP))) / 2
    return min(1.0, done / _WARM_UP) * (_LEAST + (1 - _LEAST) * fall)


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": lambda done: 1.0, "cosine": _cosine}
"""Factor of the learning rate after a share of the run, from 0 to 1."""
