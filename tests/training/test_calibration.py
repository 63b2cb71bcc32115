"""A model is calibrated with what it will predict: images as they are, not smoothed by warping.

Real micrographs are noisy, and bilinear reading takes a good part of the noise away (docs/training.md).
"""

import numpy as np
import pytest
import torch
from torch import nn

import rescrnet
from rescrnet.classes import ClassEntry
from rescrnet.config import resolve
from rescrnet.intensity import IntensityScaling
from rescrnet.model import ModelCard, SegmentationModel
from rescrnet.training.batches import BatchSampler, TrainingTensors
from rescrnet.training.progress import ProgressReporter
from rescrnet.training.recalibrate import recalibrate, remember_training_alone
from tests.support.configs import tiny

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


def test_running_statistics_remember_the_steps_of_training_and_nothing_from_before():
    norm, rng = nn.BatchNorm2d(3, momentum=0.01).train(), torch.Generator().manual_seed(0)
    norm(100 * torch.rand(2, 3, 5, 5, generator=rng))  # of an earlier training
    batches = torch.rand(150, 2, 3, 5, 5, generator=rng)
    for done, batch in enumerate(batches):
        remember_training_alone(norm, done)
        norm(batch)
        if done + 1 in (1, 30, 100):
            torch.testing.assert_close(norm.running_mean, batches[: done + 1].mean((0, 1, 3, 4)))
    expected = norm.running_mean.lerp(torch.ones(3), 0.01)
    norm(torch.ones(2, 3, 5, 5))
    torch.testing.assert_close(norm.running_mean, expected)


def test_a_training_starts_them_anew_where_predictions_use_them(cells, tmp_path):
    config = tiny(network__image_statistics=0.5)
    first = rescrnet.train(cells, tmp_path / "first", config, progress=ProgressReporter())
    for module in first.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(1e6)
    second = rescrnet.train(cells, tmp_path / "second", config, start=first, progress=ProgressReporter())
    norms = [module for module in second.network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert max(float(norm.running_mean.abs().max()) for norm in norms) < 1e3
