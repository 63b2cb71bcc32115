"""A prediction of files that ends between any two changes of the disk is resumed, and ends with the same bytes."""

import os
from pathlib import Path

import numpy as np
import pytest

from rescrnet.inference.folder import predict_files
from rescrnet.inference.options import WriteOptions
from rescrnet.inference.resources import Resources
from rescrnet.inference.stream import Tiling
from tests.support.folders import noise
from tests.support.pictures import model_of

pytestmark = pytest.mark.filterwarnings("ignore::rescrnet.errors.RescrnetWarning")
TILING = Tiling(tile=(32, 16), rows=16, strip=16, segment=32, block=16)
MOMENTS = 6  # spread over all changes, and as many of the last, when folders are removed and named


class KilledError(BaseException):
    pass


class Disk:
    """Counts the changes of the disk; after ``last`` of them nothing changes any more, not even to clean up."""

    def __init__(self, monkeypatch):
        self.changes, self.last = 0, 10**9
        for name in ("mkdir", "replace", "rmdir", "unlink"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))
        opened = Path.open
        changing = self.counted(opened)
        monkeypatch.setattr(
            Path,
            "open",
            lambda path, mode="r", *rest, **how: (changing if set(mode) & set("wax+") else opened)(
                path, mode, *rest, **how
            ),
        )

    def counted(self, change):
        def change_or_die(*arguments, **settings):
            self.changes += 1
            if self.changes > self.last:
                raise KilledError
            return change(*arguments, **settings)

        return change_or_die


@pytest.fixture(scope="module")
def predict(tmp_path_factory):
    model, folder = model_of(n=1, lstm_filters=1), tmp_path_factory.mktemp("images")
    np.save(folder / "a.npy", noise((2, 40, 30)))
    np.save(folder / "b.npy", noise((20, 16), seed=1))

    def predict(out, scratch=None):
        resources = Resources(tiling=TILING, scratch=scratch)
        return predict_files(model, [folder], out, WriteOptions(probabilities=True), resources=resources)

    return predict


def results(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def expected(predict, tmp_path_factory):
    """The results, and how many changes of the disk they take."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        predict(folder / "out")
    return results(folder / "out"), disk.changes


@pytest.mark.parametrize("elsewhere", [False, True], ids=["scratch beside the results", "scratch elsewhere"])
@pytest.mark.parametrize("moment", range(2 * MOMENTS))
def test_a_prediction_that_ends_at_any_moment_is_resumed(predict, expected, tmp_path, monkeypatch, moment, elsewhere):
    files, changes = expected
    scratch = tmp_path / "scratch" if elsewhere else None
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        disk.last = changes * moment // MOMENTS if moment < MOMENTS else changes - 1 - moment % MOMENTS
        with pytest.raises(KilledError):
            predict(tmp_path / "out", scratch)
    left = {"out", "scratch"}
    if (tmp_path / "out").exists():  # all that is missing is that the file of the lock, which nobody holds, be removed
        left.add(".out.lock")
    else:
        predict(tmp_path / "out", scratch)
    assert results(tmp_path / "out") == files
    assert {path.name for path in tmp_path.iterdir()} <= left
    assert scratch is None or not any(scratch.iterdir())
