"""Small datasets, and a small model trained once for all tests: read only, copy before changing."""

import os
import signal
import subprocess
import threading

# One thread: on images this small more of them only wait for each other. Read when PyTorch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# In the background of a shell Ctrl-C is ignored, and the programs that tests start and interrupt would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

import rescrnet
from rescrnet.datasets.synthetic import write_dataset
from tests.support.configs import SMALLEST


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


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    """A dataset of an odd size to train on with a ``tiny`` configuration."""
    folder = tmp_path_factory.mktemp("data") / "cells"
    write_dataset("em", folder, train=3, val=2, size=(64, 70))
    return folder


@pytest.fixture
def mount(tmp_path):
    """Mount a memory disk; what it cannot do here skips the test."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount_with(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a memory disk needs a privileged user")
        return folder

    try:
        yield mount_with
    finally:
        subprocess.run(["umount", folder], capture_output=True, check=False)
