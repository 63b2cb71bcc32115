"""The recurrence of a convolutional LSTM, over the lines of an image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def convlstm_scan(inputs: Tensor, recurrent: Tensor, dropout: Tensor | None = None) -> Tensor:
    """Run the recurrence of D independent ConvLSTMs along the first axis.

    With z the pre-activations of a step, z = input + recurrent ∗ h, gates i, f, o and candidate g:
    ``c = f·c + i·g`` and ``h = o·tanh(c)``, where i, f, o are hard sigmoids ``clip(0.2·z + 0.5, 0, 1)`` and g is
    tanh. Gates are ordered i, f, o, g (Keras orders them i, f, c, o). Shi et al. 2015, arXiv:1506.04214, without
    peepholes.

    Args:
        inputs: (T, D, 4·S, N, L) the input's part of the pre-activations; T steps, D directions, S state channels,
            N images, L pixels along a line.
        recurrent: (D, 4·S, 3·S) weights on the previous state, its taps at L-1, L and L+1 side by side.
        dropout: (D, 4, S, N, L) factors on the previous state, one for each gate, or none.

    Returns:
        (T, D, S, N, L), the state h after every step.
    """
    # Under autocast the inputs come in half precision; hundreds of steps that feed each other stay in the weights'.
    inputs = inputs.to(recurrent.dtype)
    with torch.autocast(inputs.device.type, enabled=False):
        if torch.is_grad_enabled() and (inputs.requires_grad or recurrent.requires_grad):
            result: Tensor = _Scan.apply(inputs, recurrent, dropout)  # type: ignore[no-untyped-call]
            return result
        return _scan(inputs, recurrent, dropout)[0]


def continue_scan(inputs: Tensor, recurrent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Go on with the recurrence of :func:`convlstm_scan` from where it was left; without gradient.

    Args:
        inputs: (T, D, 4·S, N, L), as there.
        recurrent: (D, 4·S, 3·S), as there.
        state: (2, D, S, N, L), h and c before the first of these steps; zeros at the start.

    Returns:
        (T, D, S, N, L), the state h after every step, and the state to go on from, like ``state``.
    """
    hidden, cell = state
    states = inputs.new_empty(len(inputs), *hidden.shape)
    for step, one in enumerate(inputs):
        hidden, cell, _ = _advance(one, recurrent, None, hidden, cell)
        states[step] = hidden
    return states, torch.stack([hidden, cell])


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
