"""The product of every pixel's channels with one matrix, whose gradient comes without fresh memory.

PyTorch gives the gradient of the image, the largest tensor of a step, pages that were never touched, and takes the sum
over all pixels, long and thin, with few threads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rescrnet.ops.buffers import empty


def pointwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``weight · x + bias`` of every pixel.

    Args:
        x: (N, H, W, C), any floating type; under autocast it is cast.
        weight: (C_out, C).
        bias: (C_out).

    Returns:
        (N, H, W, C_out).
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not x.is_contiguous():
        return F.linear(x, weight, bias)
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (x, weight, bias))
    out: Tensor = _Pointwise.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        grad_out = gradients[0].contiguous()
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = empty(*x.shape, dtype=x.dtype)
            torch.mm(grad_out.flatten(0, 2), weight, out=grad_x.flatten(0, 2))
        grad_weight_of_row = torch.bmm(grad_out.flatten(0, 1).transpose(1, 2), x.flatten(0, 1))
        return grad_x, grad_weight_of_row.sum(0), grad_out.sum((0, 1, 2))
