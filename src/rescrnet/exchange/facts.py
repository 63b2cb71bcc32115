"""What another program must know of a model, in the same words in every format; and which models can leave at all."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from rescrnet.errors import ModelError
from rescrnet.model import ModelCard, SegmentationModel
from rescrnet.nn.build import Members
from rescrnet.nn.network import ResCRNet

NORMALISATION = (
    "Divide integers by the largest value of their type (255 or 65535); take floats as they are. "
    "The scaling of the training images is inside the model."
)
DESCRIPTION = "Semantic segmentation with Res-CR-Net: (N, channels, height, width) to class probabilities."


def facts_of(model: SegmentationModel) -> dict[str, Any]:
    """Classes with colours, channels, pixel size, normalisation and tiling of a model, as JSON can hold them."""
    card, network = model.card, exportable(model)
    reach = exact_halo(network)
    return {
        "classes": [{"index": index, "name": e.name, "color": e.color} for index, e in enumerate(card.classes)],
        "channels": card.in_channels,
        "pixel_size_um": list(card.pixel_size) if card.pixel_size else None,
        "intensity": {"method": card.intensity.method, "offset": card.intensity.offset, "scale": card.intensity.scale},
        "normalisation": NORMALISATION,
        "architecture": {"name": network.config.architecture, "n": network.config.n, "m": network.config.m},
        "tiling": {"exact": reach is not None, "halo": reach, "text": tiling(network)},
        "rescrnet": version("rescrnet"),
    }


def metadata_of(model: SegmentationModel) -> dict[str, str]:
    """:func:`facts_of` as texts by name: JSON, in ASCII alone, whatever a class is called."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts_of(model).items()}


def exact_halo(network: ResCRNet) -> int | None:
    """How many pixels around a tile its exact result needs; none where it needs the whole image."""
    reach = sum(block.reach for block in network.conv_blocks) * network.config.space_to_depth
    return None if network.lstm_blocks or network.config.image_statistics else reach


def tiling(network: ResCRNet) -> str:
    """What becomes of a result where a program cuts the image into tiles."""
    halo = exact_halo(network)
    if halo is not None:
        side = network.config.space_to_depth
        begin = f"Tiles that begin at multiples of {side} pixels and" if side > 1 else "Tiles that"
        return f"{begin} overlap by {halo} pixels to each side give exactly what the whole image gives."
    if network.config.image_statistics:
        return (
            "The model normalises each image with statistics of its own, so each tile is an image of its own to it: "
            "predict whole images where memory allows, else use tiles of 512 pixels and more."
        )
    return (
        "The model scans whole rows and columns, so each tile is an image of its own to it: predict whole images where "
        "memory allows, else use tiles of 512 pixels and more."
    )


def exportable(model: SegmentationModel) -> ResCRNet:
    """The network, or a :class:`ModelError` where other programs could not do what the model does."""
    card: ModelCard = model.card
    network = model.network
    if isinstance(network, Members):
        raise ModelError(
            "model",
            "is the mean of several predictions, and a file for other programs holds one",
            "export a single model",
        )
    if not isinstance(network, ResCRNet):
        raise ModelError(
            f"network '{card.network.architecture}'",
            "is a comparator, whose graph is MONAI's and has no export here",
            "export a Res-CR-Net, or use MONAI's own tools",
        )
    if card.resize:
        raise ModelError(
            "model",
            f"was trained with --resize {card.resize[0]} {card.resize[1]}, and other programs would not resize images",
            "train without --resize, then export",
        )
    return network
