"""The bidirectional convolutional LSTM that sweeps an image line by line (paper, "LSTM RES BLOCK")."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescrnet.ops.convlstm import continue_convlstm, convlstm
from rescrnet.ops.convlstm_weights import ScanWeights


class BidirectionalConvLSTM(nn.Module):
    """Two ConvLSTMs over the rows of a map of classes, one downwards and one upwards, summed.

    Each row is a picture of its own to the LSTM: W pixels by ``classes``, convolved with a kernel of 3 by ``classes``,
    "same" padding on both axes (with an even number of classes the longer side comes after).

    The kernels are stored as they are defined, direction first and gates in the order i, f, o, g:

    - ``input_kernel`` (2, 4, filters, 1, 3, classes)
    - ``recurrent_kernel`` (2, 4, filters, filters, 3, classes)
    - ``bias`` (2, 4, filters)

    Args:
        classes: width of the map.
        filters: filters of each direction.
        dropout: share of the recurrent input dropped in training, one mask a sequence for each gate.
    """

    def __init__(self, classes: int, filters: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.classes, self.filters, self.dropout = classes, filters, dropout
        self.input_kernel = nn.Parameter(torch.empty(2, 4, filters, 1, 3, classes))
        self.recurrent_kernel = nn.Parameter(torch.empty(2, 4, filters, filters, 3, classes))
        self.bias = nn.Parameter(torch.zeros(2, 4, filters))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He-normal input kernels, orthogonal recurrent kernels, zero biases except 1 for the forget gate."""
        he_normal_(self.input_kernel, fan_in=3 * self.classes)
        with torch.no_grad():
            for direction in self.recurrent_kernel:
                # Orthogonal as one matrix: what a filter reads by what the four gates of all filters make of it.
                matrix = torch.empty(3 * self.classes * self.filters, 4 * self.filters)
                nn.init.orthogonal_(matrix)
                shape = (self.filters, 3, self.classes, 4, self.filters)
                direction.copy_(matrix.reshape(shape).permute(3, 4, 0, 1, 2))
            self.bias.zero_()
            self.bias[:, 1] = 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes, H, W) → the same shape: both directions' outputs, summed over directions and filters."""
        return convlstm(x, self.weights(), self.dropout_factors(x))

    def scan(self, x: Tensor, direction: int, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One direction over some of the rows of an image; without gradient or dropout.

        Args:
            x: (N, classes, H, W), the rows in the order of the image.
            direction: 0 downwards, 1 upwards.
            state: what the scan of the rows before returned; none at the edge of the image.

        Returns:
            (N, classes, H, W), the direction's output summed over filters, and the state to continue from,
            (2, filters·classes, N, W).
        """
        if state is None:
            state = x.new_zeros(2, self.filters * self.classes, len(x), x.shape[3])
        weights = ScanWeights(*(tensor[direction : direction + 1] for tensor in self.weights()))
        return continue_convlstm(x, weights, state, upwards=direction == 1)

    def weights(self) -> ScanWeights:
        """The kernels with their convolution over the class axis written as matrices."""
        channels = self.filters * self.classes
        kernel = toeplitz(self.input_kernel)  # (2, 4, filters, classes, 1, 3, classes)
        recurrent = toeplitz(self.recurrent_kernel).transpose(4, 5)  # (2, 4, filters, classes, 3, filters, classes)
        return ScanWeights(
            kernel.reshape(2, 4 * channels, 3, self.classes),
            self.bias[..., None].expand(-1, -1, -1, self.classes).reshape(2, 4 * channels),
            recurrent.reshape(2, 4 * channels, 3, channels),
        )

    def dropout_factors(self, x: Tensor) -> Tensor | None:
        """In training, what each gate multiplies its recurrent input with, (2, 4, filters·classes, N, W)."""
        if not self.training or self.dropout == 0:
            return None
        kept = torch.ones(2, 4, self.filters * self.classes, len(x), x.shape[3], dtype=self.bias.dtype, device=x.device)
        return F.dropout(kept, self.dropout)


def toeplitz(kernel: Tensor) -> Tensor:
    """Write the "same" convolution over the class axis as a matrix.

    ``(..., filters in, 3, classes)`` → ``(..., classes out, filters in, 3, classes in)``, with the entry of the pair
    (out, in) the kernel's at ``in - out + (classes - 1) // 2``, zero beyond its ends.
    """
    classes = kernel.shape[-1]
    position = torch.arange(classes, device=kernel.device)
    tap = position[None, :] - position[:, None] + (classes - 1) // 2  # (out, in)
    tap = torch.where((tap >= 0) & (tap < classes), tap, classes)
    return F.pad(kernel, (0, 1))[..., tap].movedim(-2, -4)


def he_normal_(weight: Tensor, fan_in: int) -> None:
    """Fill in place from a normal of variance 2 / fan_in cut at two deviations (He et al. 2015, arXiv:1502.01852)."""
    deviation = (2 / fan_in) ** 0.5 / 0.87962566103423978  # the deviation of a unit normal cut at ±2
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
