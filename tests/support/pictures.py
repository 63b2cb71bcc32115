"""Small models and images for the tests of streamed prediction."""

import numpy as np
import torch

from rescrnet.classes import ClassEntry
from rescrnet.intensity import IntensityScaling
from rescrnet.model import ModelCard, SegmentationModel


class Picture:
    """A reader of an array (Y, X, C) that allows nothing but regions within it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.pixels_read = 0

    def read(self, y0, y1, x0, x1):
        assert 0 <= y0 < y1 <= self.shape[0]
        assert 0 <= x0 < x1 <= self.shape[1]
        self.pixels_read += (y1 - y0) * (x1 - x0)
        return self.array[y0:y1, x0:x1]


class Canvas:
    """A writer into an array that outlives a stopped prediction."""

    persistent = True

    def __init__(self, *shape):
        self.array = np.full(shape, -1, np.float32 if len(shape) == 3 else np.int16)
        self.dtypes = set()

    def write(self, y0, x0, block):
        self.array[y0 : y0 + block.shape[0], x0 : x0 + block.shape[1]] = block
        self.dtypes.add(block.dtype)


def picture(height, width, channels=1, seed=0):
    """Noise of 16 bits, (Y, X, C)."""
    return np.random.default_rng(seed).integers(0, 65536, (height, width, channels), dtype=np.uint16)


def model_of(classes=3, channels=1, resize=None, **settings):
    """A small untrained model whose normalisations are not the identity and whose scans matter."""
    torch.manual_seed(0)
    small = {"n": 2, "filters": 3, "kernel_sizes": [3, 5], "dilations": [1, 2]}
    network = settings if settings.get("architecture") == "unet" else {**small, **settings}
    card = ModelCard(
        network=network,
        in_channels=channels,
        classes=[ClassEntry(name=f"class {index}", value=index) for index in range(classes)],
        intensity=IntensityScaling(method="standard", offset=(0.5,) * channels, scale=(0.2,) * channels),
        resize=resize,
    )
    model = SegmentationModel.untrained(card)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.5 if "kernel" in name else 0.3))
    for module in model.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model
