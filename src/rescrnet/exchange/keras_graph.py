"""Which Keras layer is which part of Res-CR-Net, read off the graph in its architecture JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from math import isclose
from typing import Any

from rescrnet.config import ResCRNetConfig, Variant
from rescrnet.errors import ModelError
from rescrnet.exchange.keras_file import Layer, mismatch, read_layers
from rescrnet.exchange.keras_plan import BlockLayers, HeadLayers, Plan, network_config
from rescrnet.nn.variants import VARIANTS, dropouts, join
from rescrnet.wording import one_line

# What a tensor is the sum of: outputs of blocks by their place, each with the dropout after it, and how often.
Terms = Counter[tuple[int, float]]

# What our network has built in, by Keras' class and setting.
_BUILT_IN: dict[str, dict[str, Any]] = {
    "Conv2D": {"kernel_size": [1, 1], "strides": [1, 1], "activation": "linear"},
    "SeparableConv2D": {"padding": "same", "strides": [1, 1], "depth_multiplier": 1, "activation": "linear"},
    "BatchNormalization": {"epsilon": 1e-3},
    "LeakyReLU": {"alpha": 0.1},
    "Bidirectional": {"merge_mode": "concat"},
    "ConvLSTM2D": {
        "padding": "same",
        "strides": [1, 1],
        "dilation_rate": [1, 1],
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "go_backwards": False,
        "return_sequences": True,
    },
    "Activation": {"activation": "softmax"},
    "Softmax": {"axis": -1},
    "expand_dims": {"axis": -1},
    "transpose": {"perm": [0, 2, 1, 3, 4]},
    "reduce_sum": {"axis": -1},
}


def plan_from_architecture(text: str) -> Plan:
    """Read the network off the JSON of its Keras graph, followed from its output to its input.

    Raises:
        ModelError: the first layer that does not fit, and what was expected in its place.
    """
    graph = _Graph(read_layers(text))
    try:
        return _plan(graph)
    except (AttributeError, IndexError, KeyError, TypeError) as error:  # a setting of another type than Keras'
        raise mismatch(f"a setting in it is malformed ({one_line(error)})") from None


def _plan(graph: _Graph) -> Plan:
    heads, features = _read_heads(graph)
    sums = [name for name in graph.layers if _is_block(graph, name)]
    if not sums:
        raise mismatch("holds no convolutional residual block")
    blocks, sources, merges = zip(*(_read_block(graph, name) for name in sums), strict=True)
    projection, lstm = graph[heads[0].projection], _inner_lstm(graph, heads[0])
    return Plan(
        config=network_config(
            **_read_joins(graph, sums, [*sources, features]),
            n=len(blocks),
            m=len(heads) if lstm else 0,
            filters=[graph[block.branches[0][2]].setting("filters") for block in blocks],
            kernel_sizes=[_sides(graph, block, "kernel_size") for block in blocks],
            dilations=[_sides(graph, block, "dilation_rate") for block in blocks],
            merge=_the_only(merges, "ways to join branches"),
            **({"lstm_filters": lstm["filters"], "recurrent_dropout": lstm["recurrent_dropout"]} if lstm else {}),
        ),
        in_channels=_channels(graph),
        classes=_whole(projection, "filters", projection.setting("filters")),
        blocks=list(blocks),
        heads=heads,
    )


class _Graph:
    """Layers by name, followed from what a layer gives to what it reads."""

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = layers

    def __getitem__(self, name: str) -> Layer:
        return self.layers[name]

    def of_kind(self, kind: str) -> list[Layer]:
        return [layer for layer in self.layers.values() if layer.kind == kind]

    def before(self, name: str, *kinds: str) -> str:
        """What the layer ``name`` reads, if it is of one of ``kinds``, set as ours is, and reads one layer."""
        layer = self[name]
        if layer.kind not in kinds:
            raise _differs(layer, " or ".join(kinds))
        _check_settings(layer, layer.kind, {**layer.settings, **layer.arguments})
        if len(layer.inputs) != 1:
            raise mismatch(f"layer '{name}' reads {len(layer.inputs)} layers", "expected one")
        return layer.inputs[0]

    def split(self, name: str, kind: str) -> tuple[str, str]:
        """The two layers that a sum adds: the one of ``kind``, and the other."""
        layer = self[name]
        inputs = sorted(layer.inputs, key=lambda name: self[name].kind != kind)
        if layer.kind != "Add" or [self[name].kind == kind for name in inputs] != [True, False]:
            raise _differs(layer, f"the sum of a {kind} and another layer")
        return inputs[0], inputs[1]


def _differs(layer: Layer, expected: str) -> ModelError:
    return mismatch(f"layer '{layer.name}' ({layer.kind}) is out of place", f"expected {expected}")


def _check_settings(layer: Layer, kind: str, settings: Mapping[str, Any]) -> None:
    for key, expected in _BUILT_IN.get(kind, {}).items():
        value = settings.get(key, expected)
        number = isinstance(expected, float) and isinstance(value, float)  # 0.1 was once a float32
        if not (isclose(value, expected, rel_tol=1e-6) if number else value == expected):
            raise mismatch(f"layer '{layer.name}' has {key} {value}", f"expected {expected}")


def _read_heads(graph: _Graph) -> tuple[list[HeadLayers], str]:
    """The LSTM blocks in order, and the tensor that the first of them reads."""
    read = {name for layer in graph.layers.values() for name in layer.inputs}
    outputs = [name for name in graph.layers if name not in read]
    if len(outputs) != 1:
        raise mismatch(f"has {len(outputs)} outputs ({', '.join(outputs[:4])})", "expected one")
    tensor = graph.before(outputs[0], "Activation", "Softmax")
    heads: list[HeadLayers] = []
    while not heads or _is_lstm(graph, tensor):
        lstms = None
        if _is_lstm(graph, tensor):
            tensor, lstms = _read_lstm(graph, tensor)
        projection = graph.before(tensor, "LeakyReLU")
        heads.insert(0, HeadLayers(projection, lstms))
        tensor = graph.before(projection, "Conv2D")
    if len(heads) > 1 and not all(head.lstms for head in heads):
        raise _differs(graph[heads[-1].projection], "an LSTM block")
    return heads, tensor


def _is_lstm(graph: _Graph, name: str) -> bool:
    return graph[name].kind == "Add" and any(graph[other].kind == "reduce_sum" for other in graph[name].inputs)


def _read_lstm(graph: _Graph, output: str) -> tuple[str, tuple[str, str]]:
    """The projected classes x, and the ConvLSTMs over rows and columns: output = x + Σ(rows + columnsᵀ)."""
    total, x = graph.split(output, "reduce_sum")
    transposed_back, rows = graph.split(graph.before(total, "reduce_sum"), "transpose")
    columns = graph.before(transposed_back, "transpose")
    expanded = graph.before(rows, "Bidirectional")
    if graph.before(graph.before(columns, "Bidirectional"), "transpose") != expanded:
        raise _differs(graph[columns], f"it to read '{expanded}' transposed")
    if graph.before(expanded, "expand_dims") != x:
        raise _differs(graph[expanded], f"it to read '{x}'")
    for name in (rows, columns):
        inner = graph[name].setting("layer")
        if inner["class_name"] != "ConvLSTM2D":
            raise mismatch(f"layer '{name}' holds a {inner['class_name']}", "expected a ConvLSTM2D")
        _check_settings(graph[name], "ConvLSTM2D", inner["config"])
    return x, (rows, columns)


def _inner_lstm(graph: _Graph, head: HeadLayers) -> Mapping[str, Any] | None:
    settings: Mapping[str, Any] | None = graph[head.lstms[0]].setting("layer")["config"] if head.lstms else None
    return settings


def _is_block(graph: _Graph, name: str) -> bool:
    return graph[name].kind == "Add" and any(graph[other].kind == "BatchNormalization" for other in graph[name].inputs)


def _read_block(graph: _Graph, output: str) -> tuple[BlockLayers, str, str]:
    """The layers of the block that ends in the sum ``output``, the tensor it reads, and how its branches are joined."""
    norms = [name for name in graph[output].inputs if graph[name].kind == "BatchNormalization"]
    seconds = [name for name in graph[output].inputs if name not in norms]
    merge = "sum" if len(seconds) > 1 else "concatenate"
    if len(seconds) == 1 and graph[seconds[0]].kind == "Concatenate":
        seconds = list(graph[seconds[0]].inputs)
    if len(norms) != 1 or not seconds:
        raise _differs(graph[output], "the sum of a shortcut and of branches")
    shortcut = graph.before(norms[0], "BatchNormalization")
    source = graph.before(shortcut, "Conv2D")
    branches, starts = [], []
    for second in seconds:
        norm = graph.before(graph.before(second, "SeparableConv2D"), "LeakyReLU")
        first = graph.before(norm, "BatchNormalization")
        branches.append((first, norm, second))
        starts.append(graph.before(first, "SeparableConv2D"))
    shared = None
    if any(start != source for start in starts):
        shared = graph.before(_the_only(starts, f"inputs of branches before '{output}'"), "LeakyReLU")
        if graph.before(shared, "BatchNormalization") != source:
            raise _differs(graph[shared], f"it to read '{source}', as the shortcut does")
    return BlockLayers(shared, branches, (shortcut, norms[0])), source, merge


def _read_joins(graph: _Graph, sums: Sequence[str], sources: Sequence[str]) -> dict[str, Any]:
    """The variant and the dropout: ``sources`` are the tensors that the blocks read, and that the head reads.

    Any block may be without dropout, as the last one in the authors' networks without ConvLSTMs. Where two variants
    would do, as with two blocks, it is the one in which a single dropout tells them all.
    """
    if graph[sources[0]].kind != "InputLayer":
        raise _differs(graph[sources[0]], "the input")
    terms = _sums_of_blocks(graph, sums)
    missing = next((name for name in sources[1:] if name not in terms), None)
    if missing:
        raise _differs(graph[missing], "the output of a residual block or a sum of such")
    joined, rates = [terms[name] for name in sources[1:]], _dropouts(graph, sums)
    agreeing = {}  # by variant, how many blocks in a row are joined as in it
    for variant in VARIANTS:
        pairs = zip(joined, _expected_terms(variant, rates), strict=True)
        agreeing[variant] = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    found = [
        {"architecture": variant, "dropout": _in_short(variant, rates)}
        for variant in VARIANTS
        if agreeing[variant] == len(sums)
    ]
    if found:
        return min(found, key=lambda settings: isinstance(settings["dropout"], list))
    first = graph[sources[1 + max(agreeing.values())]]
    raise _differs(first, "blocks that are joined as in res-cr-net, dense or very-dense")


def _sums_of_blocks(graph: _Graph, sums: Sequence[str]) -> dict[str, Terms]:
    terms: dict[str, Terms] = {}
    for name, layer in graph.layers.items():
        inputs = [terms[name] for name in layer.inputs if name in terms]
        if name in sums:
            terms[name] = Counter({(sums.index(name), 0.0): 1})
        elif len(inputs) != len(layer.inputs) or not inputs:
            continue
        elif layer.kind == "SpatialDropout2D" and layer.inputs[0] in sums:
            terms[name] = Counter({(sums.index(layer.inputs[0]), layer.setting("rate")): 1})
        elif layer.kind == "Add" and (len(inputs) > 1 or layer.arguments.get("y") == 0):  # Python's sum() adds 0
            terms[name] = sum(inputs, Counter())
    return terms


def _dropouts(graph: _Graph, sums: Sequence[str]) -> list[float]:
    """The dropout after each block; 0 where there is none."""
    rates = {layer.inputs[0]: layer.setting("rate") for layer in graph.of_kind("SpatialDropout2D")}
    return [rates.get(name, 0.0) for name in sums]


def _in_short(variant: Variant, rates: Sequence[float]) -> float | list[float]:
    """The dropouts as one number, where that says the same in a network of this variant."""
    short = ResCRNetConfig.model_construct(architecture=variant, n=len(rates), dropout=rates[-1])
    return rates[-1] if dropouts(short) == rates else list(rates)


def _expected_terms(variant: Variant, rates: Sequence[float]) -> Iterator[Terms]:
    """What the tensors after each block are the sums of in our network, by the dropout after each."""
    state: tuple[Terms, ...] = (Counter(),)
    for block, rate in enumerate(rates):
        state = join(variant, block, Counter([(block, rate)]), state[-1])
        yield state[0]


def _sides(graph: _Graph, block: BlockLayers, key: str) -> list[int]:
    """Kernel side or dilation of each branch."""
    sides = []
    for first, _, second in block.branches:
        values = [*graph[first].setting(key), *graph[second].setting(key)]
        side = _the_only(values, f"values of {key} in '{first}' and '{second}'")
        sides.append(_whole(graph[first], key, side))
    return sides


def _channels(graph: _Graph) -> int:
    inputs = graph.of_kind("InputLayer")
    shape = [*inputs[0].settings.get("batch_input_shape", [])] if len(inputs) == 1 else []
    if len(shape) != 4:
        raise mismatch(f"has inputs of shape {shape}", "expected one of [batch, height, width, channels]")
    return _whole(inputs[0], "channels", shape[-1])


def _whole(layer: Layer, key: str, value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise mismatch(f"layer '{layer.name}' has {key} {value}", "expected a positive whole number")
    return value


def _the_only(values: Sequence[Any], what: str) -> Any:
    different = [value for index, value in enumerate(values) if value not in values[:index]]
    if len(different) != 1:
        raise mismatch(f"has different {what} ({', '.join(map(str, different))})", "expected one")
    return different[0]
