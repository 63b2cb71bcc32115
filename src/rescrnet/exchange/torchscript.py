"""A model as TorchScript, which QuPath and Fiji open: scripted from plain PyTorch, for images of any size."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rescrnet.exchange import standalone
from rescrnet.intensity import IntensityScaling
from rescrnet.nn.network import ResCRNet

Settings = dict[str, Any]


def settings_of(network: ResCRNet) -> Settings:
    """What :class:`~rescrnet.exchange.standalone.ResCRNet` is made with, as JSON and YAML can hold it."""
    config = network.config
    return {
        "in_channels": network.in_channels,
        "classes": network.classes,
        "architecture": config.architecture,
        "m": config.m,
        **{name: config.per_block(name) for name in ("filters", "kernel_sizes", "dilations")},
        "merge": config.merge,
        "lstm_filters": config.lstm_filters,
        "space_to_depth": config.space_to_depth,
        "image_statistics": config.statistics_per_block,
    }


def weights_of(network: ResCRNet, intensity: IntensityScaling) -> dict[str, Tensor]:
    """The weights of the network, and its intensity scaling as ``offset`` and ``scale``: float32, on the CPU."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return {"offset": torch.tensor(intensity.offset), "scale": torch.tensor(intensity.scale), **weights}


def standalone_network(network: ResCRNet, intensity: IntensityScaling) -> standalone.ResCRNet:
    """The model in plain PyTorch, in evaluation mode."""
    plain = standalone.ResCRNet(**settings_of(network))
    plain.load_state_dict(weights_of(network, intensity))
    return plain.eval().requires_grad_(False)  # with gradients every line of a scan would be kept


def torchscript_bytes(network: ResCRNet, intensity: IntensityScaling, metadata: Mapping[str, str]) -> bytes:
    """The file: images (N, C, H, W) normalised to [0, 1] → class probabilities (N, classes, H, W).

    It is scripted, never traced: tracing fixes the number of lines that a ConvLSTM walks over.

    Args:
        network: stays as it is.
        intensity: the scaling, which becomes part of the model.
        metadata: texts by name, each a file of its own beside the code.
    """
    with warnings.catch_warnings():
        # PyTorch is to end it some day; for QuPath and Fiji nothing has come in its place.
        warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
        warnings.filterwarnings("ignore", ".*torch.jit.*", FutureWarning)
        scripted = torch.jit.script(standalone_network(network, intensity))
        file = io.BytesIO()
        torch.jit.save(scripted, file, _extra_files=dict(metadata))
    return file.getvalue()
