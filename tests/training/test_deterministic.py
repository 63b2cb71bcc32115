"""One seed, one model."""

import torch

import rescrnet
from tests.support.configs import tiny


def weights(model):
    return model.network.state_dict()


def equal(a, b):
    return all(torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


def test_two_runs_with_one_seed_give_the_same_weights(cells, tmp_path):
    first = rescrnet.train(cells, tmp_path / "first", tiny())
    second = rescrnet.train(cells, tmp_path / "second", tiny())
    assert equal(first, second)


def test_another_seed_gives_other_weights(cells, tmp_path):
    first = rescrnet.train(cells, tmp_path / "first", tiny(training__epochs=1))
    second = rescrnet.train(cells, tmp_path / "second", tiny(training__epochs=1, training__seed=1))
    assert not equal(first, second)
