"""A head start: training goes on from weights learnt before, of a model or those that come with the package."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from rescrnet.config import BLOCKS, Config, ResCRNetConfig
from rescrnet.errors import UsageError
from rescrnet.model import ModelCard, SegmentationModel, load
from rescrnet.nn.build import Members
from rescrnet.tensors import digest
from rescrnet.wording import channels

PRETRAINED = Path(__file__).parent / "pretrained"
"""A model for each value of training.start but none, and how they were made."""
_STEM = "blocks.0."


def with_network_of(start: SegmentationModel, config: Config) -> Config:
    """``config`` with the network of the model to start from, whose scale it keeps.

    Raises :class:`UsageError` where that is several.
    """
    if isinstance(start.network, Members):
        raise UsageError("start", "is several models", "start from a single one")
    data = config.data.model_copy(update={"fit_scale": False})
    training = config.training.model_copy(update={"start": "none"})
    return config.model_copy(update={"network": start.card.network, "data": data, "training": training})


def pretrained(config: Config) -> SegmentationModel | None:
    """The model that ``training.start`` names; none where it names none.

    Raises :class:`UsageError` where its blocks are not those of the network that is to be trained.
    """
    if config.training.start == "none":
        return None
    start = load(PRETRAINED / f"{config.training.start}.safetensors")
    if start.card.network.model_dump(include=BLOCKS) != config.network.model_dump(include=BLOCKS):
        raise UsageError(
            "training.start",
            f"the weights '{config.training.start}' are not of these blocks",
            "leave what sets the blocks of the network as in the preset standard, or set training.start=none",
        )
    return start


@torch.no_grad()
def start_from(model: SegmentationModel, start: SegmentationModel) -> str:
    """Give ``model`` the weights of ``start``: all of them where the classes are the same, else all but the last part.

    What maps features to classes, and the ConvLSTMs that scan classes, start anew where the classes differ in name,
    number or order. From a Res-CR-Net of grey images each channel of others gets its share of the weights, and so does
    each pixel of larger squares: the network starts as that of the channels' mean, and of the smaller image.

    Returns:
        What the weights were, for the record: a digest.

    Raises:
        UsageError: the images have other channels.
    """
    shares_out = start.card.in_channels == 1 and isinstance(start.card.network, ResCRNetConfig)
    if start.card.in_channels != model.card.in_channels and not shares_out:
        raise UsageError(
            "--from",
            f"the model sees {channels(start.card.in_channels)}, these images have {channels(model.card.in_channels)}",
            "start from a model of like images, or leave --from out",
        )
    weights = start.network.state_dict()
    own = model.network.state_dict()
    alike = start.classes == model.classes
    fitting = _for_more_channels(weights, own, model.card, start.card)
    # What has to do with classes lies in the head; of a U-Net its shape tells.
    kept = {
        name: tensor
        for name, tensor in fitting.items()
        if name in own and tensor.shape == own[name].shape and (alike or not name.startswith("head."))
    }
    model.network.load_state_dict({**own, **kept})
    return digest({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, {})


def _for_more_channels(
    weights: dict[str, Tensor], own: dict[str, Tensor], card: ModelCard, start: ModelCard
) -> dict[str, Tensor]:
    """The weights with those of the stem shared out where ``card``'s stem sees more channels than ``start``'s."""
    if not isinstance(card.network, ResCRNetConfig) or not isinstance(start.network, ResCRNetConfig):
        return weights
    finer, left = divmod(card.network.space_to_depth, start.network.space_to_depth)
    if left:
        return weights
    # Of each channel of the squares, in the order of space_to_depth, which one of the start it has its weights from.
    side, seen = start.network.space_to_depth, start.in_channels
    source = torch.arange(seen * side**2).view(seen, side, side)
    source = source.repeat_interleave(finer, 1).repeat_interleave(finer, 2)
    source = source.repeat(card.in_channels // seen, 1, 1).flatten()
    share = seen * side**2 / len(source)

    def shared_out(name: str, weight: Tensor) -> Tensor:
        if not name.startswith(_STEM) or weight.shape == own[name].shape:
            return weight
        return weight[source] if name.endswith("depthwise") else share * weight[:, source]

    return {name: shared_out(name, weight) if name in own else weight for name, weight in weights.items()}
