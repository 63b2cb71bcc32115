"""Prediction with the statistics of the image itself."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from rescrnet.config import ResCRNetConfig, UNetConfig
from rescrnet.inference.plane import predict_plane
from rescrnet.inference.resources import Resources
from rescrnet.inference.stream import Tiling
from rescrnet.nn.fused import FusedConvResBlock
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.statistics import SAMPLED, predict_logits, sample_windows, taking_statistics_of
from rescrnet.nn.unet import UNet
from tests.support.pictures import Canvas, Picture, model_of, picture


def network(**settings):
    torch.manual_seed(0)
    return ResCRNet(1, 3, ResCRNetConfig(**{"n": 3, "image_statistics": 1.0, **settings})).eval()


@pytest.mark.parametrize("side", [1, 2])
def test_an_image_is_normalised_as_training_normalises_a_batch_of_it(side):
    net, image = network(space_to_depth=side, dropout=0, recurrent_dropout=0), torch.rand(1, 1, 40, 52)
    with torch.no_grad():
        found = predict_logits(net, image)
        expected = net.train()(image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(40, 52), (600, 700)])
@pytest.mark.parametrize("stem", [None, 0.9, 0.0])
def test_a_layer_takes_its_share_of_the_image_and_the_rest_of_what_is_stored(shape, stem, monkeypatch):
    net = network(filters=16, n=2, image_statistics=0.3, stem_statistics=stem)
    image = torch.rand(1, 1, *shape)
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean, norm.running_var = torch.randn(norm.num_features), 0.5 + torch.rand(norm.num_features)
    windows = torch.cat([image[:, :, y0:y1, x0:x1] for y0, y1, x0, x1 in sample_windows(shape, 1)])
    spelled_out = ResCRNet(1, 3, net.config).eval()
    spelled_out.load_state_dict(net.state_dict())
    monkeypatch.setattr(FusedConvResBlock, "_sweeps_fit", lambda self, x: x is None)
    with torch.no_grad():
        for name, norm in spelled_out.named_modules():
            if isinstance(norm, nn.BatchNorm2d):
                share = stem if stem is not None and name.startswith("blocks.0.") else 0.3
                norm.register_forward_pre_hook(lambda norm, inputs, share=share: lean(norm, inputs[0], share))
        found = predict_logits(net, image)
        spelled_out.features(windows)
        for norm in spelled_out.modules():
            norm._forward_pre_hooks.clear()
        expected = spelled_out(image)
        monkeypatch.undo()
        in_sweeps = predict_logits(net, image)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(in_sweeps, expected, atol=1e-4, rtol=1e-4)


def lean(norm, x, share):
    """Statistics that lie so far between what is stored and what comes."""
    values = x.transpose(0, 1).flatten(1).double()
    norm.running_mean = ((1 - share) * norm.running_mean + share * values.mean(1)).float()
    norm.running_var = ((1 - share) * norm.running_var + share * values.var(1, correction=0)).float()


def test_brightness_and_contrast_of_the_whole_image_change_hardly_anything():
    net, image = network(), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        plain, changed = predict_logits(net, image), predict_logits(net, 0.5 * image + 0.3)
        stored = net(image) - net(0.5 * image + 0.3)
    assert (plain - changed).abs().mean() < 0.2 * stored.abs().mean()


def test_with_its_own_statistics_in_the_stem_the_light_hardly_matters():
    image, changes = 30 * torch.rand(1, 1, 64, 64), {}  # far above the constant that is added to variances
    for stem in (None, 1.0):
        net = network(image_statistics=0.5, stem_statistics=stem)
        for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = 1.0
        with torch.no_grad():
            net.train()(image)  # whose statistics are stored so
            plain, darker = predict_logits(net.eval(), image), predict_logits(net, 0.5 * image)
        changes[stem] = (plain - darker).abs().mean()
    assert changes[1.0] < 0.2 * changes[None]


@pytest.mark.parametrize("shape", [(40, 52), (600, 700), (1, 1)])
def test_what_is_stored_stays_as_it_was(shape):
    net = network(filters=2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        assert predict_logits(net, torch.rand(1, 1, *shape)).isfinite().all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module.training for module in net.modules())


def test_threads_that_share_a_network_do_not_disturb_each_other():
    net = network(filters=2)
    images = [torch.rand(1, 1, 48, 48) * (1 + index) for index in range(6)]

    def predict(image):
        with torch.no_grad():
            return predict_logits(net, image)

    expected = [predict(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(predict, images * 4))
    for one, other in zip(found, expected * 4, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("side", [1, 2])
def test_an_image_of_a_pixel_or_a_square_has_statistics_too(side):
    net, image = network(filters=2, space_to_depth=side, n=1), torch.rand(1, 1, side, side)
    with torch.no_grad(), taking_statistics_of(net, image):
        streamed = net(image)
    with torch.no_grad():
        torch.testing.assert_close(streamed, predict_logits(net, image), atol=1e-5, rtol=1e-5)


def test_without_it_the_stored_statistics_count():
    net = network(filters=2)
    plain = ResCRNet(1, 3, net.config.model_copy(update={"image_statistics": 0.0})).eval()
    plain.load_state_dict(net.state_dict())
    image = torch.rand(1, 1, 20, 20)
    with torch.no_grad():
        assert torch.equal(predict_logits(plain, image), plain(image))
        assert not torch.allclose(predict_logits(net, image), plain(image), atol=1e-3)


def test_a_u_net_does_likewise_whatever_the_size():
    pytest.importorskip("monai")
    torch.manual_seed(0)
    net = UNet(1, 3, UNetConfig(architecture="res-unet", image_statistics=0.5)).eval()
    for shape in ((1, 1), (17, 5), (64, 48)):
        with torch.no_grad():
            found = predict_logits(net, torch.rand(1, 1, *shape))
        assert found.shape == (1, 3, *shape)
        assert found.isfinite().all()


@pytest.mark.parametrize("shape", [(600, 700), (3000, 90), (5, 200_000), (4096, 4096)])
@pytest.mark.parametrize("side", [1, 2, 4])
def test_the_windows_lie_within_the_image_and_hold_no_more_than_they_may(shape, side):
    windows = sample_windows(shape, side)
    assert sum((y1 - y0) * (x1 - x0) for y0, y1, x0, x1 in windows) <= SAMPLED * side**2
    for y0, y1, x0, x1 in windows:
        assert 0 <= y0 < y1 <= shape[0]
        assert 0 <= x0 < x1 <= shape[1]
        assert y0 % side == x0 % side == 0
    assert len({(y1 - y0, x1 - x0) for y0, y1, x0, x1 in windows}) == 1


def test_a_large_image_is_the_same_streamed_and_whole():
    model, shape = model_of(image_statistics=0.5, n=1, space_to_depth=1), (530, 610)
    assert len(sample_windows(shape, 1)) == 16
    image = picture(*shape)
    mask, probabilities = Canvas(*shape), Canvas(*shape, 3)
    tiling = Tiling(tile=(256, 256), rows=64, strip=64, segment=256)
    predict_plane(model, Picture(image), mask, probabilities, resources=Resources(tiling=tiling))
    np.testing.assert_allclose(np.moveaxis(probabilities.array, -1, 0), model.predict(image), atol=1e-5)


def test_statistics_of_sixteen_windows_are_those_of_one_batch():
    net, image = network(filters=2, m=0, dropout=0), torch.rand(1, 1, 600, 700)
    windows = torch.cat([image[:, :, y0:y1, x0:x1] for y0, y1, x0, x1 in sample_windows((600, 700), 1)])
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        found = predict_logits(net, image)
        for norm in norms:
            norm.momentum = 1.0
        net.train()(windows)
        expected = net.eval()(image)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
