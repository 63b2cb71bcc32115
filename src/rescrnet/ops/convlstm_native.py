"""The recurrence of convolutional LSTMs in the compiled kernels of ``kernels/convlstm.c``: float32, on a CPU."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rescrnet.ops.buffers import empty
from rescrnet.ops.convlstm_weights import ScanWeights
from rescrnet.ops.native import call, has_kernels, pointer

_LANES = 16  # a line is stored in multiples of so many pixels
_MOST_CHANNELS = 4096  # of a state, in kernels/convlstm.c


def applies(x: Tensor, weights: ScanWeights) -> bool:
    """Whether the kernels can compute what follows from x: float32, on a CPU that has them."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and weights.recurrent.shape[-1] <= _MOST_CHANNELS
        and not torch.compiler.is_compiling()
        and has_kernels()
    )


def convlstm(x: Tensor, weights: ScanWeights, dropout: Tensor | None) -> Tensor:
    """See :func:`rescrnet.ops.convlstm.convlstm`."""
    out: Tensor = _ConvLSTM.apply(x.contiguous(), dropout, *weights)  # type: ignore[no-untyped-call]
    return out


def continue_convlstm(x: Tensor, weights: ScanWeights, state: Tensor, *, upwards: bool) -> tuple[Tensor, Tensor]:
    """See :func:`rescrnet.ops.convlstm.continue_convlstm`."""
    carried = state.permute(2, 0, 1, 3).contiguous()
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    scan, _alive = _scan_of(x.contiguous(), weights, None)
    scan.reversed, scan.state, scan.out = upwards, pointer(carried), pointer(out)
    call("convlstm_forward", torch.float32, ctypes.byref(scan))
    return out, carried.permute(1, 2, 0, 3)


class _Arguments(ctypes.Structure):  # keep in step with scan of kernels/scan.h
    _fields_ = [
        *((name, ctypes.c_ssize_t) for name in ("directions", "images", "classes", "channels", "steps", "length")),
        *((name, ctypes.c_ssize_t) for name in ("pitch", "reversed")),
        *((name, ctypes.c_void_p) for name in ("x", "input", "bias", "recurrent", "dropout", "state", "out")),
        *((name, ctypes.c_void_p) for name in ("gates", "cells", "grad_out", "grad_x")),
        *((name, ctypes.c_void_p) for name in ("grad_input", "grad_bias", "grad_recurrent")),
    ]


def _scan_of(x: Tensor, weights: ScanWeights, dropout: Tensor | None) -> tuple[_Arguments, list[Tensor]]:
    """The arguments of the kernels, and the tensors that must outlive the call."""
    images, classes, steps, length = x.shape
    directions, channels = len(weights.bias), weights.bias.shape[1] // 4
    pitch = -(-length // _LANES) * _LANES
    scan = _Arguments(directions, images, classes, channels, steps, length, pitch)
    own = ScanWeights(*(tensor.detach().contiguous() for tensor in weights))
    alive = [x, *own]
    scan.x, scan.input, scan.bias = pointer(x), pointer(own.input), pointer(own.bias)
    scan.recurrent = pointer(own.recurrent)
    if dropout is not None:
        alive.append(dropout.contiguous())
        scan.dropout = pointer(alive[-1])
    return scan, alive


class _ConvLSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropout: Tensor | None, *flat: Tensor) -> Tensor:
        weights = ScanWeights(*flat)
        scan, _alive = _scan_of(x, weights, dropout)
        out = empty(scan.directions, *x.shape)
        scan.out = pointer(out)
        kept: list[Tensor] = []
        if any(ctx.needs_input_grad):
            chains = (scan.directions, scan.images, scan.steps)
            kept = [empty(*chains, channels, scan.pitch) for channels in (4 * scan.channels, scan.channels)]
            scan.gates, scan.cells = (pointer(tensor) for tensor in kept)
        call("convlstm_forward", torch.float32, ctypes.byref(scan))
        ctx.save_for_backward(x, dropout, *flat, *kept)
        return out.sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, dropout, *flat, gates, cells = ctx.saved_tensors
        weights, grad_out = ScanWeights(*flat), gradients[0].contiguous()
        scan, _alive = _scan_of(x, weights, dropout)
        grad_x = empty(scan.directions, *x.shape)
        grad_weights = ScanWeights(
            *(tensor.new_empty(len(tensor), scan.images, *tensor.shape[1:]) for tensor in weights)
        )
        scan.gates, scan.cells, scan.grad_out, scan.grad_x = (pointer(t) for t in (gates, cells, grad_out, grad_x))
        scan.grad_input, scan.grad_bias = pointer(grad_weights.input), pointer(grad_weights.bias)
        scan.grad_recurrent = pointer(grad_weights.recurrent)
        call("convlstm_backward", torch.float32, ctypes.byref(scan))
        return grad_x.sum(0), None, *(tensor.sum(1) for tensor in grad_weights)
