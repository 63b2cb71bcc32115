"""A head start: training goes on from the weights of a model."""

from __future__ import annotations

import torch

from rescrnet.config import Config
from rescrnet.errors import UsageError
from rescrnet.model import SegmentationModel
from rescrnet.tensors import digest
from rescrnet.wording import channels


def with_network_of(start: SegmentationModel, config: Config) -> Config:
    """``config`` with the network of the model to start from."""
    return config.model_copy(update={"network": start.card.network})


@torch.no_grad()
def start_from(model: SegmentationModel, start: SegmentationModel) -> str:
    """Give ``model`` the weights of ``start``: all of them where the classes are the same, else all but the last part.

    What maps features to classes, and the ConvLSTMs that scan classes, start anew where the classes differ in name,
    number or order.

    Returns:
        What the weights were, for the record: a digest.

    Raises:
        UsageError: the images have other channels, or the network is another.
    """
    if start.card.in_channels != model.card.in_channels:
        raise UsageError(
            "--from",
            f"the model sees {channels(start.card.in_channels)}, these images have {channels(model.card.in_channels)}",
            "start from a model of like images, or leave --from out",
        )
    if start.card.network != model.card.network:
        raise UsageError("--from", "the model's network is not that of the configuration", "leave the network out")
    weights = start.network.state_dict()
    kept = {name: tensor for name, tensor in weights.items() if start.classes == model.classes or _sees(name)}
    own = model.network.state_dict()
    model.network.load_state_dict({**own, **{n: t for n, t in kept.items() if t.shape == own[n].shape}})
    return digest({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, {})


def _sees(name: str) -> bool:
    """Whether a weight has to do with images, not with classes."""
    return not name.startswith("head.")
