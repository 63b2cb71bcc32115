"""A dataset small enough to train on in a second."""

import pytest

import rescrnet
from rescrnet.datasets.synthetic import write_dataset

TINY = {
    "network.n": 2,
    "network.filters": 2,
    "data.patch_size": 24,
    "training.steps_per_epoch": 2,
    "training.batch_size": 2,
    "training.recalibrate": 2,
    "training.epochs": 3,
}


def tiny(**changes):
    overrides = {**TINY, **{key.replace("__", "."): value for key, value in changes.items()}}
    return rescrnet.configure("laptop", overrides=overrides)


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "cells"
    write_dataset("em", folder, train=3, val=2, size=(64, 70))
    return folder
