"""A head start: training goes on from the weights of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from rescrnet.config import Config
from rescrnet.errors import UsageError
from rescrnet.model import SegmentationModel
from rescrnet.nn.build import Members
from rescrnet.tensors import digest
from rescrnet.wording import channels


def with_network_of(start: SegmentationModel, config: Config) -> Config:
    """``config`` with the network of the model to start from, whose scale it keeps.

    Raises :class:`UsageError` where that is several.
    """
    if isinstance(start.network, Members):
        raise UsageError("start", "is several models", "start from a single one")
    data = config.data.model_copy(update={"fit_scale": False})
    return config.model_copy(update={"network": start.card.network, "data": data})


@torch.no_grad()
def start_from(model: SegmentationModel, start: SegmentationModel) -> str:
    """Give ``model`` the weights of ``start``: all of them where the classes are the same, else all but the last part.

    What maps features to classes, and the ConvLSTMs that scan classes, start anew where the classes differ in name,
    number or order.

    Returns:
        What the weights were, for the record: a digest.

    Raises:
        UsageError: the images have other channels.
    """
    if start.card.in_channels != model.card.in_channels:
        raise UsageError(
            "--from",
            f"the model sees {channels(start.card.in_channels)}, these images have {channels(model.card.in_channels)}",
            "start from a model of like images, or leave --from out",
        )
    weights = start.network.state_dict()
    own = model.network.state_dict()
    alike = start.classes == model.classes
    kept = {name: tensor for name, tensor in weights.items() if alike or _sees(name, tensor, own[name])}
    model.network.load_state_dict({**own, **kept})
    return digest({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, {})


def _sees(name: str, weight: Tensor, own: Tensor) -> bool:
    """Whether a weight has to do with images, not with classes; those of a U-Net tell by their shape alone."""
    return not name.startswith("head.") and weight.shape == own.shape
