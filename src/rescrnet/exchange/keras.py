"""The authors' Keras checkpoints as models of this package. TensorFlow is not needed, and nothing in a file is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from rescrnet.atomic import exists_already
from rescrnet.classes import ClassEntry, MaskDeclaration, coloured
from rescrnet.config import Variant, validate
from rescrnet.errors import ModelError, UsageError
from rescrnet.exchange.keras_file import Weights, mismatch, read_weights
from rescrnet.exchange.keras_graph import plan_from_architecture
from rescrnet.exchange.keras_plan import BlockLayers, Plan, plan_from_weights
from rescrnet.intensity import IntensityScaling
from rescrnet.locks import locked
from rescrnet.model import ImportedFrom, ModelCard, SegmentationModel
from rescrnet.nn.blocks import ConvResBlock, Pointwise, SeparableConv2d
from rescrnet.nn.convlstm import BidirectionalConvLSTM
from rescrnet.nn.network import ResCRNet
from rescrnet.tensors import check_finite_weights
from rescrnet.wording import as_text, count, one_line

# A Keras weight: its layer, its name, and the views of our parameters that make it up along its last axis.
Place = tuple[str, str, list[Tensor]]

_GATES = (0, 1, 3, 2)  # Keras orders the gates i, f, c, o; ours are i, f, o, g, where g is Keras' c


def load_keras(
    weights: str | Path, architecture: str | Path | None = None, *, variant: Variant | None = None
) -> ResCRNet:
    """Read a network that the authors' program has saved.

    With an architecture, the configuration is read from the graph in it. Without one it is read off the names and
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
        raise ModelError(source, f"is not a Res-CR-Net: {error.found}", error.remedy) from None
    if variant not in (None, plan.config.architecture):
        raise UsageError(
            f"variant '{variant}'", f"{source} holds a '{plan.config.architecture}'", "leave the variant out"
        )
    network = ResCRNet(plan.in_channels, plan.classes, plan.config)
    try:
        _fill(network, plan, arrays)
    except ModelError as error:
        raise ModelError(file, f"its weights do not fit its architecture: {error.found}", error.remedy) from None
    check_finite_weights(file, network.state_dict())
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
    out = Path(out)
    with locked(out):
        if out.exists():
            raise exists_already(out)
        model = _converted(Path(weights), architecture, classes, variant)
        model.save(out, new=True)
    return model


def _converted(
    weights: Path, architecture: str | Path | None, classes: Sequence[str] | None, variant: Variant | None
) -> SegmentationModel:
    network = load_keras(weights, architecture, variant=variant)
    names = list(classes) if classes else [f"class {index}" for index in range(network.classes)]
    if len(names) != network.classes:
        found = f"{count(len(names), 'name')} ({', '.join(names)}) for a network of {network.classes} classes"
        raise UsageError("classes", found, f"give {network.classes} names")
    entries = [validate(ClassEntry, {"name": name, "value": i}, "classes") for i, name in enumerate(names)]
    card = ModelCard(
        network=network.config,
        in_channels=network.in_channels,
        masks=MaskDeclaration(classes=coloured(entries)),
        intensity=IntensityScaling(offset=(0.0,) * network.in_channels, scale=(1.0,) * network.in_channels),
        provenance=ImportedFrom(
            imported_from=as_text(weights.name),
            architecture=as_text(Path(architecture).name) if architecture is not None else None,
        ),
    )
    return SegmentationModel(network.to(memory_format=torch.channels_last), card)  # type: ignore[call-overload]


def _read_text(file: Path) -> str:
    if file.exists() and not file.is_file():
        raise ModelError(file, "is no file", "expected the JSON of a Keras model")
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(file, f"cannot be read ({one_line(error)})", "expected the JSON of a Keras model") from None


def _fill(network: ResCRNet, plan: Plan, weights: Weights) -> None:
    """Copy every weight into its place; each must be there, have its shape, and be the only one for it."""
    filled = set()
    for layer, name, views in _places(network, plan):
        filled.add(layer)
        array = weights.get(layer, {}).get(name)
        if array is None:
            raise mismatch(f"layer '{layer}' has no {name}")
        sizes = [view.shape[-1] for view in views]
        expected = (*views[0].shape[:-1], sum(sizes))
        if array.shape != expected:
            raise mismatch(f"layer '{layer}' has {name} of shape {array.shape}", f"expected {expected}")
        for view, part in zip(views, torch.split(torch.from_numpy(array), sizes, dim=-1), strict=True):
            view.copy_(part)
    foreign = [layer for layer in weights if layer not in filled]
    if foreign:
        raise mismatch(f"layer '{foreign[0]}' is in the weights alone")


def _places(network: ResCRNet, plan: Plan) -> Iterator[Place]:
    """Every weight of the Keras network, as views of ours in Keras' layout."""
    for block, layers in zip(network.conv_blocks, plan.blocks, strict=True):
        yield from _block(block, layers)
    for projection, head in zip(network.projections, plan.heads, strict=True):
        yield from _pointwise(projection.convolution, head.projection)
    for lstm, head in zip(network.lstm_blocks, plan.heads, strict=False):  # a head without ConvLSTMs has no LSTM block
        for scan, layer in zip((lstm.rows, lstm.columns), head.lstms or (), strict=True):
            yield from _lstm(scan, layer)


def _block(block: ConvResBlock, layers: BlockLayers) -> Iterator[Place]:
    if block.norm is not None and layers.norm is not None:
        yield from _norm(block.norm, layers.norm)
    for branch, (first, norm, second) in zip(block.branch_list, layers.branches, strict=True):
        yield from _separable(branch.first, first)
        yield from _norm(branch.norm, norm)
        yield from _separable(branch.second, second)
    convolution, norm = layers.shortcut
    yield from _pointwise(block.shortcut.convolution, convolution)
    yield from _norm(block.shortcut.norm, norm)


def _separable(convolution: SeparableConv2d, layer: str) -> Iterator[Place]:
    yield layer, "depthwise_kernel", [convolution.depthwise.detach().permute(2, 3, 0, 1)]  # (in, 1, k, k)
    for _, name, views in _pointwise(convolution.pointwise, layer):
        yield layer, name.replace("kernel", "pointwise_kernel"), views


def _pointwise(convolution: Pointwise, layer: str) -> Iterator[Place]:
    yield layer, "kernel", [convolution.weight.detach().permute(2, 3, 1, 0)]  # (out, in, 1, 1)
    yield layer, "bias", [cast(Tensor, convolution.bias).detach()]


def _norm(norm: nn.BatchNorm2d, layer: str) -> Iterator[Place]:
    yield layer, "gamma", [norm.weight.detach()]
    yield layer, "beta", [norm.bias.detach()]
    yield layer, "moving_mean", [cast(Tensor, norm.running_mean)]
    yield layer, "moving_variance", [cast(Tensor, norm.running_var)]


def _lstm(lstm: BidirectionalConvLSTM, layer: str) -> Iterator[Place]:
    kernels = {"kernel": lstm.input_kernel, "recurrent_kernel": lstm.recurrent_kernel}
    for direction, name in enumerate(("forward", "backward")):
        for keras, kernel in kernels.items():
            gates = kernel.detach()[direction]  # (4, filters, in, 3, classes)
            yield layer, f"{name}/{keras}", [gates[gate].permute(2, 3, 1, 0) for gate in _GATES]
        yield layer, f"{name}/bias", [lstm.bias.detach()[direction, gate] for gate in _GATES]
