"""The optimisers: which moves what, and how far."""

import pytest
import torch
from torch import nn

from rescrnet.config import resolve
from rescrnet.nn.network import ResCRNet
from rescrnet.nn.unet import UNet
from rescrnet.training.optimizer import Muon, optimizers


def in_order(network, kind):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        name: [names[id(one)] for group in optimizer.param_groups for one in group["params"]]
        for name, optimizer in optimizers(network, kind, 1e-3).items()
    }


def test_muon_takes_the_weights_of_convolutions_and_adam_all_else():
    network = ResCRNet(1, 3, space_to_depth=2)
    shared = in_order(network, "muon")
    assert sorted([*shared["optimizer"], *shared["muon"]]) == sorted(name for name, _ in network.named_parameters())
    assert "blocks.1.branches.0.0.pointwise.weight" in shared["muon"]
    assert "blocks.1.branches.2.3.depthwise" in shared["muon"]
    assert "blocks.0.branches.0.0.pointwise.weight" not in shared["muon"]  # 16×4
    assert not any("rows" in name or "columns" in name for name in shared["muon"])
    weights = dict(network.named_parameters())
    assert sum(weights[name].numel() for name in shared["muon"]) > 0.9 * sum(w.numel() for w in weights.values())


def test_adam_alone_takes_all_in_the_order_of_the_network():
    network = ResCRNet(1, 3)
    assert in_order(network, "adam") == {"optimizer": [name for name, _ in network.named_parameters()]}


def test_muon_takes_the_convolutions_of_a_u_net():
    pytest.importorskip("monai")
    network = UNet(1, 3, resolve(overrides={"network.architecture": "res-unet"}).network)
    assert len(in_order(network, "muon")["muon"]) > 20


@pytest.mark.parametrize("shape", [(16, 48, 1, 1), (48, 16, 1, 1), (8, 3, 3, 3)])
def test_an_update_goes_as_far_in_every_direction_whatever_the_gradient_and_twice_as_far_as_adams(shape):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(shape))
    gradient = torch.randn(shape).flatten(1)
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    skewed = left @ torch.diag(values * torch.logspace(0, -1.5, len(values))) @ right
    for scale in (1e-4, 1e4):
        weight.data.zero_()
        weight.grad = (scale * skewed).view(shape)
        Muon([weight], 1e-3).step()
        moved = weight.detach().flatten(1) / -1e-3
        assert 0.4 < moved.square().mean().sqrt() < 0.8
        singular = torch.linalg.svdvals(moved) / (0.6 * max(moved.shape) ** 0.5)
        assert singular.min() > 0.3
        assert singular.max() < 1.3
        assert (moved * gradient).sum() > 0


def test_a_weight_without_gradient_stays():
    weight = nn.Parameter(torch.ones(6, 6, 1, 1))
    Muon([weight], 1e-3).step()
    assert (weight == 1).all()


def test_weights_of_one_shape_move_together_as_each_would_alone():
    torch.manual_seed(0)
    shapes = [(16, 48, 1, 1), (48, 1, 5, 5), (16, 48, 1, 1), (48, 1, 5, 5), (16, 16, 3, 1)]
    together = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    alone = [nn.Parameter(weight.detach().clone()) for weight in together]
    several, single = Muon(together, 1e-2), [Muon([weight], 1e-2) for weight in alone]
    for _ in range(2):
        for weight, other in zip(together, alone, strict=True):
            weight.grad = torch.randn_like(weight)
            other.grad = weight.grad.clone()
        several.step()
        for one in single:
            one.step()
    for weight, other in zip(together, alone, strict=True):
        torch.testing.assert_close(weight, other, rtol=0, atol=1e-5)
