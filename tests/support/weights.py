"""Weights for tests of single blocks."""

import torch
from torch import nn


def draw_weights(block: nn.Module, seed: int = 3) -> None:
    """Give every parameter and every running statistic of ``block`` a value of its own, the same for each ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.ndim == 1) * 0.5)
        for name, buffer in block.named_buffers():
            if "running" in name:
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
