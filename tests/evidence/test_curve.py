"""Learning curves: what more images are worth, or that it cannot be told."""

import json

import numpy as np
import pytest

import rescrnet
from rescrnet.datasets.synthetic import write_dataset
from rescrnet.errors import UsageError
from rescrnet.evidence.curve import answer, curve, drawn, growth
from rescrnet.evidence.progress import ExperimentProgress
from rescrnet.evidence.units import Unit
from rescrnet.reporting.curve_page import write_page
from tests.support.configs import SMALLEST

FOLDS = {f"image {n}": n % 4 + 1 for n in range(12)}


def scores(sizes, gain_a_doubling, noise, seed=0):
    rng = np.random.default_rng(seed)
    level = rng.normal(0.6, 0.1, len(FOLDS))
    return {
        size: dict(zip(FOLDS, level + gain_a_doubling * np.log2(size) + rng.normal(0, noise, 12), strict=True))
        for size in sizes
    }


def test_growth_goes_on_as_before():
    gain = growth([2, 4, 8], scores([2, 4, 8], 0.04, 0.0), FOLDS)
    assert gain.mean == pytest.approx(0.04 * np.log2(13 / 8))


@pytest.mark.parametrize(
    ("gain", "noise", "said"), [(0.06, 0.005, "yes"), (0.0, 0.002, "no"), (0.0, 0.1, "cannot tell")]
)
def test_answers(gain, noise, said):
    assert answer(growth([2, 4, 8], scores([2, 4, 8], gain, noise), FOLDS), margin=0.01) == said


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "em"
    write_dataset("em", folder, train=4, val=2, size=(64, 80))
    return folder


def test_a_curve_from_its_folder_to_its_page(data, tmp_path):
    config = rescrnet.configure("laptop", overrides=SMALLEST)
    found = curve(data, tmp_path / "c", config, sizes=[2, 4], folds=3, seeds=1, progress=ExperimentProgress())
    assert list(found.tables) == [2, 4]
    stats = json.loads((tmp_path / "c" / "stats.json").read_text(encoding="utf-8"))
    assert stats["more_images"]["answer"] in ("yes", "no", "cannot tell")
    assert stats["words"]["answer"].split(" (")[0] in write_page(found).read_text(encoding="utf-8")
    units = [Unit("res-cr-net", 1, 0, tmp_path, size) for size in (2, 4)]
    small, large = ({s.stem for s in drawn(found_labelled(data), found.plan, unit).train} for unit in units)
    assert small < large
    assert (len(small), len(large)) == (2, 4)


def found_labelled(data):
    from rescrnet.evidence.folds import read_labelled

    return read_labelled(data)


def test_sizes_that_the_folds_do_not_leave(data, tmp_path):
    with pytest.raises(UsageError, match="--sizes 5: the folds leave 4 images to train on"):
        curve(data, tmp_path / "c", sizes=[2, 5], folds=3)
