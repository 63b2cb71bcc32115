"""The recurrence of convolutional LSTMs over the lines of an image, compiled where that can be, else in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from rescrnet.ops import convlstm_native, convlstm_plain
from rescrnet.ops.convlstm_weights import ScanWeights


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
        if convlstm_native.applies(x, weights):
            return convlstm_native.convlstm(x, weights, dropout)
        return convlstm_plain.convlstm(x, weights, dropout)


@torch.no_grad()
def continue_convlstm(x: Tensor, weights: ScanWeights, state: Tensor, *, upwards: bool) -> tuple[Tensor, Tensor]:
    """Run one ConvLSTM over some of the rows of an image, continuing where it was left; without gradient or dropout.

    Args:
        x: (N, K, H, W), the rows in the order of the image.
        weights: with D = 1.
        state: (2, S, N, W), h and c before the first of these steps; zeros at the edge of the image.
        upwards: begin with the last row.

    Returns:
        (N, K, H, W), the states after every step, summed over filters, and the state to continue from.
    """
    if convlstm_native.applies(x, weights):
        return convlstm_native.continue_convlstm(x, weights, state, upwards=upwards)
    return convlstm_plain.continue_convlstm(x, weights, state, upwards=upwards)
