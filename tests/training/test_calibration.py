"""A model is calibrated with what it will predict: images as they are, not smoothed by warping.

Real micrographs are noisy, and bilinear reading takes a good part of the noise away (docs/training.md).
"""

import numpy as np
import pytest
import torch
from torch import nn

from rescrnet.classes import ClassEntry
from rescrnet.config import resolve
from rescrnet.intensity import IntensityScaling
from rescrnet.model import ModelCard, SegmentationModel
from rescrnet.training.batches import BatchSampler, TrainingTensors
from rescrnet.training.recalibrate import recalibrate

SIDE = 96


@pytest.fixture
def noisy():
    """Images of a coarse pattern under noise of single pixels."""
    rng = np.random.default_rng(0)
    pattern = np.kron(rng.random((8, 6, 6)), np.ones((1, 16, 16)))
    images = [torch.from_numpy(one + 0.3 * rng.standard_normal(one.shape)).float()[None] for one in pattern]
    masks = [torch.stack([(image[0] > 0.5), (image[0] <= 0.5)]).float() for image in images]
    return images, masks


def network():
    torch.manual_seed(0)
    card = ModelCard(
        network=resolve("laptop", overrides={"network.n": 3}).network,
        in_channels=1,
        classes=[ClassEntry(name=name, value=index) for index, name in enumerate("ab")],
        intensity=IntensityScaling(offset=(0.0,), scale=(1.0,)),
    )
    return SegmentationModel.untrained(card).network


def furthest(net, images):
    """How far the variance that a layer sees in ``images`` is from its running one: the worst layer's mean ratio."""
    norms = {name: module for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    stored = {name: norm.running_var.clone() for name, norm in norms.items()}
    recalibrate(net, [image[None].contiguous(memory_format=torch.channels_last) for image in images])
    return max(float((norms[name].running_var / stored[name]).log().mean().abs().exp()) for name in norms)


def calibrated(preset, images, masks):
    config = resolve(preset, overrides={"data.patch_size": SIDE})
    net = network()
    sampler = BatchSampler(TrainingTensors(images[:4], masks[:4]), config)
    recalibrate(net, (sampler.calibration(index) for index in range(16)))
    return net


def test_every_layer_sees_in_new_images_what_the_model_was_calibrated_with(noisy):
    images, masks = noisy
    assert furthest(calibrated("standard", images, masks), images[4:]) < 1.25


def test_warped_windows_would_not_do(noisy):
    images, masks = noisy
    assert furthest(calibrated("laptop", images, masks), images[4:]) > 1.4
