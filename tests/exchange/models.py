"""Models to carry to other programs: small ones with random weights, and the parity networks where they are there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rescrnet.classes import ClassEntry, MaskDeclaration, coloured
from rescrnet.config import ResCRNetConfig
from rescrnet.exchange.keras import load_keras
from rescrnet.intensity import IntensityScaling
from rescrnet.model import ModelCard, SegmentationModel
from rescrnet.nn.network import ResCRNet

PARITY = Path(__file__).resolve().parents[3] / "shared/parity"
HOSTILE = (
    "</script><script>alert(1)</script>",
    "key: [*anchor, {unclosed",
    "\"quoted\" 'too' \\ \n new line\t",
    "é·漢字🧫",
    "x" * 3000,
    "",  # replaced by a name; there is no class without one
)


def small(classes=3, channels=1, seed=0, **settings):
    """A network with few weights, every one of them random, its running statistics too."""
    torch.manual_seed(seed)
    network = ResCRNet(channels, classes, ResCRNetConfig(**{"n": 2, "filters": 3, **settings}))
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.add_(0.2 * torch.randn_like(tensor))
    return network.eval()


def model_of(network, names=(), pixel_size=(0.2, 0.1), resize=None):
    """A model whose scaling changes intensities, with hostile names where none are given."""
    names = names or [name or "plain" for name in (HOSTILE * 2)[: network.classes]]
    channels = network.in_channels
    card = ModelCard(
        network=network.config,
        in_channels=channels,
        masks=MaskDeclaration(classes=coloured([ClassEntry(name=name, value=i) for i, name in enumerate(names)])),
        intensity=IntensityScaling(
            method="percentile", offset=(0.1, 0.2, 0.05, 0)[:channels], scale=(0.7, 0.5, 0.9, 1)[:channels]
        ),
        pixel_size=pixel_size,
        resize=resize,
    )
    return SegmentationModel(network.to(memory_format=torch.channels_last), card)


def parity_model(case):
    """One of the authors' networks, or the one that they trained; the test is skipped where they are not there."""
    folder = PARITY / case
    weights = next((folder / name for name in ("weights.h5", "best_weights.h5") if (folder / name).is_file()), None)
    if weights is None:
        pytest.skip(f"{folder} is not on this machine")
    return model_of(load_keras(weights, folder / "architecture.json"))


def image_of(model, height, width, seed=0):
    """Intensities YXC from 0 to 1."""
    return np.random.default_rng(seed).random((height, width, model.card.in_channels), dtype=np.float32)


def nchw(image):
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])
