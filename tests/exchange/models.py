"""Models to carry to other programs: small ones with random weights, and the parity networks where they are there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rescrnet.classes import ClassEntry, MaskDeclaration, coloured
from rescrnet.config import ResCRNetConfig, resolve
from rescrnet.exchange.keras import load_keras
from rescrnet.intensity import IntensityScaling
from rescrnet.model import ModelCard, SegmentationModel
from rescrnet.nn.network import ResCRNet
from rescrnet.training.train import train

SHARED = Path(__file__).resolve().parents[3] / "shared"
PARITY, DATA = SHARED / "parity", SHARED / "data"
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


def standard_model(folder, trained):
    """The default preset, ``trained`` for a minute on the authors' kind of images, or with weights as they begin."""
    if not trained:
        torch.manual_seed(0)
        return model_of(ResCRNet(1, 3, resolve().network).eval())
    if not (DATA / "em_vnc").is_dir():
        pytest.skip(f"{DATA / 'em_vnc'} is not on this machine")
    return train(DATA / "em_vnc", folder, resolve(overrides={"training.epochs": 4}))


def parity_model(case):
    """One of the authors' networks, or the one that they trained; the test is skipped where they are not there."""
    folder = PARITY / case
    weights = next((folder / name for name in ("weights.h5", "best_weights.h5") if (folder / name).is_file()), None)
    if weights is None:
        pytest.skip(f"{folder} is not on this machine")
    return model_of(load_keras(weights, folder / "architecture.json"))


def large_case(side):
    """A model with the statistics of the image, an image that has them from windows, and our prediction of it.

    Without a ConvLSTM: over so many lines one with random weights makes much of a rounding. Statistics of the whole
    image would give probabilities that differ by 0.005 and more.
    """
    model = model_of(
        small(image_statistics=0.5, stem_statistics=0.9, space_to_depth=side, m=0, kernel_sizes=[3], dilations=[2])
    )
    image = image_of(model, 140 * side, 2201 * side - 1)
    image[:, : image.shape[1] // 3] *= 0.3  # by which windows differ from the whole
    return model, image, model.predict(image)


def image_of(model, height, width, seed=0):
    """Intensities YXC from 0 to 1."""
    return np.random.default_rng(seed).random((height, width, model.card.in_channels), dtype=np.float32)


def nchw(image):
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])
