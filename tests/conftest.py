"""A small dataset, and a small model trained on it once for all tests: read only, copy before changing."""

import pytest

import rescrnet
from rescrnet.data.samples import write_dataset

SMALLEST = {
    "network.n": 1,
    "network.filters": 2,
    "data.patch_size": 32,
    "training.epochs": 1,
    "training.steps_per_epoch": 1,
    "training.recalibrate": 1,
}


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "em"
    write_dataset("em", folder, train=2, val=2, size=(64, 80))
    return folder


@pytest.fixture(scope="session")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    rescrnet.train(dataset, folder, rescrnet.configure("laptop", overrides=SMALLEST))
    return folder


@pytest.fixture(scope="session")
def model(run):
    return rescrnet.load(run)
