"""How an ONNX graph normalises an image with its own statistics, as :mod:`rescrnet.nn.statistics` has it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rescrnet.exchange.onnx_graph import Value
from rescrnet.nn.statistics import GRID, SAMPLED, SIDE

Norm = Callable[[nn.BatchNorm2d, Value, float], Value]
"""Normalises a value (N, C, H, W) in place of a layer, with a share of the image's own mean and variance."""


def by_image(norm: nn.BatchNorm2d, x: Value, share: float) -> Value:
    """Each image of a batch with ``share`` of its own mean and variance, and stored ones for the rest.

    By hand, since InstanceNormalization sums less exactly.
    """
    graph, own, shape = x.graph, _mean(x), (1, -1, 1, 1)
    centred = graph.value("Sub", x, own)
    mean = _mixed(norm.running_mean, own, share, shape)
    variance = _mixed(norm.running_var, _mean(graph.value("Mul", centred, centred)), share, shape)
    return _scaled(norm, graph.value("Div", graph.value("Sub", x, mean), _deviation(norm, variance)))


def _mixed(stored: Tensor | None, own: Value, share: float, shape: tuple[int, ...]) -> Value:
    """Statistics of a layer: ``stored`` (C), of which ``shape`` broadcasts with its own."""
    if share == 1 or stored is None:
        return own
    graph = own.graph
    rest = (1 - share) * stored.detach().cpu().double().numpy().reshape(shape)
    weighted = graph.value("Mul", own, graph.constant(np.array(share, np.float32)))
    return graph.value("Add", weighted, graph.constant(rest.astype(np.float32)))


def _mean(x: Value) -> Value:
    """Of each channel, (N, C, 1, 1); by axis, for float32 cannot sum a million numbers."""
    return x.graph.value("ReduceMean", x.graph.value("ReduceMean", x, axes=[3]), axes=[2])


def _deviation(norm: nn.BatchNorm2d, variance: Value) -> Value:
    graph = variance.graph
    return graph.value("Sqrt", graph.value("Add", variance, graph.constant(np.array(norm.eps, np.float32))))


def by_windows(image: Value) -> tuple[Norm, Norm]:
    """One norm for the windows of each image of a batch, and one for the images, in the same order of layers."""
    images = image.graph.value("Shape", image, start=0, end=1)
    kept: deque[tuple[Value, Value]] = deque()

    def mean_of(x: Value) -> Value:
        """Of each channel over the windows of an image, (N, 1, C, 1)."""
        graph = x.graph
        channels = graph.value("Shape", x, start=1, end=2)
        shape = graph.value(
            "Concat", images, graph.constant(np.array([-1])), channels, graph.constant(np.array([1])), axis=0
        )
        return graph.value("ReduceMean", graph.value("Reshape", _mean(x), shape), axes=[1])

    def take(norm: nn.BatchNorm2d, x: Value, share: float) -> Value:
        graph, channels = x.graph, x.graph.constant(np.array([-1, norm.num_features]))
        pixels = graph.value("ReduceProd", graph.value("Shape", x, start=2, end=4), axes=[0], keepdims=1)
        grouped = graph.value("Concat", images, channels, pixels, axis=0)
        values, shape = graph.value("Reshape", x, grouped), (1, 1, -1, 1)  # (N, windows, C, pixels)
        mean = mean_of(x)
        centred = graph.value("Reshape", graph.value("Sub", values, mean), graph.value("Shape", x))
        variance = mean_of(graph.value("Mul", centred, centred))
        mean = _mixed(norm.running_mean, mean, share, shape)
        deviation = _deviation(norm, _mixed(norm.running_var, variance, share, shape))
        of_image = (graph.value("Transpose", one, perm=[0, 2, 1, 3]) for one in (mean, deviation))  # (N, C, 1, 1)
        kept.append((next(of_image), next(of_image)))
        divided = graph.value("Div", graph.value("Sub", values, mean), deviation)
        return _scaled(norm, graph.value("Reshape", divided, graph.value("Shape", x)))

    def use(norm: nn.BatchNorm2d, x: Value, share: float) -> Value:
        mean, deviation = kept.popleft()
        return _scaled(norm, x.graph.value("Div", x.graph.value("Sub", x, mean), deviation))

    return take, use


def large(size: Value, side: int) -> Value:
    """Whether an image of ``size``, rows and columns, has its statistics from windows."""
    graph = size.graph
    pixels = graph.value("ReduceProd", size, axes=[0], keepdims=0)
    return graph.value("Greater", pixels, graph.constant(np.array(SAMPLED * side**2)))


def windows_of(squares: Value, size: Value, side: int, channels: int) -> Value:
    """The windows of :func:`rescrnet.nn.statistics.sample_windows`, (N · windows, C, Y, X).

    Args:
        squares: (N, C, H / side, W / side).
        size: of the image, rows and columns.
        side: of the squares.
        channels: C.
    """
    graph = squares.graph
    rows, columns = (_places(size, axis, side) for axis in (0, 1))
    strips = graph.value("Gather", squares, rows, axis=2)  # (N, C, tops, Y, W)
    cut = graph.value("Gather", strips, columns, axis=4)  # (N, C, tops, Y, lefts, X)
    windows = graph.value("Transpose", cut, perm=[0, 2, 4, 1, 3, 5])
    lengths = [graph.value("Shape", places, start=1, end=2) for places in (rows, columns)]
    shape = graph.value("Concat", graph.constant(np.array([-1, channels])), *lengths, axis=0)
    return graph.value("Reshape", windows, shape)


def _places(size: Value, axis: int, side: int) -> Value:
    """Rows or columns of squares that windows take, (windows, length)."""
    graph = size.graph

    def number(value: int | list[int]) -> str:
        return graph.constant(np.array(value))

    pixels = graph.value("Gather", size, number(axis), axis=0)
    extent = graph.value("Min", pixels, number(SIDE * side))
    spread = graph.value("Mul", graph.value("Sub", pixels, extent), number(list(range(GRID))))
    starts = graph.value("Div", graph.value("Div", spread, number(GRID - 1)), number(side))
    starts = graph.value("Unsqueeze", graph.value("Unique", starts, sorted=1), number([1]))
    length = graph.value("Div", graph.value("Add", extent, number(side - 1)), number(side))
    return graph.value("Add", starts, graph.value("Range", number(0), length, number(1)))


def _scaled(norm: nn.BatchNorm2d, x: Value) -> Value:
    factor, summand = (x.graph.constant(_array(one)[:, None, None]) for one in (norm.weight, norm.bias))
    return x.graph.value("Add", x.graph.value("Mul", x, factor), summand)


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy().astype(np.float32)
