"""A model as ONNX: intensities normalised to [0, 1] in, class probabilities out, images of any size and number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rescrnet.exchange.onnx_graph import Graph, Value, as_bytes
from rescrnet.exchange.onnx_statistics import Norm, by_image, by_windows, large, windows_of
from rescrnet.intensity import IntensityScaling
from rescrnet.nn.blocks import SLOPE, ConvResBlock, LSTMResBlock, Pointwise, Projection, SeparableConv2d
from rescrnet.nn.convlstm import BidirectionalConvLSTM
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.variants import join
from rescrnet.no_data import NO_DATA

INPUT, OUTPUT = "image", "probabilities"
Affine = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Factor and summand of each channel."""


def onnx_bytes(
    network: ResCRNet, intensity: IntensityScaling, metadata: Mapping[str, str], description: str = ""
) -> bytes:
    """The file: ``image`` (N, C, H, W) float32 → ``probabilities`` (N, classes, H, W) float32, none of N, H, W fixed.

    Batch normalisation is folded into convolutions, in double precision. Each direction of a ConvLSTM is a ``Scan``.

    Args:
        network: stays as it is.
        intensity: the scaling, which becomes part of the graph.
        metadata: texts by name, for programs that ask for them.
        description: for people.
    """
    graph = Graph()
    side = network.config.space_to_depth
    scaled = _scaled(graph, intensity)
    size = graph.value("Shape", scaled, start=2, end=4)  # height and width
    squares = _squares(scaled, size, side, network.in_channels)
    x = _image_features(network, squares, size) if network.config.image_statistics else _features(network, squares)
    if network.lstm_blocks:
        for number, lstm_block in enumerate(network.lstm_blocks):
            projected = _projected(lstm_block.project, x, size, side if number == 0 else 1)
            x = _scans(lstm_block, projected, f"lstm{number}_")
    else:
        x = _projected(network.projections[0], x, size, side)
    graph.node("Softmax", x, axis=1, names=[OUTPUT])
    sizes = ("batch", "height", "width")
    return as_bytes(
        graph.finish(
            "rescrnet",
            {INPUT: (sizes[0], network.in_channels, *sizes[1:])},
            {OUTPUT: (sizes[0], network.classes, *sizes[1:])},
        ),
        metadata,
        description,
    )


def _scaled(graph: Graph, intensity: IntensityScaling) -> Value:
    """As :meth:`IntensityScaling.apply` has it: pixels that hold no data are zero."""
    offset, scale = (
        graph.constant(np.array(one, np.float32).reshape(1, -1, 1, 1)) for one in (intensity.offset, intensity.scale)
    )
    scaled = graph.value("Div", graph.value("Sub", INPUT, offset), scale)
    missing = graph.value("Equal", INPUT, graph.constant(np.array(NO_DATA, np.float32)))
    return graph.value("Where", missing, graph.constant(np.array(0, np.float32)), scaled)


def _image_features(network: ResCRNet, squares: Value, size: Value) -> Value:
    """The convolutional blocks with the statistics of the image: of all of it, or of windows where it is large."""
    graph, side = squares.graph, network.config.space_to_depth
    branches = {}
    for name in ("then_branch", "else_branch"):
        branch = Graph(f"{name}_", around=graph)
        x = Value(branch, squares.name)
        if name == "then_branch":
            channels = network.in_channels * side**2
            take, use = by_windows(x)
            _features(network, windows_of(x, Value(branch, size.name), side, channels), take)
            found = _features(network, x, use)
        else:
            found = _features(network, x, by_image)
        sizes = ("batch", *(f"{name}_{length}" for length in ("features", "rows", "columns")))
        branches[name] = branch.finish(name, {}, {found: sizes})
    return graph.node("If", large(size, side), **branches)[0]


def _features(network: ResCRNet, x: Value, norm: Norm | None = None) -> Value:
    """The convolutional blocks; ``norm`` normalises where stored statistics are not to be folded in."""
    state: tuple[Value, ...] = (x,)
    shares = network.config.statistics_per_block
    for index, (block, share) in enumerate(zip(network.conv_blocks, shares, strict=True)):
        state = join(network.variant, index, _conv_block(block, state[0], norm, share), state[-1])
    return state[0]


def _conv_block(block: ConvResBlock, x: Value, norm: Norm | None, share: float) -> Value:
    activated = x
    if block.norm is not None and norm is not None:
        activated = _leaky(norm(block.norm, x, share))
    elif block.norm is not None:
        # The convolution after it pads with zeros, which no folded summand would leave zero.
        factor, summand = (x.graph.constant(_float(one)[:, None, None]) for one in _affine(block.norm))
        activated = _leaky(x.graph.value("Add", x.graph.value("Mul", x, factor), summand))
    branches = []
    for branch in block.branch_list:
        if norm is not None:
            first = norm(branch.norm, _separable(branch.first, activated), share)
        else:
            first = _separable(branch.first, activated, _affine(branch.norm))
        branches.append(_separable(branch.second, _leaky(first)))
    if norm is not None:
        shortcut = norm(block.shortcut.norm, _pointwise(block.shortcut.convolution, x), share)
    else:
        shortcut = _pointwise(block.shortcut.convolution, x, _affine(block.shortcut.norm))
    if block.merge == "concatenate":
        return shortcut + x.graph.value("Concat", *branches, axis=1)
    return sum(branches, start=shortcut)


def _separable(convolution: SeparableConv2d, x: Value, after: Affine | None = None) -> Value:
    kernel = _double(convolution.depthwise)
    size, dilation = kernel.shape[-1], convolution.dilation
    spread = x.graph.value(
        "Conv",
        x,
        x.graph.constant(_float(kernel)),
        group=len(kernel),
        kernel_shape=[size] * 2,
        dilations=[dilation] * 2,
        pads=[size // 2 * dilation] * 4,
    )
    return _pointwise(convolution.pointwise, spread, after)


def _pointwise(convolution: Pointwise, x: Value, after: Affine | None = None) -> Value:
    """A 1×1 convolution, and what follows it folded in."""
    weight, bias = _double(convolution.weight), _double(cast(Tensor, convolution.bias))
    if after is not None:
        factor, summand = after
        weight, bias = weight * factor[:, None, None, None], bias * factor + summand
    return x.graph.value(
        "Conv", x, x.graph.constant(_float(weight)), x.graph.constant(_float(bias)), kernel_shape=[1, 1]
    )


def _squares(x: Value, size: Value, side: int, channels: int) -> Value:
    """As :func:`rescrnet.nn.network.space_to_depth`."""
    if side == 1:
        return x
    graph = x.graph
    sides = graph.constant(np.array([side, side]))
    beyond = graph.value("Mod", graph.value("Neg", size), sides)  # of the sign of the divisor
    none = graph.constant(np.zeros(4, np.int64))
    pads = graph.value("Concat", none, graph.constant(np.zeros(2, np.int64)), beyond, axis=0)
    squares = graph.value("SpaceToDepth", graph.value("Pad", x, pads, mode="edge"), blocksize=side)
    # ONNX puts the places of a square before the channels, PyTorch after them.
    order = np.arange(channels * side**2).reshape(side**2, channels).T.ravel()
    return graph.value("Gather", squares, graph.constant(order), axis=1)


def _projected(projection: Projection, x: Value, size: Value, side: int) -> Value:
    graph, classes = x.graph, _leaky(_pointwise(projection.convolution, x))
    if side == 1:
        return classes
    squares = graph.value("DepthToSpace", classes, blocksize=side, mode="CRD")
    return graph.value("Slice", squares, graph.constant(np.zeros(2, np.int64)), size, graph.constant(np.array([2, 3])))


def _scans(block: LSTMResBlock, x: Value, prefix: str) -> Value:
    rows = _bidirectional(block.rows, x, axis=2, prefix=f"{prefix}rows_")
    columns = _bidirectional(block.columns, x, axis=3, prefix=f"{prefix}columns_")
    return x + rows + columns


def _bidirectional(lstm: BidirectionalConvLSTM, x: Value, axis: int, prefix: str) -> Value:
    """Both directions over the lines of x along ``axis``, summed over directions and filters."""
    graph, states = x.graph, lstm.filters * lstm.classes
    kernels, biases, recurrents = (_double(one) for one in lstm.weights())
    along = 5 - axis  # the axis of a line's pixels
    no_state = _zeros(x, states, along)
    both: list[Value] = []
    for direction in range(2):
        kernel = kernels[direction].transpose(0, 2, 1)  # (4·S, K, 3)
        line_kernel = kernel[:, :, None] if along == 3 else kernel[..., None]
        pads = [0, 1, 0, 1] if along == 3 else [1, 0, 1, 0]
        lines = graph.value(
            "Conv", x, graph.constant(_float(line_kernel)), graph.constant(_float(biases[direction])), pads=pads
        )
        body = _step(_float(recurrents[direction].transpose(0, 2, 1)), f"{prefix}{'down' if direction == 0 else 'up'}_")
        *_, hidden = graph.node(
            "Scan",
            no_state,
            no_state,
            lines,
            outputs=3,
            body=body,
            num_scan_inputs=1,
            scan_input_axes=[axis],
            scan_input_directions=[direction],
            scan_output_axes=[axis],
            scan_output_directions=[direction],
        )
        both.append(hidden)
    total = both[0] + both[1]
    if lstm.filters == 1:
        return total
    one_for_each = np.tile(np.eye(lstm.classes), lstm.filters)[..., None, None]
    return graph.value("Conv", total, graph.constant(_float(one_for_each)), kernel_shape=[1, 1])


def _zeros(x: Value, states: int, along: int) -> Value:
    """The state before the first line, (N, states, pixels of a line)."""
    images, pixels = (x.graph.value("Shape", x, start=axis, end=axis + 1) for axis in (0, along))
    shape = x.graph.value("Concat", images, x.graph.constant(np.array([states])), pixels, axis=0)
    return x.graph.value("ConstantOfShape", shape)


def _step(recurrent: NDArray[np.float32], prefix: str) -> Any:
    """One line of :func:`rescrnet.ops.convlstm.convlstm`: the body of a scan.

    The lengths of its axes have names, for without them onnxruntime 1.15 takes buffers of one size for another.
    """
    graph, states = Graph(prefix), recurrent.shape[1]
    hidden, cell, line = (f"{prefix}{name}" for name in ("hidden", "cell", "line"))
    z = Value(graph, line) + graph.value("Conv", hidden, graph.constant(recurrent), kernel_shape=[3], pads=[1, 1])
    parts = graph.constant(np.array([3 * states, states]))
    sigmoids, candidate = graph.node("Split", z, parts, outputs=2, axis=1)
    gates = graph.value("HardSigmoid", sigmoids, alpha=0.2, beta=0.5)
    thirds = graph.constant(np.array([states] * 3))
    i, f, o = graph.node("Split", gates, thirds, outputs=3, axis=1)
    kept, new = graph.value("Mul", f, cell), graph.value("Mul", i, graph.value("Tanh", candidate))
    next_cell = kept + new
    next_hidden = graph.value("Mul", o, graph.value("Tanh", next_cell))
    shown = graph.value("Identity", next_hidden)
    state = ("batch", states, f"{prefix}pixels")
    return graph.finish(
        f"{prefix}step",
        {hidden: state, cell: state, line: ("batch", 4 * states, f"{prefix}pixels")},
        {next_hidden: state, next_cell: state, shown: state},
    )


def _leaky(x: Value) -> Value:
    return x.graph.value("LeakyRelu", x, alpha=SLOPE)


def _affine(norm: nn.BatchNorm2d) -> Affine:
    """Batch normalisation in inference, as a factor and a summand."""
    mean, variance = (_double(cast(Tensor, one)) for one in (norm.running_mean, norm.running_var))
    factor = _double(norm.weight) / np.sqrt(variance + norm.eps)
    return factor, _double(norm.bias) - mean * factor


def _double(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float64)


def _float(array: NDArray[np.float64]) -> NDArray[np.float32]:
    return array.astype(np.float32)
