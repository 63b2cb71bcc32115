"""The recurrence of convolutional LSTMs in PyTorch: any type, any device, step by step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rescrnet.ops.buffers import empty_with
from rescrnet.ops.convlstm_weights import ScanWeights

_BLOCK = 1 << 18  # numbers of the gates of the steps whose derivatives are taken together


def convlstm(x: Tensor, weights: ScanWeights, dropout: Tensor | None) -> Tensor:
    """See :func:`rescrnet.ops.convlstm.convlstm`."""
    n, classes, _, width = x.shape
    lines = x.permute(2, 1, 0, 3)
    inputs = _inputs(torch.stack([lines, lines.flip(0)], 1), weights)
    hidden = convlstm_scan(inputs, weights.recurrent.flatten(2), dropout)
    hidden = hidden.reshape(len(hidden), 2, -1, classes, n, width).sum(2)
    return (hidden[:, 0] + hidden[:, 1].flip(0)).permute(2, 1, 0, 3)


def continue_convlstm(x: Tensor, weights: ScanWeights, state: Tensor, *, upwards: bool) -> tuple[Tensor, Tensor]:
    """See :func:`rescrnet.ops.convlstm.continue_convlstm`."""
    n, classes, height, width = x.shape
    lines = x.permute(2, 1, 0, 3)
    inputs = _inputs((lines.flip(0) if upwards else lines).unsqueeze(1), weights)
    states, cells, _ = convlstm_steps(inputs, weights.recurrent.flatten(2), None, (state[:1], state[1:]))
    out = states.reshape(height, -1, classes, n, width).sum(1)
    out = out.flip(0) if upwards else out
    return out.permute(2, 1, 0, 3), torch.cat([states[-1], cells[-1]])


def _inputs(lines: Tensor, weights: ScanWeights) -> Tensor:
    """The part of the pre-activations that follows from lines (T, D, K, N, L), (T, D, 4·S, N, L)."""
    steps, _, _, images, length = lines.shape
    taps = _taps(lines, None).squeeze(2).flatten(3).flatten(0, 1)  # (T·D, 3·K, N·L)
    matrix, bias = weights.input.flatten(2), weights.bias.unsqueeze(2)
    inputs = torch.baddbmm(bias.repeat(steps, 1, 1), matrix.repeat(steps, 1, 1), taps)
    return inputs.view(steps, *bias.shape[:2], images, length)


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
    activations = empty_with(inputs, *inputs.shape)
    torch.addcmul(summand[:, None, None], inputs, factor[:, None, None], out=activations)
    weight = _grouped_by_state(recurrent * factor[:, None], dropout)
    states, cells = (empty_with(inputs, steps, directions, channels, images, length) for _ in range(2))
    cell = torch.zeros_like(states[0]) if before is None else before[1]
    taps, tanh_cell = _StepTaps(cell, dropout), torch.empty_like(cell)
    if before is not None:
        taps.write(before[0])
    # Views of all steps at once: hundreds of steps of few pixels each spend more on making views than on numbers.
    products = activations.view(steps, *weight.shape[:2], -1)
    sigmoids, parts = activations[:, :, : 3 * channels], activations.chunk(4, dim=2)
    of_steps = (x.unbind(0) for x in (products, sigmoids, *parts, states, cells))
    for product, sigmoid, i, f, o, g, state, next_cell in zip(*of_steps, strict=True):
        product.baddbmm_(weight, taps.matrix)
        sigmoid.clamp_(0, 1)
        g.tanh_()
        cell = torch.mul(f, cell, out=next_cell).addcmul_(i, g)
        torch.mul(o, torch.tanh(cell, out=tanh_cell), out=state)
        taps.write(state)
    return states, cells, activations


def _grouped_by_state(recurrent: Tensor, dropout: Tensor | None) -> Tensor:
    """(D, 4·S, 3·S) → (D·G, 4·S / G, 3·S): with dropout each gate reads a state of its own, G = 4, else G = 1."""
    directions, gates, taps = recurrent.shape
    groups = 1 if dropout is None else 4
    return recurrent.reshape(directions * groups, gates // groups, taps)


class _StepTaps:
    """What the gates read of the states of one step, or its gradient: (D, G, 3, S, N, L), the same memory every step.

    With dropout each gate reads a state of its own, G = 4, else G = 1. Beyond the ends of the lines there are zeros.
    """

    def __init__(self, hidden: Tensor, dropout: Tensor | None) -> None:
        directions, channels, *line = hidden.shape
        self.dropout, groups = dropout, 1 if dropout is None else 4
        taps = hidden.new_zeros(directions, groups, 3, channels, *line)
        self.matrix = taps.view(directions * groups, 3 * channels, -1)
        before, self.here, after = taps.unbind(2)
        self.shifted = (before[..., 1:], self.here[..., :-1]), (after[..., :-1], self.here[..., 1:])

    def write(self, hidden: Tensor) -> None:
        """As :func:`_taps`, of the states of one step (D, S, N, L)."""
        if self.dropout is None:
            self.here.copy_(hidden.unsqueeze(1))
        else:
            torch.mul(hidden.unsqueeze(1), self.dropout, out=self.here)
        for there, here in self.shifted:
            there.copy_(here)

    def gather(self, out: Tensor) -> None:
        """From their gradient that of the states, (D, S, N, L); writes over the former."""
        for there, here in self.shifted:
            here += there
        torch.sum(self.here if self.dropout is None else self.here.mul_(self.dropout), 1, out=out)


def _taps(hidden: Tensor, dropout: Tensor | None) -> Tensor:
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
        steps, _, gates, images, length = activations.shape
        channels = gates // 4
        transposed = _grouped_by_state(recurrent, dropout).transpose(1, 2).contiguous()
        grad_inputs = empty_with(activations, *activations.shape)
        grad_recurrent = torch.zeros_like(transposed.transpose(1, 2))
        grad_hidden, grad_cell = torch.zeros_like(cells[0]), torch.zeros_like(cells[0])
        grad_taps = _StepTaps(grad_hidden, dropout)
        block = max(1, _BLOCK // activations[0].numel())
        for first in range((steps - 1) // block * block, -1, -block):
            part = slice(first, first + block)
            derivative, to_cell = _derivatives(activations[part], cells, first)
            z = grad_inputs[part]
            to_input, to_output, to_candidate = _by_gradient(derivative)
            z_input, z_output, z_candidate = _by_gradient(z)
            products = z.view(len(z), len(transposed), -1, images * length)
            forget = activations[part, :, channels : 2 * channels]
            known = grad_states[part], to_cell, to_input, to_output, to_candidate, forget
            of_steps = *known, z_input, z_output, z_candidate, products
            for step in zip(*(reversed(x.unbind(0)) for x in of_steps), strict=True):
                grad_state, cell_slope, input_slope, output_slope, candidate_slope, f, zif, zo, zg, product = step
                grad_hidden += grad_state
                grad_cell.addcmul_(grad_hidden, cell_slope)
                torch.mul(grad_cell.unsqueeze(1), input_slope, out=zif)
                torch.mul(grad_hidden, output_slope, out=zo)
                torch.mul(grad_cell, candidate_slope, out=zg)
                grad_cell *= f
                torch.bmm(transposed, product, out=grad_taps.matrix)
                grad_taps.gather(grad_hidden)
            earlier = states[max(0, first - 1) : first + len(z) - 1]
            taps = _taps(earlier, dropout).flatten(1, 2).permute(1, 2, 0, 3, 4).flatten(2)  # (D·G, 3·S, T·N·L)
            later = products[len(z) - len(earlier) :].transpose(0, 1).transpose(1, 2).flatten(2)
            grad_recurrent.baddbmm_(later, taps.transpose(1, 2))
        return grad_inputs, grad_recurrent.reshape(recurrent.shape), None


def _derivatives(activations: Tensor, cells: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """The derivative of some steps by their pre-activations, except for what comes from the steps after; and h by c."""
    i, _, o, g = activations.chunk(4, dim=2)
    tanh_cells = torch.tanh(cells[first : first + len(activations)])
    earlier = cells[max(0, first - 1) : first + len(activations) - 1]
    if first == 0:
        earlier = torch.cat([torch.zeros_like(cells[:1]), earlier])
    derivative = torch.cat([g, earlier, tanh_cells, i * (1 - g * g)], dim=2)
    sigmoids = activations[:, :, : 3 * i.shape[2]]
    derivative[:, :, : 3 * i.shape[2]] *= 0.2 * ((sigmoids > 0) & (sigmoids < 1)).to(i.dtype)
    return derivative, o * (1 - tanh_cells * tanh_cells)


def _by_gradient(gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(T, D, 4·S, N, L) → the gates i and f, (T, D, 2, S, N, L), then o, then g, (T, D, S, N, L) each."""
    every: Tensor = gates.unflatten(2, (4, -1))  # type: ignore[no-untyped-call]
    return every[:, :, :2], every[:, :, 2], every[:, :, 3]
