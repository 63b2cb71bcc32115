"""Training starts from the weights that its configuration asks for."""

import torch

import rescrnet
from rescrnet.model import load
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny


def test_training_starts_with_shared_kernels_where_it_is_asked_to(cells, tmp_path):
    alike = []
    for same_start in (True, False):
        still = tiny(
            training__shared_initialization=same_start, training__epochs=1, training__learning_rate=1e-12, network__n=3
        )
        rescrnet.train(cells, tmp_path / str(same_start), still, progress=ProgressReporter())
        _, second, third = load(tmp_path / str(same_start) / "last.safetensors").network.blocks
        alike.append(torch.allclose(second.branches[1].first.depthwise, third.branches[1].first.depthwise, atol=1e-6))
    assert alike == [True, False]


def test_the_comparators_start_as_they_always_do(cells, tmp_path):
    models = []
    for same_start in (True, False):
        config = tiny(training__shared_initialization=same_start, training__epochs=1, network__architecture="unet")
        rescrnet.train(cells, tmp_path / str(same_start), config, progress=ProgressReporter())
        models.append(load(tmp_path / str(same_start) / "last.safetensors").network.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
