"""Cross-validation, from its folder to its page, killed and resumed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rescrnet
from rescrnet.checking.check import load_dataset
from rescrnet.datasets.synthetic import write_dataset
from rescrnet.ensemble import tempered
from rescrnet.errors import ModelError, OutputError, RescrnetWarning, UsageError
from rescrnet.evidence.crossval import crossval
from rescrnet.evidence.members import fitted
from rescrnet.evidence.outcome import read_out_of_fold
from rescrnet.evidence.progress import ExperimentProgress
from rescrnet.evidence.words import crossval_methods
from rescrnet.model import load
from rescrnet.reporting.crossval_page import write_page
from rescrnet.scoring.calibration import Pixels
from tests.support.configs import SMALLEST

HOW = {"folds": 2, "seeds": 2, "progress": ExperimentProgress()}


def small():
    return rescrnet.configure("laptop", overrides=SMALLEST)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "em"
    write_dataset("em", folder, train=4, val=2, size=(64, 80))
    return folder


@pytest.fixture(scope="module")
def found(data, tmp_path_factory):
    return crossval(data, tmp_path_factory.mktemp("out") / "cv", small(), **HOW)


def test_every_image_is_scored_by_every_seed_and_its_average(found):
    rows = list(csv.DictReader((found.out / "scores.csv").read_text(encoding="utf-8").splitlines()))
    whole = [row for row in rows if row["class"] == "all classes"]
    assert len(whole) == 6 * 3
    of_first = {row["seed"]: float(row["iou"]) for row in whole if row["image"] == whole[0]["image"]}
    assert of_first["mean"] == pytest.approx((of_first["0"] + of_first["1"]) / 2, abs=1e-6)


def test_no_model_saw_an_image_that_it_is_scored_on(found):
    for image in found.plan.images:
        for seed in (0, 1):
            card = load(found.out / f"fold-{image.fold}" / f"seed-{seed}").card
            assert image.stem not in card.trained.train
            assert image.stem not in card.trained.val
            assert len(card.trained.train) == 3


def test_probabilities_out_of_fold_are_the_mean_over_the_seeds(found):
    kept = read_out_of_fold(found.out)
    samples = {sample.stem: sample for sample in found.labelled.samples}
    image = found.plan.images[0]
    models = [load(found.out / f"fold-{image.fold}" / f"seed-{seed}") for seed in (0, 1)]
    mean = np.mean([model.predict_normalised(samples[image.stem].image) for model in models], axis=0)
    probabilities, mask = kept[image.stem]
    np.testing.assert_allclose(probabilities, mean, atol=2e-3)
    np.testing.assert_array_equal(mask, samples[image.stem].mask)
    assert kept.keys() == samples.keys()


def test_the_model_of_a_run_is_its_last_one(found):
    run = found.out / "fold-1" / "seed-0"
    best, last = (load(run / name) for name in ("best.safetensors", "last.safetensors"))
    for name, weights in last.network.state_dict().items():
        assert (best.network.state_dict()[name] == weights).all()


def test_scoring_a_fold_on_images_that_it_trained_on_is_warned_of(data, found, tmp_path):
    with pytest.warns(RescrnetWarning, match=r"was trained on .*, so these scores flatter"):
        rescrnet.evaluate(load(found.out / "fold-1" / "seed-0"), data, tmp_path / "scores")


def test_the_page_has_what_was_found_and_stands_alone(found):
    page = write_page(found).read_text(encoding="utf-8")
    stats = json.loads((found.out / "stats.json").read_text(encoding="utf-8"))
    assert f"{stats['scores']['mean_iou']['mean']:.3f}" in page
    assert stats["words"]["methods"].split(". ")[1] in page
    assert page.count("<article>") == 6
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_resuming_what_is_finished_changes_nothing(data, found):
    before = {path: path.read_bytes() for path in found.out.rglob("*.safetensors")}
    stats = (found.out / "stats.json").read_bytes()
    crossval(data, found.out, small(), **HOW, resume=True)
    assert {path: path.read_bytes() for path in found.out.rglob("*.safetensors")} == before
    assert (found.out / "stats.json").read_bytes() == stats


def test_killed_and_resumed_equals_uninterrupted(data, found, tmp_path):
    out = tmp_path / "cv"
    code = (
        "from rescrnet.evidence.crossval import crossval; from rescrnet.evidence.progress import ExperimentProgress;"
        "import rescrnet, sys;"
        f"crossval({str(data)!r}, {str(out)!r}, rescrnet.configure('laptop', overrides={SMALLEST!r}),"
        "folds=2, seeds=2, progress=ExperimentProgress())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    deadline = time.monotonic() + 120
    while len(list(out.glob("fold-*/seed-*/unit.json"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(out.glob("fold-*/seed-*/unit.json"))) >= 2
    again = crossval(data, out, small(), **HOW, resume=True)
    for part in ("scores.csv", "stats.json"):
        assert (out / part).read_bytes() == (found.out / part).read_bytes()
    assert again.plan.sha256 == found.plan.sha256


def test_a_folder_with_results_is_not_taken_without_resume(data, found):
    with pytest.raises(OutputError, match=r"holds results already; choose a new folder, or go on with --resume"):
        crossval(data, found.out, small(), **HOW)


def test_another_plan_is_refused_and_nothing_is_lost(data, found):
    with pytest.raises(UsageError, match=r"holds results of another plan: its folds is 2, not 3"):
        crossval(data, found.out, small(), folds=3, seeds=2, resume=True, progress=ExperimentProgress())
    other = rescrnet.configure("laptop", overrides={**SMALLEST, "training.learning_rate": 0.5})
    with pytest.raises(UsageError, match=r"another plan: its settings are others"):
        crossval(data, found.out, other, **HOW, resume=True)
    assert (found.out / "stats.json").is_file()


def test_images_that_changed_are_refused(data, found, tmp_path):
    write_dataset("em", tmp_path / "other", train=4, val=2, size=(64, 80), seed=5)
    with pytest.raises(UsageError, match=r"another plan: the image or mask of '00' is not what it was"):
        crossval(tmp_path / "other", found.out, small(), **HOW, resume=True)


def test_a_plan_that_was_changed_is_refused(data, found):
    plan = found.out / "plan.json"
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text.replace('"margin": 0.01', '"margin": 0.1'), encoding="utf-8")
    try:
        with pytest.raises(OutputError, match=r"plan\.json: was changed after it was fixed"):
            crossval(data, found.out, small(), **HOW, resume=True)
    finally:
        plan.write_text(text, encoding="utf-8")


def test_a_damaged_part_is_named(data, found):
    unit = found.out / "fold-2" / "seed-1" / "unit.json"
    whole = unit.read_bytes()
    unit.write_bytes(whole[:40])
    try:
        with pytest.raises(OutputError, match=r"unit\.json: is damaged; remove its folder"):
            crossval(data, found.out, small(), **HOW, resume=True)
    finally:
        unit.write_bytes(whole)


def test_a_budget_that_is_too_small_for_an_epoch(data, tmp_path):
    with pytest.raises(UsageError, match=r"--budget: leaves .* for a training, res-cr-net takes .* for one epoch"):
        crossval(data, tmp_path / "cv", small(), folds=2, seeds=1, seconds=1e-3, progress=ExperimentProgress())
    with pytest.raises(UsageError, match=r"takes .* for one epoch"):  # and once more
        crossval(
            data, tmp_path / "cv", small(), folds=2, seeds=1, seconds=1e-3, progress=ExperimentProgress(), resume=True
        )


def test_more_folds_than_images_writes_nothing(data, tmp_path):
    with pytest.raises(UsageError, match="--folds 9"):
        crossval(data, tmp_path / "cv", small(), folds=9)
    assert not Path(tmp_path / "cv").exists()


def test_a_budget_ends_the_training(data, tmp_path):
    found = crossval(data, tmp_path / "cv", small(), folds=2, seeds=1, seconds=10.0, progress=ExperimentProgress())
    for result in found.table.results:
        assert result.cost["updates"] > 1
        assert result.cost["seconds"] < 30


def test_the_folder_is_a_model_of_all_its_models(found, data):
    model = rescrnet.load(found.out)
    assert len(model.members) == 4
    assert model.temperature == found.stats["calibration"]["temperature"]
    assert len(model.card.trained.train) == 6
    assert model.card.trained.val == []
    image = next(iter(load_dataset(data).val)).image
    alone = [load(found.out / f"fold-{fold}" / f"seed-{seed}").predict(image) for fold in (1, 2) for seed in (0, 1)]
    np.testing.assert_allclose(model.predict(image), tempered(np.mean(alone, axis=0), model.temperature), atol=1e-6)


def test_a_temperature_is_kept_only_where_it_helps_images_that_it_was_not_fitted_to():
    def pixels(power, seed):
        rng = np.random.default_rng(seed)
        truth = rng.dirichlet([1, 1], 4000).T
        drawn = (rng.random(4000) > truth[0]).astype(np.uint8)
        return Pixels(np.log(truth**power / (truth**power).sum(0)), drawn)

    folds = {"a": 1, "b": 1, "c": 2, "d": 2}
    same = fitted({stem: pixels(3, seed) for seed, stem in enumerate(folds)}, folds)
    assert same["temperature"] == pytest.approx(3, rel=0.1)
    assert same["log_loss_with_temperature"] < same["log_loss"]
    unlike = fitted({stem: pixels(4 if fold == 1 else 0.25, fold) for stem, fold in folds.items()}, folds)
    assert unlike["temperature"] == 1


def test_an_experiment_that_is_not_finished_is_no_model(tmp_path):
    (tmp_path / "plan.json").write_text("{}", encoding="utf-8")
    (tmp_path / "fold-1/seed-0").mkdir(parents=True)
    (tmp_path / "fold-1/seed-0/best.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="once it is finished, with --resume"):
        rescrnet.load(tmp_path)


@pytest.mark.parametrize(
    ("patch", "batch", "said"),
    [
        (256, 1, "one patch of 256 pixels a step"),
        (256, 2, "2 patches of 256 pixels a step"),
        (None, None, "whole images from all training images a step"),
        (None, 1, "one whole image a step"),
    ],
)
def test_the_methods_say_what_a_step_saw(found, patch, batch, said):
    config = rescrnet.configure("laptop", overrides={"data.patch_size": patch, "training.batch_size": batch})
    assert said in crossval_methods(found.plan, config, "a network")


def test_the_methods_say_what_moved_the_weights_and_what_they_started_from(found):
    ours = crossval_methods(found.plan, rescrnet.configure("standard"), "a network")
    assert "Muon for the weights of convolutions and Adam for the others, at a learning rate of 0.003" in ours
    assert "started from weights of the program" in ours
    older = crossval_methods(found.plan, rescrnet.configure("laptop"), "a network")
    assert "a step, Adam at a learning rate of 0.003 and" in older
    assert "started" not in older
