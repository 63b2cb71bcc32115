"""Prediction on Dask workers."""

import builtins
import os
import signal
import sys

import numpy as np
import pytest

from rescrnet import cli
from rescrnet.ensemble import Ensemble, views_for
from rescrnet.errors import DataError, UsageError
from rescrnet.images.npy import RawArray
from rescrnet.images.open import open_image
from rescrnet.inference.cluster import Cluster, cluster, executor
from rescrnet.inference.plane import predict_plane
from rescrnet.inference.resources import Resources, Sequential
from rescrnet.inference.stream import Tiling
from tests.support.pictures import Picture, model_of, picture

TILING = Tiling(tile=(64, 32), rows=16, strip=16, segment=32, block=16)
SHAPE = (150, 110)


class FileWriter:
    """A writer into a file that several processes write to."""

    def __init__(self, path, *shape, dtype=np.uint8):
        self.array = RawArray.create(path, shape, dtype)

    def write(self, y0, x0, block):
        rows, columns = slice(y0, y0 + block.shape[0]), slice(x0, x0 + block.shape[1])
        self.array[(rows, columns, slice(None))[: block.ndim]] = block


@pytest.fixture(scope="module")
def workers():
    with cluster(2) as running:
        yield running


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "image.npy", picture(*SHAPE)[..., 0])
    return open_image(tmp_path / "image.npy")[0].source


def predicted(source, folder, executor, model=None):
    folder.mkdir()
    mask = FileWriter(folder / "mask.npy", *SHAPE)
    probabilities = FileWriter(folder / "probabilities.npy", *SHAPE, 3, dtype=np.float32)
    resources = Resources(scratch=folder / "scratch", executor=executor, tiling=TILING)
    predict_plane(model or model_of(m=2), source, mask, probabilities, resources=resources)
    return [(folder / name).read_bytes() for name in ("mask.npy", "probabilities.npy")]


class Watched:
    """A cluster whose workers are killed while it runs."""

    def __init__(self, running, after):
        self.running, self.after, self.killed = running, after, 0

    def run(self, stream, tasks):
        for count, task in enumerate(self.running.run(stream, tasks)):
            if count == self.after and self.killed < 2:
                pids = self.running.client.run(os.getpid)
                os.kill(next(iter(pids.values())), signal.SIGKILL)
                self.killed += 1
            yield task


def test_two_workers_make_the_bytes_of_one_process_even_if_some_are_killed(workers, source, tmp_path):
    expected = predicted(source, tmp_path / "one", Sequential())
    assert predicted(source, tmp_path / "two", workers) == expected
    watched = Watched(workers, after=3)
    assert predicted(source, tmp_path / "killed", watched) == expected
    assert watched.killed == 2


def test_two_workers_make_the_bytes_of_one_process_of_an_ensemble_too(workers, source, tmp_path):
    model = Ensemble([model_of(m=2), model_of(n=1)], views_for(model_of().card), 1.3)
    expected = predicted(source, tmp_path / "one", Sequential(), model)
    assert predicted(source, tmp_path / "two", workers, model) == expected


def test_an_error_of_a_worker_is_that_of_this_process(workers, tmp_path):
    image = np.full((*SHAPE, 1), np.nan, np.float32)
    with pytest.raises(DataError, match="image: holds NaN or infinite values"):
        predicted(Picture(image), tmp_path / "out", workers)


def test_without_workers_or_an_address_this_process_does_the_work():
    with executor() as running:
        assert isinstance(running, Sequential)


def test_a_running_scheduler_is_used_by_its_address(workers):
    address = workers.client.scheduler.address
    with executor(address=address) as running:
        assert isinstance(running, Cluster)
        assert running.client.submit(abs, -1).result() == 1


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:1"])
def test_an_address_where_no_scheduler_answers_is_refused(address):
    with (
        pytest.raises(UsageError, match=rf"--dask {address}: no scheduler answers there .*expected an address"),
        cluster(address=address, patience=0.5),
    ):
        pass


@pytest.mark.parametrize(("arguments", "option"), [({"workers": 2}, "--workers"), ({"address": "x"}, "--dask")])
def test_without_dask_the_option_says_what_to_install(monkeypatch, arguments, option):
    imported = builtins.__import__

    def without_dask(name, *rest):
        if name.split(".")[0] in ("dask", "distributed"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_dask)
    says = rf"{option}: needs Dask distributed.*pip install 'rescrnet\[scale\]'"
    with pytest.raises(UsageError, match=says), cluster(**arguments):
        pass


def test_workers_and_a_scheduler_at_once_are_refused(monkeypatch, capsys, run, tmp_path):
    command = ["rescrnet", "predict", run, run, "--out", tmp_path / "out", "--workers", 2, "--dask", "tcp://x:1"]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "--workers, --dask: both are given; give one of them" in capsys.readouterr().err
