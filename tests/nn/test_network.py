"""One contract that every network passes."""

import shutil

import pytest
import torch

from rescrnet.classes import ClassEntry
from rescrnet.config import Config
from rescrnet.errors import UsageError
from rescrnet.intensity import IntensityScaling
from rescrnet.model import ModelCard, SegmentationModel, load
from rescrnet.nn.blocks import ConvResBlock
from rescrnet.nn.build import build_network
from rescrnet.nn.network import ResCRNet

SMALL = {"n": 3, "filters": 4}
NETWORKS = {
    "paper": {},
    "small": SMALL,
    "without LSTM": {**SMALL, "m": 0},
    "two LSTM blocks": {**SMALL, "m": 2, "lstm_filters": 2},
    "stem only": {"n": 1, "filters": 2},
    "sum": {**SMALL, "merge": "sum"},
    "dense": {**SMALL, "architecture": "dense"},
    "very dense": {**SMALL, "architecture": "very-dense", "n": 8},
    "four branches": {**SMALL, "kernel_sizes": [1, 3, 5, 7], "dilations": [1, 2, 3, 4]},
    "set by block": {
        "n": 2,
        "filters": [2, 3],
        "kernel_sizes": [[3], [3, 5]],
        "dilations": [[2], [1, 4]],
    },
    "unet": {"architecture": "unet"},
    "res-unet": {"architecture": "res-unet"},
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return build_network(2, 3, Config(network=NETWORKS[request.param]).network)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2), (13, 18)])
def test_any_size_goes_through_at_full_resolution(network, size):
    assert network.eval()(torch.randn(1, 2, *size)).shape == (1, 3, *size)


def test_gradients_reach_every_parameter(network):
    network(torch.randn(2, 2, 12, 11)).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Before batch normalisation a constant makes no difference.
    assert all(name.endswith(("pointwise.bias", "shortcut.0.bias")) for name in silent)


def test_a_batch_of_one_equals_a_batch_of_many(network):
    network.eval()
    x = torch.randn(3, 2, 10, 9)
    together = network(x)
    alone = torch.cat([network(image[None]) for image in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5 * together.detach().abs().max().item())


def test_evaluation_is_deterministic_and_leaves_the_statistics_alone(network):
    network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(1, 2, 8, 8)
    assert torch.equal(network(x), network(x))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def assert_same_numbers(other, network, x):
    with torch.no_grad():
        expected = network(x)
        torch.testing.assert_close(other(x), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_network_gives_the_same_numbers():
    torch.manual_seed(0)
    network = ResCRNet(2, 3, **NETWORKS["stem only"]).eval()
    assert_same_numbers(torch.compile(network), network, torch.randn(1, 2, 4, 5))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two LSTM blocks", "very dense", "res-unet"])
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_an_exported_network_gives_the_same_numbers(name):
    torch.manual_seed(0)
    network = build_network(2, 3, Config(network=NETWORKS[name]).network).eval()
    x = torch.randn(1, 2, 4, 5)
    assert_same_numbers(torch.export.export(network, (x,)).module(), network, x)


def test_training_differs_from_evaluation_by_dropout_and_batch_statistics_only():
    torch.manual_seed(0)
    network = ResCRNet(2, 3, **SMALL, dropout=0, recurrent_dropout=0).train()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    x = torch.randn(2, 2, 16, 16)
    trained = network(x)  # now the running statistics are those of this batch, except for Bessel's correction
    with torch.no_grad():
        for norm in norms:
            norm.running_var *= (x.numel() / 2 - 1) / (x.numel() / 2)
    torch.testing.assert_close(network.eval()(x), trained, rtol=1e-3, atol=1e-4)


def test_save_and_load_is_exact(network, tmp_path):
    card = ModelCard(
        network=network.config,
        in_channels=2,
        classes=[ClassEntry(name=name) for name in "abc"],
        intensity=IntensityScaling(offset=(0, 0), scale=(1, 1)),
    )
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.add_(1)
    SegmentationModel(network, card).save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.network.config == network.config
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value), name


def test_one_seed_draws_one_network():
    weights = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        weights.append(torch.cat([p.flatten() for p in ResCRNet(1, 3, **SMALL).parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["paper", "sum", "very dense", "stem only"])
def test_blocks_are_folded_before_the_first_runs_and_give_what_each_gives_by_itself(name, monkeypatch):
    network, x = ResCRNet(1, 3, **NETWORKS[name]).eval(), torch.randn(2, 1, 20, 30)
    order = []
    for block in network.conv_blocks:
        fold, forward = block.fold, block.forward
        monkeypatch.setattr(block, "fold", lambda x, fold=fold: order.append("fold") or fold(x))
        monkeypatch.setattr(block, "forward", lambda *a, forward=forward: order.append("run") or forward(*a))
    with torch.no_grad():
        early = network.features(x)
        monkeypatch.undo()
        assert order == ["fold"] * len(network.blocks) + ["run"] * len(network.blocks)
        assert all(block.fold(x) is not None for block in network.conv_blocks)
        monkeypatch.setattr("rescrnet.nn.fused.FusedConvResBlock.fold", lambda block, x: None)
        assert torch.equal(network.features(x), early)


def test_frozen_blocks_between_trained_ones_pass_the_gradient_on():
    def gradients(frozen):
        torch.manual_seed(3)
        network = ResCRNet(1, 3, **SMALL).eval()
        for block in frozen:
            network.blocks[block].requires_grad_(False)
        network(torch.linspace(-1, 1, 600).view(1, 1, 20, 30)).square().sum().backward()
        return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}

    everything, some = gradients([]), gradients([1, 2])
    assert any(name.startswith("blocks.0.") for name in some)
    for name, gradient in some.items():
        torch.testing.assert_close(gradient, everything[name])


def test_the_papers_network_has_58662_trainable_parameters_and_1632_running_statistics():
    network = ResCRNet(1, 3)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 58_662
    statistics = [b for name, b in network.named_buffers() if "running" in name]
    assert sum(b.numel() for b in statistics) == 1_632


def test_the_stem_has_no_activation_before_its_branches():
    block = ConvResBlock(1, 2, [3], [1], stem=True)
    assert isinstance(block.activation, torch.nn.Identity)
    assert block(torch.ones(1, 1, 4, 4)).shape == (1, 2, 4, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n: Input should be greater than 0"),
        ({"kernel_sizes": [4, 3, 3]}, "4 is even"),
        ({"dilations": [1, 2]}, "must be as many"),
        ({"filters": [4, 4]}, "filters is set for 2 blocks but n is 6"),
        ({"architecture": "dense", "n": 2, "filters": [4, 8]}, "all need one width"),
        (
            {"architecture": "unet"},
            "architecture: Input should be 'res-cr-net', 'dense' or 'very-dense' (found 'unet')",
        ),
        ({"depth": 3}, "key 'depth' is unknown; known keys are architecture, n, m,"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(UsageError, match="network: ") as caught:
        ResCRNet(1, 3, **settings)
    assert message in str(caught.value)


def test_a_dropout_for_each_block_is_followed_also_by_the_stem_of_a_dense_network():
    def rates(**settings):
        return [block.dropout for block in ResCRNet(1, 2, **SMALL, **settings).conv_blocks]

    n = len(rates())
    assert rates(dropout=0.2) == [0.2] * n
    assert rates(architecture="dense", dropout=0.2) == [0.0] + [0.2] * (n - 1)
    assert rates(dropout=[0.2] * (n - 1) + [0]) == [0.2] * (n - 1) + [0]
    assert rates(architecture="dense", dropout=[0.2] * n) == [0.2] * n
    with pytest.raises(UsageError, match=f"dropout is set for 1 blocks but n is {n}"):
        rates(dropout=[0.1])
