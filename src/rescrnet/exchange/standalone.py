"""Res-CR-Net in plain PyTorch, in one file that needs nothing else: for programs that do not have rescrnet.

It takes images normalised to [0, 1] (integers divided by the largest value of their type, 255 or 65535) and gives class
probabilities. It can be scripted, and its weights have the names that they have in rescrnet. For inference alone.

    network = ResCRNet(**settings)                      # those in rdf.yaml
    network.load_state_dict(torch.load("weights.pt", weights_only=True))
    probabilities = network.eval()(image)               # (N, channels, H, W) -> (N, classes, H, W)
"""

from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1  # of every LeakyReLU
NO_DATA = -9999.0  # a pixel that holds no data, which the network sees as 0
SAMPLED, SAMPLE_SIDE = 2**18, 128  # pixels of the blocks: more are normalised by 16 windows of that side


class ResCRNet(nn.Module):
    """A stem and convolutional residual blocks, then ConvLSTM residual blocks over rows and columns, then a softmax.

    Args:
        in_channels: channels of the images.
        classes: number of classes.
        architecture: how the blocks are joined: ``res-cr-net``, ``dense`` or ``very-dense``.
        m: number of ConvLSTM residual blocks.
        filters: of each branch, a number for each convolutional block.
        kernel_sizes: of the branches, a list for each convolutional block.
        dilations: of the branches, a list for each convolutional block.
        merge: how branches are joined: ``concatenate`` or ``sum``.
        lstm_filters: filters of each direction of a ConvLSTM.
        space_to_depth: side of the squares of pixels that are one pixel to the convolutional blocks.
        image_statistics: the share of its own statistics that an image is normalised with, a number for each
            convolutional block; the rest are stored ones. Those of a large image are taken from 16 windows that are
            spread over it.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        architecture: str,
        m: int,
        filters: List[int],
        kernel_sizes: List[List[int]],
        dilations: List[List[int]],
        merge: str,
        lstm_filters: int,
        space_to_depth: int,
        image_statistics: List[float],
    ) -> None:
        super().__init__()
        self.architecture, self.no_data, self.side = architecture, NO_DATA, space_to_depth
        self.samples, self.most, self.extent = (
            max(image_statistics) > 0.0,
            SAMPLED * space_to_depth**2,
            SAMPLE_SIDE * space_to_depth,
        )
        self.register_buffer("offset", torch.zeros(in_channels))
        self.register_buffer("scale", torch.ones(in_channels))
        blocks, width = [], in_channels * self.side**2
        for index, (count, kernels, spreads, share) in enumerate(
            zip(filters, kernel_sizes, dilations, image_statistics)
        ):
            blocks.append(ConvBlock(width, count, kernels, spreads, merge, index == 0, share))
            width = count * len(kernels) if merge == "concatenate" else count
        self.blocks = nn.ModuleList(blocks)
        rest = [LSTMBlock(classes, classes, lstm_filters, 1) for _ in range(m - 1)]
        head: nn.Module = Projection(width, classes, self.side)
        if m > 0:
            head = Head(LSTMBlock(width, classes, lstm_filters, self.side), *rest)
        self.head = head

    def forward(self, image: Tensor) -> Tensor:
        """(N, in_channels, H, W), normalised to [0, 1] -> probabilities (N, classes, H, W)."""
        x = (image - self.offset.reshape(1, -1, 1, 1)) / self.scale.reshape(1, -1, 1, 1)
        x = torch.where(image == self.no_data, torch.zeros_like(x), x)
        height, width = image.shape[2], image.shape[3]
        if self.side > 1:
            x = F.pad(x, [0, -width % self.side, 0, -height % self.side], mode="replicate")
            x = F.pixel_unshuffle(x, self.side)
        if self.samples and height * width > self.most:
            features = torch.cat([self.large(one, height, width) for one in torch.split(x, 1)])
        else:
            features = self.features(x, [], False)
        return torch.softmax(self.head(features, height, width), dim=1)

    def large(self, x: Tensor, height: int, width: int) -> Tensor:
        """What the blocks make of one image, normalised with the statistics of its windows."""
        tops, lefts = self.starts(height), self.starts(width)
        rows, columns = self.length(height), self.length(width)
        kept: List[Tensor] = []
        windows: List[Tensor] = []
        for top in tops:
            windows += [x[:, :, top : top + rows, left : left + columns] for left in lefts]
        self.features(torch.cat(windows), kept, True)
        return self.features(x, kept, False)

    def length(self, pixels: int) -> int:
        """How long a window is along an axis, pixels of the blocks."""
        return (min(pixels, self.extent) + self.side - 1) // self.side

    def starts(self, pixels: int) -> List[int]:
        """Where windows begin along an axis, pixels of the blocks."""
        result: List[int] = []
        for index in range(4):
            start = (pixels - min(pixels, self.extent)) * index // 3 // self.side
            if start not in result:
                result.append(start)
        return result

    def features(self, x: Tensor, kept: List[Tensor], taking: bool) -> Tensor:
        """The convolutional blocks; ``kept`` as in :class:`Norm`."""
        total = x
        for index, block in enumerate(self.blocks):
            output = block(x, kept, taking)
            if self.architecture == "res-cr-net" or index == 0:
                x, total = output, output
            elif self.architecture == "dense":
                x = output if index == 1 else output + total
                total = total + output if index == 1 else x
            else:
                x = total + output
                total = total + x
        return x


class ConvBlock(nn.Module):
    """Parallel branches of two separable atrous convolutions each, beside a 1x1 shortcut."""

    def __init__(
        self,
        inputs: int,
        filters: int,
        kernel_sizes: List[int],
        dilations: List[int],
        merge: str,
        stem: bool,
        share: float,
    ) -> None:
        super().__init__()
        self.concatenates = merge == "concatenate"
        width = filters * len(kernel_sizes) if self.concatenates else filters
        self.activation = Steps() if stem else Steps(Norm(inputs, share), LeakyReLU(SLOPE))
        self.branches = nn.ModuleList(
            [
                Steps(
                    Separable(inputs, filters, size, dilation),
                    Norm(filters, share),
                    LeakyReLU(SLOPE),
                    Separable(filters, filters, size, dilation),
                )
                for size, dilation in zip(kernel_sizes, dilations)
            ]
        )
        self.shortcut = Steps(Pointwise(inputs, width, 1), Norm(width, share))

    def forward(self, x: Tensor, kept: List[Tensor], taking: bool) -> Tensor:
        """(N, inputs, H, W) -> (N, width, H, W); ``kept`` as in :class:`Norm`."""
        activated = self.activation(x, kept, taking)
        results = [branch(activated, kept, taking) for branch in self.branches]
        joined = torch.cat(results, dim=1) if self.concatenates else torch.stack(results).sum(0)
        return self.shortcut(x, kept, taking) + joined


class Steps(nn.Sequential):
    """Layers one after the other, each of which is told of the statistics."""

    def forward(self, x: Tensor, kept: List[Tensor], taking: bool) -> Tensor:  # type: ignore[override]
        """(N, inputs, H, W) -> (N, width, H, W); ``kept`` as in :class:`Norm`."""
        for module in self:
            x = module(x, kept, taking)
        return x


class LeakyReLU(nn.LeakyReLU):
    """One that takes no notice of statistics."""

    def forward(self, x: Tensor, kept: List[Tensor], taking: bool) -> Tensor:  # type: ignore[override]
        """The same shape."""
        return F.leaky_relu(x, self.negative_slope)


class Pointwise(nn.Conv2d):
    """A convolution that takes no notice of statistics."""

    def forward(self, x: Tensor, kept: List[Tensor], taking: bool) -> Tensor:  # type: ignore[override]
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        return F.conv2d(x, self.weight, self.bias)


class Separable(nn.Module):
    """A dilated depthwise convolution, then a 1x1 convolution; the size stays."""

    def __init__(self, inputs: int, outputs: int, size: int, dilation: int) -> None:
        super().__init__()
        self.dilation, self.padding, self.groups = dilation, size // 2 * dilation, inputs
        self.depthwise = nn.Parameter(torch.zeros(inputs, 1, size, size))
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, kept: List[Tensor], taking: bool) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        x = F.conv2d(x, self.depthwise, padding=self.padding, dilation=self.dilation, groups=self.groups)
        return self.pointwise(x)


class Projection(nn.Sequential):
    """To classes; each pixel becomes a square of pixels, and what is beyond the image is cut off."""

    def __init__(self, inputs: int, classes: int, side: int) -> None:
        super().__init__(nn.Conv2d(inputs, classes * side**2, 1), nn.LeakyReLU(SLOPE))
        self.side = side

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:  # type: ignore[override]
        """(N, inputs, H / side, W / side) -> (N, classes, H, W)."""
        for module in self:
            x = module(x)
        return F.pixel_shuffle(x, self.side)[:, :, :height, :width]


class Head(nn.Sequential):
    """ConvLSTM residual blocks, one after the other."""

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:  # type: ignore[override]
        """(N, inputs, H / side, W / side) -> (N, classes, H, W)."""
        for block in self:
            x = block(x, height, width)
        return x


class LSTMBlock(nn.Module):
    """Projects to classes, then adds what two ConvLSTMs make of the rows and of the columns."""

    def __init__(self, inputs: int, classes: int, filters: int, side: int) -> None:
        super().__init__()
        self.project = Projection(inputs, classes, side)
        self.rows = ConvLSTM(classes, filters)
        self.columns = ConvLSTM(classes, filters)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(N, inputs, H / side, W / side) -> (N, classes, H, W)."""
        x = self.project(x, height, width)
        return x + self.rows(x) + self.columns(x.transpose(2, 3)).transpose(2, 3)


class ConvLSTM(nn.Module):
    """Two ConvLSTMs over the rows of a map of classes, one downwards and one upwards; their states summed.

    To them a row is a picture of W pixels by ``classes``. Gates are in the order i, f, o, g.
    """

    def __init__(self, classes: int, filters: int) -> None:
        super().__init__()
        self.classes, self.filters = classes, filters
        self.input_kernel = nn.Parameter(torch.zeros(2, 4, filters, 1, 3, classes))
        self.recurrent_kernel = nn.Parameter(torch.zeros(2, 4, filters, filters, 3, classes))
        self.bias = nn.Parameter(torch.zeros(2, 4, filters))

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes, H, W) -> the same shape."""
        return self.scan(x, 0) + self.scan(x, 1)

    def scan(self, x: Tensor, direction: int) -> Tensor:
        """One direction: 0 downwards, 1 upwards."""
        images, height, width = x.shape[0], x.shape[2], x.shape[3]
        states = self.filters * self.classes
        kernel = self.as_matrices(self.input_kernel[direction]).unsqueeze(2)
        recurrent = self.as_matrices(self.recurrent_kernel[direction])
        bias = self.bias[direction].unsqueeze(2).expand(-1, -1, self.classes).reshape(-1)
        lines = F.conv2d(x, kernel, bias, padding=(0, 1))
        hidden = torch.zeros(images, states, width, dtype=x.dtype, device=x.device)
        cell = hidden
        results: List[Tensor] = []
        for step in range(height):
            row = height - 1 - step if direction == 1 else step
            hidden, cell = self.advance(lines[:, :, row], recurrent, hidden, cell)
            results.append(hidden)
        result = torch.stack(results, dim=2)
        if direction == 1:
            result = result.flip(2)
        return result.reshape(images, self.filters, self.classes, height, width).sum(1)

    def advance(self, line: Tensor, recurrent: Tensor, hidden: Tensor, cell: Tensor) -> Tuple[Tensor, Tensor]:
        """One row's part of the pre-activations (N, 4*states, W), and h and c -> the next h and c."""
        z = line + F.conv1d(hidden, recurrent, padding=1)
        i, f, o, g = z.chunk(4, dim=1)
        cell = self.gate(f) * cell + self.gate(i) * torch.tanh(g)
        return self.gate(o) * torch.tanh(cell), cell

    def gate(self, z: Tensor) -> Tensor:
        """The hard sigmoid."""
        return (0.2 * z + 0.5).clamp(0.0, 1.0)

    def as_matrices(self, kernel: Tensor) -> Tensor:
        """(4, filters, in, 3, classes) -> (4*states, in*classes, 3): the "same" convolution over classes."""
        gates, filters, inputs, taps = kernel.shape[0], kernel.shape[1], kernel.shape[2], kernel.shape[3]
        position = torch.arange(self.classes, device=kernel.device)
        tap = position.unsqueeze(0) - position.unsqueeze(1) + (self.classes - 1) // 2  # (out, in)
        beyond = (tap < 0) | (tap >= self.classes)
        tap = torch.where(beyond, torch.full_like(tap, self.classes), tap)
        chosen = F.pad(kernel, [0, 1]).index_select(4, tap.reshape(-1))
        spread = chosen.reshape(gates, filters, inputs, taps, self.classes, self.classes)
        rows, columns = gates * filters * self.classes, inputs * self.classes
        return spread.permute(0, 1, 4, 2, 5, 3).reshape(rows, columns, taps)


class Norm(nn.BatchNorm2d):
    """Batch normalisation for inference, with the authors' constant: by stored statistics and a share of the image's.

    Mean and variance are taken from a batch of windows of one image (``taking``) into ``kept``, and out of it again, in
    the same order, for the image; where nothing is kept each image of a batch has its own.
    """

    def __init__(self, channels: int, share: float) -> None:
        super().__init__(channels, eps=1e-3)
        self.share = share

    def forward(self, x: Tensor, kept: List[Tensor], taking: bool) -> Tensor:  # type: ignore[override]
        """(N, channels, H, W) -> the same shape."""
        stored_mean, stored_variance = self.running_mean, self.running_var
        if self.share == 0.0 or stored_mean is None or stored_variance is None:
            return F.batch_norm(x, stored_mean, stored_variance, self.weight, self.bias, False, 0.0, self.eps)
        if taking or len(kept) == 0:
            over = [0, 2, 3] if taking else [2, 3]
            variance, mean = torch.var_mean(x, over, unbiased=False, keepdim=True)  # summed in double precision
            mean = torch.lerp(stored_mean.reshape(1, -1, 1, 1).expand_as(mean), mean, self.share)
            variance = torch.lerp(stored_variance.reshape(1, -1, 1, 1).expand_as(variance), variance, self.share)
            if taking:
                kept.append(mean)
                kept.append(variance)
        else:
            mean, variance = kept.pop(0), kept.pop(0)
        deviation = (variance + self.eps).sqrt()
        return (x - mean) / deviation * self.weight.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)
