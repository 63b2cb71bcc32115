"""Networks that start as the authors' does."""

import torch

import rescrnet
from rescrnet.model import load
from rescrnet.nn.initialization import start_alike
from rescrnet.nn.network import ResCRNet
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny


def test_kernels_of_one_kind_and_shape_start_alike_and_as_the_first_of_them_would():
    torch.manual_seed(0)
    network = ResCRNet(1, 3)
    first, second, *_, last = network.blocks
    drawn = {name: value.clone() for name, value in network.state_dict().items()}
    start_alike(network)

    for kernels in zip(
        [kernel for branch in second.branches for kernel in (branch[0].depthwise, branch[3].depthwise)],
        [kernel for branch in last.branches for kernel in (branch[0].depthwise, branch[3].depthwise)],
        strict=True,
    ):
        assert torch.equal(*kernels)
    assert torch.equal(first.branches[0][3].pointwise.weight, last.branches[2][3].pointwise.weight)
    scans = network.head[0]
    for kind in ("input_kernel", "recurrent_kernel"):
        kernel = getattr(scans.rows, kind)
        assert torch.equal(kernel[0], kernel[1])
        assert torch.equal(kernel, getattr(scans.columns, kind))
    assert not torch.equal(scans.rows.input_kernel, scans.rows.recurrent_kernel)

    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, drawn[name])}
    assert not {name for name in changed if "running" in name or "bias" in name}
    assert not {name for name in changed if name.startswith("blocks.0.") and "depthwise" in name}
    assert "blocks.1.branches.0.0.depthwise" not in changed
    assert "blocks.2.branches.0.0.depthwise" in changed


def test_training_starts_alike_where_it_is_asked_to(cells, tmp_path):
    alike = []
    for same_start in (True, False):
        still = tiny(
            training__shared_initialization=same_start, training__epochs=1, training__learning_rate=1e-12, network__n=3
        )
        rescrnet.train(cells, tmp_path / str(same_start), still, progress=ProgressReporter())
        _, second, third = load(tmp_path / str(same_start) / "last.safetensors").network.blocks
        alike.append(torch.allclose(second.branches[1][0].depthwise, third.branches[1][0].depthwise, atol=1e-6))
    assert alike == [True, False]


def test_the_comparators_start_as_they_always_do(cells, tmp_path):
    models = []
    for same_start in (True, False):
        config = tiny(training__shared_initialization=same_start, training__epochs=1, network__architecture="unet")
        rescrnet.train(cells, tmp_path / str(same_start), config, progress=ProgressReporter())
        models.append(load(tmp_path / str(same_start) / "last.safetensors").network.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
