"""The weights that both paths of the ConvLSTM read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


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
