"""The recurrence of convolutional LSTMs in PyTorch: any type, any device, step by step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rescrnet.ops.convlstm_weights import ScanWeights


def convlstm(x: Tensor, weights: ScanWeights, dropout: Tensor | None) -> Tensor:
    """See :func:`rescrnet.ops.convlstm.convlstm`."""
    n, classes, _, width = x.shape
    inputs = _inputs(x, weights)
    inputs = torch.stack([inputs[:, 0], inputs[:, 1].flip(0)], dim=1)
    hidden = convlstm_scan(inputs, weights.recurrent.flatten(2), dropout)
    hidden = hidden.reshape(len(hidden), 2, -1, classes, n, width).sum(2)
    return (hidden[:, 0] + hidden[:, 1].flip(0)).permute(2, 1, 0, 3)


def continue_convlstm(x: Tensor, weights: ScanWeights, state: Tensor, *, upwards: bool) -> tuple[Tensor, Tensor]:
    """See :func:`rescrnet.ops.convlstm.continue_convlstm`."""
    n, classes, height, width = x.shape
    inputs = _inputs(x, weights)
    inputs = inputs.flip(0) if upwards else inputs
    states, cells, _ = convlstm_steps(inputs, weights.recurrent.flatten(2), None, (state[:1], state[1:]))
    out = states.reshape(height, -1, classes, n, width).sum(1)
    out = out.flip(0) if upwards else out
    return out.permute(2, 1, 0, 3), torch.cat([states[-1], cells[-1]])


def _inputs(x: Tensor, weights: ScanWeights) -> Tensor:
    """The line's part of the pre-activations, (H, D, 4·S, N, W)."""
    n, _, height, width = x.shape
    kernel = weights.input.flatten(0, 1).transpose(1, 2).unsqueeze(2)
    inputs = F.conv2d(x, kernel, weights.bias.flatten(), padding=(0, 1))
    return inputs.reshape(n, len(weights.bias), -1, height, width).permute(3, 1, 2, 0, 4)


def convlstm_scan(inputs: Tensor, recurrent: Tensor, dropout: Tensor | None = None) -> Tensor:
    """The recurrence of :func:`convlstm` along the first axis, given the line's part of it.

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
    return convlstm_steps(inputs, recurrent, dropout)[0]


def convlstm_steps(
    inputs: Tensor, recurrent: Tensor, dropout: Tensor | None, before: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The states h and c after every step, (T, D, S, N, L), and the gates, (T, D, 4·S, N, L); without gradient.

    ``before`` are h and c before the first step, (D, S, N, L), zeros if not given.
    """
    steps, directions, gates, images, length = inputs.shape
    channels = gates // 4
    # The hard sigmoids' factor and summand are taken into what is multiplied: a step only clips.
    factor = inputs.new_tensor([0.2, 0.2, 0.2, 1]).repeat_interleave(channels)
    summand = inputs.new_tensor([0.5, 0.5, 0.5, 0]).repeat_interleave(channels)
    activations = torch.addcmul(summand[:, None, None], inputs, factor[:, None, None]).contiguous()
    weight = _grouped_by_state(recurrent * factor[:, None], dropout)
    groups = len(weight) // directions
    states = inputs.new_empty(steps, directions, channels, images, length)
    cells = torch.empty_like(states)
    taps = inputs.new_zeros(directions, groups, 3, channels, images, length)
    cell = torch.zeros_like(taps[:, 0, 0])
    if before is not None:
        hidden, cell = before
        _write_taps(taps, hidden, dropout)
    matrix = taps.view(len(weight), 3 * channels, -1)
    for gate, state, next_cell in zip(activations, states, cells, strict=True):
        gate.view(*weight.shape[:2], -1).baddbmm_(weight, matrix)
        gate[:, : 3 * channels].clamp_(0, 1)
        i, f, o, g = gate.chunk(4, dim=1)
        g.tanh_()
        cell = torch.mul(f, cell, out=next_cell).addcmul_(i, g)
        torch.mul(o, cell.tanh(), out=state)
        _write_taps(taps, state, dropout)
    return states, cells, activations


def _grouped_by_state(recurrent: Tensor, dropout: Tensor | None) -> Tensor:
    """(D, 4·S, 3·S) → (D·G, 4·S / G, 3·S): with dropout each gate reads a state of its own, G = 4, else G = 1."""
    directions, gates, taps = recurrent.shape
    groups = 1 if dropout is None else 4
    return recurrent.reshape(directions * groups, gates // groups, taps)


def _write_taps(taps: Tensor, hidden: Tensor, dropout: Tensor | None) -> None:
    """As :func:`_recurrent_taps`, of one step, into (D, G, 3, S, N, L), whose ends of lines are zero."""
    before, here, after = taps.unbind(2)
    if dropout is None:
        here.copy_(hidden.unsqueeze(1))
    else:
        torch.mul(hidden.unsqueeze(1), dropout, out=here)
    before[..., 1:] = here[..., :-1]
    after[..., :-1] = here[..., 1:]


def _recurrent_taps(hidden: Tensor, dropout: Tensor | None) -> Tensor:
    """States (T, D, S, N, L) → what the gates read of them, (T, D, G, 3·S, N, L)."""
    states = hidden.unsqueeze(2) if dropout is None else hidden.unsqueeze(2) * dropout
    padded = F.pad(states, (1, 1))
    return torch.cat([padded[..., :-2], padded[..., 1:-1], padded[..., 2:]], dim=3)


class _Scan(torch.autograd.Function):
    """The scan with its gradient written out: one pass back instead of a graph of every operation of every step."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, dropout: Tensor | None) -> Tensor:
        states, cells, activations = convlstm_steps(inputs, recurrent, dropout)
        ctx.save_for_backward(recurrent, dropout, states, cells, activations)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad_states,) = gradients
        recurrent, dropout, states, cells, activations = ctx.saved_tensors
        steps, directions, gates, images, length = activations.shape
        i, f, o, g = activations.chunk(4, dim=2)
        tanh_cells = torch.tanh(cells)
        # The derivative of every step by its pre-activations, except for what comes from the steps after it.
        slope = 0.2 * ((activations > 0) & (activations < 1)).to(activations.dtype)
        earlier = torch.cat([torch.zeros_like(cells[:1]), cells[:-1]])
        derivative = torch.cat([g, earlier, tanh_cells, i * (1 - g * g)], dim=2)
        derivative[:, :, : 3 * gates // 4] *= slope[:, :, : 3 * gates // 4]
        to_cell = o * (1 - tanh_cells * tanh_cells)

        transposed = _grouped_by_state(recurrent, dropout).transpose(1, 2).contiguous()
        grad_inputs = torch.empty_like(activations)
        grad_hidden = grad_cell = torch.zeros_like(cells[0])
        for step in range(steps - 1, -1, -1):
            grad_hidden = grad_hidden + grad_states[step]
            grad_cell = torch.addcmul(grad_cell, grad_hidden, to_cell[step])
            z = grad_inputs[step]
            torch.mul(torch.cat([grad_cell, grad_cell, grad_hidden, grad_cell], dim=1), derivative[step], out=z)
            grad_cell = grad_cell * f[step]
            grad_taps = torch.bmm(transposed, z.reshape(len(transposed), -1, images * length))
            grad_hidden = _taps_gradient(grad_taps.reshape(directions, -1, 3, gates // 4, images, length), dropout)
        return grad_inputs, _recurrent_gradient(grad_inputs, states, dropout), None


def _taps_gradient(taps: Tensor, dropout: Tensor | None) -> Tensor:
    """The gradient of :func:`_recurrent_taps`: (D, G, 3, S, N, L) → (D, S, N, L). Writes over ``taps``."""
    before, here, after = taps.unbind(2)
    here[..., :-1] += before[..., 1:]
    here[..., 1:] += after[..., :-1]
    return here.squeeze(1) if dropout is None else (here * dropout).sum(1)


def _recurrent_gradient(grad_inputs: Tensor, states: Tensor, dropout: Tensor | None, chunk: int = 64) -> Tensor:
    """The gradient of the recurrent weights, (D, 4·S, 3·S), summed over all steps, a chunk of them at a time."""
    _, directions, gates, _, _ = grad_inputs.shape
    groups = 1 if dropout is None else 4
    earlier = torch.cat([torch.zeros_like(states[:1]), states[:-1]])
    total = states.new_zeros(directions * groups, gates // groups, 3 * gates // 4)
    for start in range(0, len(states), chunk):
        taps = _recurrent_taps(earlier[start : start + chunk], dropout).flatten(1, 2)  # (T, D·G, 3·S, N, L)
        z = grad_inputs[start : start + chunk].reshape(len(taps), len(total), gates // groups, *taps.shape[-2:])
        z, taps = (x.permute(1, 2, 0, 3, 4).flatten(2) for x in (z, taps))
        total.baddbmm_(z, taps.transpose(1, 2))
    return total.reshape(directions, gates, -1)
