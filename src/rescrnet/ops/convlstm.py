"""The recurrence of a convolutional LSTM, over the lines of an image."""

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
    steps, directions, gates, images, length = inputs.shape
    channels, groups = gates // 4, 1 if dropout is None else 4
    recurrent = recurrent.reshape(directions * groups, gates // groups, 3 * channels)
    hidden = inputs.new_zeros(directions, 1, channels, images, length)
    cell = hidden.squeeze(1)
    states = []
    for step in range(steps):
        previous = F.pad(hidden if dropout is None else hidden * dropout, (1, 1))
        taps = torch.cat([previous[..., :-2], previous[..., 1:-1], previous[..., 2:]], dim=2)
        z = torch.baddbmm(
            inputs[step].reshape(directions * groups, gates // groups, images * length),
            recurrent,
            taps.reshape(directions * groups, 3 * channels, images * length),
        ).reshape(directions, gates, images, length)
        input_gate, forget_gate, output_gate = (0.2 * z[:, : 3 * channels] + 0.5).clamp(0, 1).chunk(3, dim=1)
        candidate = torch.tanh(z[:, 3 * channels :])
        cell = forget_gate * cell + input_gate * candidate
        hidden = (output_gate * torch.tanh(cell)).unsqueeze(1)
        states.append(hidden.squeeze(1))
    return torch.stack(states)
