"""The initialization of the authors' network, in which kernels of one shape start equal."""

from __future__ import annotations

import torch
from torch import Tensor

from rescrnet.nn.network import ResCRNet


@torch.no_grad()
def share_kernels(network: ResCRNet) -> None:
    """Give all kernels of one kind and shape the values of the first of them, biases and norms likewise.

    In the authors' network every initializer has the same fixed seed: the branches of all blocks start equal, and so do
    the four ConvLSTMs. What they become differs, since they read different things.

    Args:
        network: changed in place, before any training.
    """
    first: dict[tuple[str, torch.Size], Tensor] = {}
    for name, parameter in network.named_parameters():
        kind = name.rpartition(".")[2]
        # Of a ConvLSTM, one direction after the other.
        for part in parameter if kind in ("input_kernel", "recurrent_kernel") else [parameter]:
            part.copy_(first.setdefault((kind, part.shape), part))
