"""The authors' Keras checkpoints as models of this package. TensorFlow is not needed, and nothing in a file is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rescrnet.classes import ClassEntry, MaskDeclaration, coloured
from rescrnet.config import Variant, validate
from rescrnet.errors import ModelError, OutputError, UsageError
from rescrnet.exchange.keras_file import Weights, read_weights
from rescrnet.exchange.keras_graph import plan_from_architecture
from rescrnet.exchange.keras_plan import BlockLayers, Plan, plan_from_weights
from rescrnet.intensity import IntensityScaling
from rescrnet.model import ImportedFrom, ModelCard, SegmentationModel
from rescrnet.nn.network import ResCRNet

State = Mapping[str, Tensor]  # our parameters and running statistics by name; their memory is the network's

# A Keras weight: its layer, its name, and the views of our parameters that make it up along its last axis.
Place = tuple[str, str, list[Tensor]]

_GATES = (0, 1, 3, 2)  # Keras orders the gates i, f, c, o; ours are i, f, o, g, where g is Keras' c


def load_keras(
    weights: str | Path, architecture: str | Path | None = None, *, variant: Variant | None = None
) -> ResCRNet:
    """Read a network that the authors' program has saved.

    With an architecture, the configuration is read from the graph in it. Without one it is told from the names and
    shapes of the weights, which leave some of it open; :func:`~rescrnet.exchange.keras_plan.plan_from_weights` says
    what is then assumed.

    Args:
        weights: Keras 2 weights, or a full model, in HDF5 (``.h5``).
        architecture: the JSON of the Keras model. A full model holds its own, which this one then replaces.
        variant: how the blocks are joined, for weights without an architecture; by default ``res-cr-net``.

    Returns:
        The network in evaluation mode, float32, on the CPU.

    Raises:
        ModelError: a file is missing, is damaged, or is not such a network; the message says in what it differs.
        UsageError: ``variant`` is unknown, or contradicts the architecture.
    """
    file = Path(weights)
    arrays, text = read_weights(file)
    source = file
    if architecture is not None:
        source = Path(architecture)
        text = _read_text(source)
    try:
        plan = plan_from_architecture(text) if text is not None else plan_from_weights(arrays, variant or "res-cr-net")
    except ModelError as error:
        raise ModelError(f"{source}: is not a Res-CR-Net: {error}") from None
    if variant not in (None, plan.config.architecture):
        raise UsageError(f"variant '{variant}': {source} holds a '{plan.config.architecture}'; leave the variant out")
    network = ResCRNet(plan.in_channels, plan.classes, plan.config)
    try:
        _fill(network, plan, arrays)
    except ModelError as error:
        raise ModelError(f"{file}: its weights do not fit its architecture: {error}") from None
    return network.eval()


def import_keras(
    weights: str | Path,
    out: str | Path,
    architecture: str | Path | None = None,
    classes: Sequence[str] | None = None,
    *,
    variant: Variant | None = None,
) -> SegmentationModel:
    """Turn a Keras checkpoint of the authors' program into a model file of this package.

    Images are normalised to [0, 1], as the authors' are.

    Args:
        weights: see :func:`load_keras`, as are ``architecture`` and ``variant``.
        out: the model file to write; it must not exist.
        classes: the names of the classes in the order of their indices; by default "class 0", "class 1", ….

    Raises:
        ModelError: see :func:`load_keras`.
        OutputError: ``out`` exists or cannot be written.
        UsageError: the number of class names is not that of the network's classes.
    """
    if Path(out).exists():
        raise OutputError(f"{out}: exists; choose another name or remove it")
    network = load_keras(weights, architecture, variant=variant)
    names = list(classes) if classes else [f"class {index}" for index in range(network.classes)]
    if len(names) != network.classes:
        raise UsageError(f"classes: {len(names)} names ({', '.join(names)}) for a network of {network.classes} classes")
    entries = [validate(ClassEntry, {"name": name, "value": i}, "classes") for i, name in enumerate(names)]
    card = ModelCard(
        network=network.config,
        in_channels=network.in_channels,
        masks=MaskDeclaration(classes=coloured(entries)),
        intensity=IntensityScaling(offset=(0.0,) * network.in_channels, scale=(1.0,) * network.in_channels),
        provenance=ImportedFrom(
            imported_from=Path(weights).name,
            architecture=Path(architecture).name if architecture is not None else None,
        ),
    )
    model = SegmentationModel(network.to(memory_format=torch.channels_last), card)  # type: ignore[call-overload]
    model.save(out)
    return model


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{file}: cannot be read ({reason}); expected the JSON of a Keras model") from None


def _fill(network: ResCRNet, plan: Plan, weights: Weights) -> None:
    """Copy every weight into its place; each must be there, have its shape, and be the only one for it."""
    seen = set()
    for layer, name, views in _places(network.state_dict(), plan):
        seen.add(layer)
        array = weights.get(layer, {}).get(name)
        if array is None:
            raise ModelError(f"layer '{layer}' has no {name}")
        sizes = [view.shape[-1] for view in views]
        expected = (*views[0].shape[:-1], sum(sizes))
        if array.shape != expected:
            raise ModelError(f"layer '{layer}' has {name} of shape {array.shape}, expected {expected}")
        for view, part in zip(views, torch.split(torch.from_numpy(array), sizes, dim=-1), strict=True):
            view.copy_(part)
    foreign = [layer for layer in weights if layer not in seen]
    if foreign:
        raise ModelError(f"layer '{foreign[0]}' is in the weights alone")


def _places(state: State, plan: Plan) -> Iterator[Place]:
    """Every weight of the Keras network, as views of ours in Keras' layout."""
    for index, block in enumerate(plan.blocks):
        yield from _block(state, f"blocks.{index}", block)
    for index, head in enumerate(plan.heads):
        if head.lstms is None:
            yield from _pointwise(state, f"head.{index}", head.projection)
            continue
        yield from _pointwise(state, f"head.{index}.project.0", head.projection)
        for side, layer in zip(("rows", "columns"), head.lstms, strict=True):
            yield from _lstm(state, f"head.{index}.{side}", layer)


def _block(state: State, ours: str, block: BlockLayers) -> Iterator[Place]:
    if block.norm is not None:
        yield from _norm(state, f"{ours}.activation.0", block.norm)
    for index, (first, norm, second) in enumerate(block.branches):
        yield from _separable(state, f"{ours}.branches.{index}.0", first)
        yield from _norm(state, f"{ours}.branches.{index}.1", norm)
        yield from _separable(state, f"{ours}.branches.{index}.3", second)
    yield from _pointwise(state, f"{ours}.shortcut.0", block.shortcut[0])
    yield from _norm(state, f"{ours}.shortcut.1", block.shortcut[1])


def _separable(state: State, ours: str, layer: str) -> Iterator[Place]:
    yield layer, "depthwise_kernel", [state[f"{ours}.depthwise"].permute(2, 3, 0, 1)]  # (in, 1, k, k)
    for _, name, views in _pointwise(state, f"{ours}.pointwise", layer):
        yield layer, name.replace("kernel", "pointwise_kernel"), views


def _pointwise(state: State, ours: str, layer: str) -> Iterator[Place]:
    yield layer, "kernel", [state[f"{ours}.weight"].permute(2, 3, 1, 0)]  # (out, in, 1, 1)
    yield layer, "bias", [state[f"{ours}.bias"]]


def _norm(state: State, ours: str, layer: str) -> Iterator[Place]:
    yield layer, "gamma", [state[f"{ours}.weight"]]
    yield layer, "beta", [state[f"{ours}.bias"]]
    yield layer, "moving_mean", [state[f"{ours}.running_mean"]]
    yield layer, "moving_variance", [state[f"{ours}.running_var"]]


def _lstm(state: State, ours: str, layer: str) -> Iterator[Place]:
    for direction, name in enumerate(("forward", "backward")):
        for kernel, keras in (("input_kernel", "kernel"), ("recurrent_kernel", "recurrent_kernel")):
            gates = state[f"{ours}.{kernel}"][direction]  # (4, filters, in, 3, classes)
            yield layer, f"{name}/{keras}", [gates[gate].permute(2, 3, 1, 0) for gate in _GATES]
        yield layer, f"{name}/bias", [state[f"{ours}.bias"][direction, gate] for gate in _GATES]
