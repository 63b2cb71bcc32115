"""Keras 2 files as data: weights by layer and name from HDF5, layers of a graph from JSON. Nothing in them is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import ModelError
from rescrnet.wording import one_line

Weights = dict[str, dict[str, NDArray[np.float32]]]  # layer → weight → array, in Keras' layout

# How TensorFlow names an operation, as a function (TFOpLambda) or as a node of its graph (TensorFlowOpLayer).
_OPERATIONS = {"add": "Add", "Add": "Add", "AddV2": "Add", "Sum": "reduce_sum", "Transpose": "transpose"}
_OPERATIONS["ExpandDims"] = "expand_dims"
_EXPECTED = "expected what Keras 2 saves as .h5"


def mismatch(found: str, remedy: str = "") -> ModelError:
    """In what a Keras network is not ours, for a caller who knows which file it is in."""
    return ModelError("the Keras network", found, remedy)


@dataclass(frozen=True)
class Layer:
    """A layer of a Keras graph.

    Attributes:
        name: its name in the file, the key of its weights.
        kind: its Keras class; for a bare operation that operation's name, such as ``transpose``.
        settings: its Keras configuration.
        inputs: the names of the layers it reads.
        arguments: constants that a bare operation is called with.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def setting(self, key: str) -> Any:
        """A setting that the file must state."""
        if key not in self.settings:
            raise mismatch(f"layer '{self.name}' states no {key}")
        return self.settings[key]


def read_weights(file: Path) -> tuple[Weights, str | None]:
    """Weights of a Keras HDF5 file, and the JSON of its architecture where it is a full model.

    A weight is known by the last part of its name (``kernel``, ``gamma``, …), in a bidirectional layer with the
    direction before it (``forward/kernel``). Layers without weights are left out.

    Raises:
        ModelError: the file is missing, is not HDF5, or holds no Keras layers.
    """
    import h5py  # type: ignore[import-untyped]  # only who imports needs it

    if not file.is_file():
        raise ModelError(file, "no such file", "expected Keras weights or a Keras model in HDF5 (.h5)")
    try:
        with h5py.File(file, "r") as opened:
            group = opened.get("model_weights", opened)
            layers = _names(group.attrs, "layer_names")
            if not layers:
                raise ModelError(file, "holds no Keras layers (no layer_names)", _EXPECTED)
            weights = {layer: _arrays(group[layer]) for layer in layers}
            architecture = opened.attrs.get("model_config")
    except ModelError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(file, f"is not HDF5 or is damaged ({one_line(error)})", _EXPECTED) from None
    try:
        text = architecture.decode() if isinstance(architecture, bytes) else architecture
    except UnicodeDecodeError:
        raise ModelError(file, "its model_config is no UTF-8", "copy it again") from None
    return {layer: arrays for layer, arrays in weights.items() if arrays}, text


def _names(attributes: Mapping[str, Any], key: str) -> list[str]:
    """A list of names; Keras cuts one that exceeds HDF5's limit for an attribute into ``key0``, ``key1``, …."""
    pieces = [key] if key in attributes else []
    for number in count():
        if f"{key}{number}" not in attributes:
            break
        pieces.append(f"{key}{number}")
    names = [name for piece in pieces for name in attributes[piece]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _arrays(group: Any) -> dict[str, NDArray[np.float32]]:
    arrays = {}
    for name in _names(group.attrs, "weight_names"):
        *path, last = name.split("/")
        direction = next((part.split("_")[0] for part in path if part.startswith(("forward_", "backward_"))), None)
        weight = last.split(":")[0]
        # asarray(float) refuses what is no number, and turns half precision into ours.
        arrays[f"{direction}/{weight}" if direction else weight] = np.asarray(group[name], dtype=np.float32)
    return arrays


def read_layers(text: str) -> dict[str, Layer]:
    """The layers of a Keras functional model by name, in the order of its JSON.

    Raises:
        ModelError: ``text`` is not such JSON, or a layer reads one that does not come before it.
    """
    try:
        model = json.loads(text)
        model = json.loads(model) if isinstance(model, str) else model  # to_json() written by json.dump
        raw = {str(layer.get("name", layer["config"]["name"])): layer for layer in model["config"]["layers"]}
        layers = {name: _layer(name, layer, set(raw)) for name, layer in raw.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise mismatch("is not the JSON of a Keras functional model") from None
    known: set[str] = set()
    for layer in layers.values():
        if not known.issuperset(layer.inputs):
            raise mismatch(f"layer '{layer.name}' reads a layer that does not come before it")
        known.add(layer.name)
    return layers


def _layer(name: str, raw: Mapping[str, Any], names: set[str]) -> Layer:
    nodes = raw.get("inbound_nodes", [])
    arguments = next((part for node in nodes for part in node if isinstance(part, dict)), {})
    return Layer(name, _kind(raw), dict(raw["config"]), tuple(_references(nodes, names)), arguments)


def _kind(raw: Mapping[str, Any]) -> str:
    """The class of a layer, or the operation that it wraps."""
    kind, settings = str(raw["class_name"]), raw["config"]
    if kind == "Lambda":
        # The authors' network has one such layer, which adds an axis. It holds marshalled bytecode, which is never
        # looked at: the layer is accepted where that operation belongs, and nowhere else.
        return "expand_dims"
    if kind == "TFOpLambda":
        function = str(settings["function"]).split(".")[-1]
        return _OPERATIONS.get(function, function)
    if kind == "TensorFlowOpLayer":  # TensorFlow 2.0 to 2.3
        operation = re.search(r"\b(AddV2|Add|Sum|Transpose|ExpandDims)\b", str(settings["node_def"]))
        return _OPERATIONS[operation[1]] if operation else kind
    return kind


def _references(node: Any, names: set[str]) -> Iterator[str]:
    """The layers that a layer's inbound nodes refer to, as ``[name, node, tensor, …]`` at any depth."""
    if isinstance(node, dict):
        node = list(node.values())
    if not isinstance(node, list):
        return
    if len(node) >= 3 and isinstance(node[0], str) and node[0] in names:
        yield node[0]
        node = node[3:]
    for part in node:
        yield from _references(part, names)
