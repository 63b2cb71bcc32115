"""The recurrence of convolutional LSTMs over the lines of an image: a plain path, and a compiled one."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rescrnet.ops.buffers import empty
from rescrnet.ops.native import kernels, pointer, required

_LANES = 16  # the compiled path stores lines by the vector


class ScanWeights(NamedTuple):
    """The weights of D convolutional LSTMs with S state channels over lines with K channels; gates i, f, o, g.

    Attributes:
        input: (D, 4·S, 3, K), of the line, its taps at l-1, l and l+1.
        bias: (D, 4·S).
        recurrent: (D, 4·S, 3, S), of the state.
    """

    input: Tensor
    bias: Tensor
    recurrent: Tensor


def convlstm(x: Tensor, weights: ScanWeights, dropout: Tensor | None = None) -> Tensor:
    """Run two ConvLSTMs over the lines of an image, the first downwards, the second upwards, and sum their states.

    With z the pre-activations of a step, z = input ∗ line + recurrent ∗ h + bias: ``c = f·c + i·g`` and
    ``h = o·tanh(c)``, where i, f, o are hard sigmoids ``clip(0.2·z + 0.5, 0, 1)`` and g is tanh. (Keras orders the
    gates i, f, c, o.) Shi et al. 2015, arXiv:1506.04214, without peepholes.

    Args:
        x: (N, K, H, W); a line is a row.
        weights: with D = 2 and S a multiple of K, filter by filter.
        dropout: (D, 4, S, N, W) factors on the previous state, one for each gate, or none.

    Returns:
        (N, K, H, W), the states after every step, summed over directions and filters.
    """
    # Under autocast x comes in half precision; hundreds of steps that feed each other stay in the weights'.
    x = x.to(weights.recurrent.dtype)
    with torch.autocast(x.device.type, enabled=False):
        if _has_kernels(x):
            compiled: Tensor = _Compiled.apply(x.contiguous(), dropout, *weights)  # type: ignore[no-untyped-call]
            return compiled
        n, classes, _, width = x.shape
        inputs = _inputs(x, weights)
        inputs = torch.stack([inputs[:, 0], inputs[:, 1].flip(0)], dim=1)
        hidden = convlstm_scan(inputs, weights.recurrent.flatten(2), dropout)
        hidden = hidden.reshape(len(hidden), 2, -1, classes, n, width).sum(2)
        return (hidden[:, 0] + hidden[:, 1].flip(0)).permute(2, 1, 0, 3)


@torch.no_grad()
def continue_convlstm(x: Tensor, weights: ScanWeights, state: Tensor, *, upwards: bool) -> tuple[Tensor, Tensor]:
    """Run one ConvLSTM over some of the rows of an image, on from where it was left; without gradient or dropout.

    Args:
        x: (N, K, H, W), the rows in the order of the image.
        weights: with D = 1.
        state: (2, S, N, W), h and c before the first of these steps; zeros at the edge of the image.
        upwards: begin with the last row.

    Returns:
        (N, K, H, W), the states after every step, summed over filters, and the state to go on from.
    """
    n, classes, height, width = x.shape
    if _has_kernels(x):
        carried = state.permute(2, 0, 1, 3).contiguous()
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        scan, _alive = _scan_of(x.contiguous(), weights, None)
        scan.reversed, scan.state, scan.out = upwards, pointer(carried), pointer(out)
        required("convlstm").convlstm_forward(ctypes.byref(scan))
        return out, carried.permute(1, 2, 0, 3)
    inputs = _inputs(x, weights)
    inputs = inputs.flip(0) if upwards else inputs
    recurrent = weights.recurrent.flatten(2)
    hidden, cell = state[:, None]
    states = inputs.new_empty(height, *hidden.shape)
    for step, one in enumerate(inputs):
        hidden, cell, _ = _advance(one, recurrent, None, hidden, cell)
        states[step] = hidden
    out = states.reshape(height, -1, classes, n, width).sum(1)
    out = out.flip(0) if upwards else out
    return out.permute(2, 1, 0, 3), torch.cat([hidden, cell])


def _inputs(x: Tensor, weights: ScanWeights) -> Tensor:
    """The line's part of the pre-activations, (H, D, 4·S, N, W)."""
    n, _, height, width = x.shape
    kernel = weights.input.flatten(0, 1).transpose(1, 2).unsqueeze(2)
    inputs = F.conv2d(x, kernel, weights.bias.flatten(), padding=(0, 1))
    return inputs.reshape(n, len(weights.bias), -1, height, width).permute(3, 1, 2, 0, 4)


def convlstm_scan(inputs: Tensor, recurrent: Tensor, dropout: Tensor | None = None) -> Tensor:
    """The plain path: the recurrence of :func:`convlstm` along the first axis, given the line's part of it.

    Args:
        inputs: (T, D, 4·S, N, L), T steps of L pixels.
        recurrent: (D, 4·S, 3·S) weights on the previous state, its taps side by side.
        dropout: (D, 4, S, N, L), as there.

    Returns:
        (T, D, S, N, L), the state h after every step.
    """
    if torch.is_grad_enabled() and (inputs.requires_grad or recurrent.requires_grad):
        result: Tensor = _Scan.apply(inputs, recurrent, dropout)  # type: ignore[no-untyped-call]
        return result
    return _scan(inputs, recurrent, dropout)[0]


def _scan(inputs: Tensor, recurrent: Tensor, dropout: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The states h and c after every step, (T, D, S, N, L), and the gates, (T, D, 4·S, N, L)."""
    _, directions, gates, images, length = inputs.shape
    weight = _by_group(recurrent, dropout)
    cell = hidden = inputs.new_zeros(directions, gates // 4, images, length)
    states, cells, activations = [], [], []
    for one in inputs:
        hidden, cell, gate = _advance(one, weight, dropout, hidden, cell)
        states.append(hidden)
        cells.append(cell)
        activations.append(gate)
    return torch.stack(states), torch.stack(cells), torch.stack(activations)


def _advance(
    one: Tensor, weight: Tensor, dropout: Tensor | None, hidden: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One step: the input's part of the pre-activations (D, 4·S, N, L), and h and c → h, c and the gates."""
    gates = one.shape[1]
    taps = _taps(hidden[None], dropout)[0].flatten(0, 1).flatten(2)
    z = torch.baddbmm(one.reshape(*weight.shape[:2], -1), weight, taps).reshape(one.shape)
    third = 3 * gates // 4
    gate = torch.cat([(0.2 * z[:, :third] + 0.5).clamp(0, 1), torch.tanh(z[:, third:])], dim=1)
    i, f, o, g = gate.chunk(4, dim=1)
    cell = f * cell + i * g
    return o * torch.tanh(cell), cell, gate


def _by_group(recurrent: Tensor, dropout: Tensor | None) -> Tensor:
    """(D, 4·S, 3·S) → (D·G, 4·S / G, 3·S): with dropout the four gates see four different states, G = 4, else G = 1."""
    directions, gates, taps = recurrent.shape
    groups = 1 if dropout is None else 4
    return recurrent.reshape(directions * groups, gates // groups, taps)


def _taps(hidden: Tensor, dropout: Tensor | None) -> Tensor:
    """States (T, D, S, N, L) → what the gates see of them, (T, D, G, 3·S, N, L)."""
    seen = hidden.unsqueeze(2) if dropout is None else hidden.unsqueeze(2) * dropout
    padded = F.pad(seen, (1, 1))
    return torch.cat([padded[..., :-2], padded[..., 1:-1], padded[..., 2:]], dim=3)


class _Scan(torch.autograd.Function):
    """The scan with its gradient written out: one pass back instead of a graph of every operation of every step."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, dropout: Tensor | None) -> Tensor:
        states, cells, activations = _scan(inputs, recurrent, dropout)
        ctx.save_for_backward(recurrent, dropout, states, cells, activations)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        recurrent, dropout, states, cells, activations = ctx.saved_tensors
        steps, directions, gates, images, length = activations.shape
        i, f, o, g = activations.chunk(4, dim=2)
        squashed = torch.tanh(cells)
        # The derivative of every step by its pre-activations, but for what comes from the steps after it.
        slope = 0.2 * ((activations > 0) & (activations < 1)).to(activations.dtype)
        earlier = torch.cat([torch.zeros_like(cells[:1]), cells[:-1]])
        derivative = torch.cat([g, earlier, squashed, i * (1 - g * g)], dim=2)
        derivative[:, :, : 3 * gates // 4] *= slope[:, :, : 3 * gates // 4]
        to_cell = o * (1 - squashed * squashed)

        transposed = _by_group(recurrent, dropout).transpose(1, 2).contiguous()
        by_input = torch.empty_like(activations)
        by_hidden = by_cell = torch.zeros_like(cells[0])
        for step in range(steps - 1, -1, -1):
            by_hidden = by_hidden + gradients[0][step]
            by_cell = torch.addcmul(by_cell, by_hidden, to_cell[step])
            z = by_input[step]
            torch.mul(torch.cat([by_cell, by_cell, by_hidden, by_cell], dim=1), derivative[step], out=z)
            by_cell = by_cell * f[step]
            by_taps = torch.bmm(transposed, z.reshape(len(transposed), -1, images * length))
            by_hidden = _hidden_of_taps(by_taps.reshape(directions, -1, 3, gates // 4, images, length), dropout)
        return by_input, _recurrent_gradient(by_input, states, dropout), None


def _hidden_of_taps(taps: Tensor, dropout: Tensor | None) -> Tensor:
    """The gradient of :func:`_taps`: (D, G, 3, S, N, L) → (D, S, N, L). Writes over ``taps``."""
    before, here, after = taps.unbind(2)
    here[..., :-1] += before[..., 1:]
    here[..., 1:] += after[..., :-1]
    return here.squeeze(1) if dropout is None else (here * dropout).sum(1)


def _recurrent_gradient(by_input: Tensor, states: Tensor, dropout: Tensor | None, chunk: int = 64) -> Tensor:
    """The gradient of the recurrent weights, (D, 4·S, 3·S), summed over all steps, a chunk of them at a time."""
    _, directions, gates, _, _ = by_input.shape
    groups = 1 if dropout is None else 4
    earlier = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    total = states.new_zeros(directions * groups, gates // groups, 3 * gates // 4)
    for start in range(0, len(states), chunk):
        taps = _taps(earlier[start : start + chunk], dropout).flatten(1, 2)  # (T, D·G, 3·S, N, L)
        z = by_input[start : start + chunk].reshape(len(taps), len(total), gates // groups, *taps.shape[-2:])
        z, taps = (x.permute(1, 2, 0, 3, 4).flatten(2) for x in (z, taps))
        total.baddbmm_(z, taps.transpose(1, 2))
    return total.reshape(directions, gates, -1)


# ---- the compiled path ----


class _Arguments(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_long) for name in ("directions", "images", "classes", "channels", "steps", "length")),
        *((name, ctypes.c_long) for name in ("pitch", "reversed")),
        *((name, ctypes.c_void_p) for name in ("x", "input", "bias", "recurrent", "dropout", "state", "out")),
        *((name, ctypes.c_void_p) for name in ("gates", "cells", "gradient", "by_x")),
        *((name, ctypes.c_void_p) for name in ("by_input", "by_bias", "by_recurrent")),
    ]


def _has_kernels(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and kernels("convlstm") is not None
    )


def _scan_of(x: Tensor, weights: ScanWeights, dropout: Tensor | None) -> tuple[_Arguments, list[Tensor]]:
    """The arguments of the kernels, and the tensors that must outlive the call."""
    images, classes, steps, length = x.shape
    directions, channels = len(weights.bias), weights.bias.shape[1] // 4
    pitch = -(-length // _LANES) * _LANES
    scan = _Arguments(directions, images, classes, channels, steps, length, pitch)
    alive = [x, *(tensor.detach().contiguous() for tensor in weights)]
    scan.x, scan.input, scan.bias, scan.recurrent = (pointer(tensor) for tensor in alive)
    if dropout is not None:
        alive.append(dropout.contiguous())
        scan.dropout = pointer(alive[-1])
    return scan, alive


class _Compiled(torch.autograd.Function):
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
        required("convlstm").convlstm_forward(ctypes.byref(scan))
        ctx.save_for_backward(x, dropout, *flat, *kept)
        return out.sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, dropout, *flat, gates, cells = ctx.saved_tensors
        weights, gradient = ScanWeights(*flat), gradients[0].contiguous()
        scan, _alive = _scan_of(x, weights, dropout)
        by_x = empty(scan.directions, *x.shape)
        by_weights = [tensor.new_empty(len(tensor), scan.images, *tensor.shape[1:]) for tensor in weights]
        scan.gates, scan.cells, scan.gradient, scan.by_x = (pointer(t) for t in (gates, cells, gradient, by_x))
        scan.by_input, scan.by_bias, scan.by_recurrent = (pointer(tensor) for tensor in by_weights)
        required("convlstm").convlstm_backward(ctypes.byref(scan))
        return by_x.sum(0), None, *(tensor.sum(1) for tensor in by_weights)
