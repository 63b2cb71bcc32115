"""Which Keras layer is which part of Res-CR-Net, read off the weights alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.config import ResCRNetConfig, Variant, validate
from rescrnet.errors import UsageError
from rescrnet.exchange.keras_file import Weights, mismatch

_PAPER_DILATIONS = [1, 3, 5]

# Layer kinds by their weights, each with its number of axes.
_LSTM = {"kernel": 4, "recurrent_kernel": 4, "bias": 1}
_KINDS: dict[str, dict[str, int]] = {
    "separable": {"depthwise_kernel": 4, "pointwise_kernel": 4, "bias": 1},
    "norm": {"gamma": 1, "beta": 1, "moving_mean": 1, "moving_variance": 1},
    "pointwise": {"kernel": 4, "bias": 1},
    "lstm": {f"{direction}/{name}": axes for direction in ("forward", "backward") for name, axes in _LSTM.items()},
}


@dataclass(frozen=True)
class BlockLayers:
    """The Keras layers of a convolutional residual block.

    Attributes:
        norm: the batch norm that the branches share; none in the stem.
        branches: separable convolution, batch norm, separable convolution of each.
        shortcut: convolution, batch norm.
    """

    norm: str | None
    branches: list[tuple[str, str, str]]
    shortcut: tuple[str, str]


@dataclass(frozen=True)
class HeadLayers:
    """The Keras layers of an LSTM block: the projection to classes, and the ConvLSTMs over rows and columns."""

    projection: str
    lstms: tuple[str, str] | None  # none where m = 0


@dataclass(frozen=True)
class Plan:
    """A Res-CR-Net, and the Keras layer that each part of it takes its weights from."""

    config: ResCRNetConfig
    in_channels: int
    classes: int
    blocks: list[BlockLayers]
    heads: list[HeadLayers]


def plan_from_weights(weights: Weights, variant: Variant = "res-cr-net") -> Plan:
    """Read the network off the names and shapes of its weights.

    Keras numbers the layers of a type as they are created, and the authors' program creates them block by block and
    branch by branch, of an LSTM block the one over rows first. The numbers may start anywhere. Every block must have
    the same number of branches. Dilations leave no trace in weights: three branches are taken to have the paper's 1, 3
    and 5, another number is refused. Neither do dropout rates, which are taken to be the paper's, nor ``variant``.

    Raises:
        ModelError: in what the weights differ from those of Res-CR-Net.
    """
    layers = _by_kind(weights)
    m, odd = divmod(len(layers["lstm"]), 2)
    n = len(layers["pointwise"]) - max(m, 1)
    branches = len(layers["separable"]) // (2 * n) if n > 0 else 0
    expected = {"separable": 2 * n * branches, "norm": n * (branches + 2) - 1, "lstm": 2 * m}
    if odd or branches == 0 or any(len(layers[kind]) != number for kind, number in expected.items()):
        numbers = ", ".join(f"{len(layers[kind])} {kind}" for kind in _KINDS)
        raise mismatch(f"the numbers of its layers ({numbers}) do not make up residual blocks")
    if branches != len(_PAPER_DILATIONS):
        found = f"has {branches} branches a block, whose dilations are not in the weights"
        raise mismatch(found, "give the architecture JSON too")
    separable, norms, pointwise, lstms = (iter(layers[kind]) for kind in _KINDS)
    blocks = []
    for index in range(n):
        shared = next(norms) if index else None
        convolutions = [(next(separable), next(separable)) for _ in range(branches)]
        triples = [(first, next(norms), second) for first, second in convolutions]
        blocks.append(BlockLayers(shared, triples, (next(pointwise), next(norms))))
    heads = [HeadLayers(next(pointwise), (next(lstms), next(lstms)) if m else None) for _ in range(max(m, 1))]
    return Plan(
        config=network_config(**_settings(weights, blocks, heads), m=m, n=n, architecture=variant),
        in_channels=weights[blocks[0].shortcut[0]]["kernel"].shape[2],
        classes=weights[heads[0].projection]["kernel"].shape[3],
        blocks=blocks,
        heads=heads,
    )


def network_config(**settings: Any) -> ResCRNetConfig:
    """A validated configuration; a list of one value for all blocks becomes that value. Raises ModelError."""
    even = next((size for sizes in settings["kernel_sizes"] for size in sizes if size % 2 == 0), None)
    if even is not None:
        raise mismatch(f"has kernels of size {even}", "expected odd sizes")
    for name in ("filters", "kernel_sizes", "dilations"):
        values = settings[name]
        settings[name] = values[0] if all(value == values[0] for value in values) else values
    try:
        return validate(ResCRNetConfig, settings, where="its network")
    except UsageError as error:
        raise mismatch(str(error)) from None


def _settings(weights: Weights, blocks: Sequence[BlockLayers], heads: Sequence[HeadLayers]) -> dict[str, Any]:
    """What the shapes say."""
    filters = [weights[block.branches[0][2]]["pointwise_kernel"].shape[3] for block in blocks]
    width = weights[blocks[0].shortcut[0]]["kernel"].shape[3]
    lstms = heads[0].lstms
    return {
        "filters": filters,
        "kernel_sizes": [
            [weights[first]["depthwise_kernel"].shape[0] for first, _, _ in block.branches] for block in blocks
        ],
        "dilations": [_PAPER_DILATIONS] * len(blocks),
        "merge": "sum" if width == filters[0] else "concatenate",
        **({"lstm_filters": weights[lstms[0]]["forward/recurrent_kernel"].shape[2]} if lstms else {}),
    }


def _by_kind(weights: Weights) -> dict[str, list[str]]:
    """The layers of each kind in the order of their creation."""
    layers: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for layer, arrays in weights.items():
        layers[_kind(layer, arrays)].append(layer)
    return {kind: _in_order(names) for kind, names in layers.items()}


def _kind(layer: str, arrays: dict[str, NDArray[np.float32]]) -> str:
    axes = {name: array.ndim for name, array in arrays.items()}
    kind = next((kind for kind, expected in _KINDS.items() if axes == expected), None)
    if kind is None or (kind == "pointwise" and arrays["kernel"].shape[:2] != (1, 1)):
        weights = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise mismatch(
            f"layer '{layer}' holds {weights}",
            "expected a separable or a 1×1 convolution, both with bias, a batch norm, or a bidirectional ConvLSTM",
        )
    return kind


def _in_order(names: Iterable[str]) -> list[str]:
    """``conv2d_9`` before ``conv2d_10``; the name without a number first."""
    numbered = []
    for name in names:
        parts = re.fullmatch(r"(.*?)(?:_(\d+))?", name)
        stem, number = parts.groups() if parts else (name, None)
        numbered.append((stem, int(number or 0), name))
    stems = sorted({stem for stem, _, _ in numbered})
    if len(stems) > 1:
        raise mismatch(f"its layers are renamed ({', '.join(stems[:4])})", "give the architecture JSON too")
    return [name for _, _, name in sorted(numbered)]
