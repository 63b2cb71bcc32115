"""Several seeds are trained into one folder, which is one model, resumable at any point."""

import json

import numpy as np
import pytest

import rescrnet
from rescrnet import cli
from rescrnet.checking.check import load_dataset
from rescrnet.ensemble import Ensemble, tempered
from rescrnet.errors import DataError, ModelError, OutputError, RescrnetError, UsageError
from rescrnet.scoring.calibration import fit_temperature, labelled_pixels, log_loss
from rescrnet.tensors import digest
from rescrnet.training.progress import ProgressReporter
from rescrnet.training.seeds import read_seeds, resume_seeds, train_seeds
from tests.support.configs import tiny

QUIET = {"progress": ProgressReporter()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from rescrnet.datasets.synthetic import write_dataset

    folder = tmp_path_factory.mktemp("data") / "em"
    write_dataset("em", folder, train=3, val=2, size=(64, 72))
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "five"
    return train_seeds(data, out, tiny(), seeds=[3, 1], **QUIET), out


def test_each_member_is_a_run_of_its_own_seed_and_all_are_one_model(data, trained):
    model, out = trained
    image = next(iter(load_dataset(data).val)).image
    alone = [rescrnet.load(out / f"seed-{seed}").predict(image) for seed in (3, 1)]
    loaded = rescrnet.load(out)
    expected = tempered(np.mean(alone, axis=0), loaded.temperature)
    np.testing.assert_allclose(loaded.predict(image), expected, atol=1e-6)
    np.testing.assert_array_equal(model.predict(image), loaded.predict(image))
    assert not np.array_equal(*alone)


def test_a_member_is_what_train_makes_of_its_seed(data, trained, tmp_path):
    one = rescrnet.train(data, tmp_path / "one", tiny(training__seed=3), **QUIET)
    weights = rescrnet.load(trained[1] / "seed-3").network.state_dict()
    assert all(tensor.equal(weights[name]) for name, tensor in one.network.state_dict().items())


def test_the_temperature_is_fitted_on_the_validation_images_and_kept(data, trained):
    record = json.loads((trained[1] / "members.json").read_text(encoding="utf-8"))
    assert record["members"] == ["seed-3", "seed-1"]
    assert record["fitted_on"] == "2 validation images of em"
    assert record["temperature"] == rescrnet.load(trained[1]).temperature != 1


def digest_of(run):
    model = rescrnet.load(run)
    return digest(model.network.state_dict(), {"card": model.card.model_dump_json()})


class StopError(Exception):
    pass


class Stopping(ProgressReporter):
    def __init__(self, epochs):
        self.left = epochs

    def epoch(self, row, best):
        self.left -= 1
        if self.left < 0:
            raise StopError


@pytest.mark.parametrize("epochs", [0, 1, 4])
def test_killed_and_resumed_equals_uninterrupted(data, trained, tmp_path, epochs):
    out = tmp_path / "out"
    with pytest.raises(StopError):
        train_seeds(data, out, tiny(), seeds=[3, 1], progress=Stopping(epochs))
    with pytest.raises(ModelError, match="resume"):
        rescrnet.load(out)
    resume_seeds(data, out, **QUIET)
    assert (out / "members.json").read_bytes() == (trained[1] / "members.json").read_bytes()
    for name in ("seed-3", "seed-1"):
        assert digest_of(out / name) == digest_of(trained[1] / name)


def test_nothing_is_left_of_what_could_not_begin(data, tmp_path):
    with pytest.raises(RescrnetError):
        train_seeds(data, tmp_path / "out", tiny(data__patch_size=100_000), seeds=2, **QUIET)
    assert list(tmp_path.iterdir()) == []


def test_the_budget_is_shared_in_equal_parts(data, tmp_path):
    with pytest.raises(
        RescrnetError,
        match=r"leaves 1e-05 minutes to each of 2 members, which is over before the first epoch.*for each",
    ):
        train_seeds(data, tmp_path / "out", tiny(training__budget=2e-5), seeds=2, **QUIET)


def test_other_data_are_refused_when_it_is_resumed(data, trained, tmp_path):
    from rescrnet.datasets.synthetic import write_dataset

    write_dataset("em", tmp_path / "other", train=2, val=2, size=(64, 72))
    with pytest.raises(DataError, match=r"are not those that .*seed-3 was trained with"):
        resume_seeds(tmp_path / "other", trained[1], **QUIET)


def test_a_folder_that_holds_such_a_model_is_not_written_over(data, trained):
    with pytest.raises(OutputError, match="--resume continues it"):
        train_seeds(data, trained[1], tiny(), seeds=2, **QUIET)


@pytest.mark.parametrize(("seeds", "match"), [(0, "trains nothing"), ([1, 1], "different seeds"), ([], "different")])
def test_seeds_that_are_none_are_refused(data, tmp_path, seeds, match):
    with pytest.raises(UsageError, match=match):
        train_seeds(data, tmp_path / "out", tiny(), seeds=seeds, **QUIET)


def test_a_member_that_is_gone_is_named(trained, tmp_path):
    import shutil

    shutil.copytree(trained[1], tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/seed-1")
    with pytest.raises(ModelError, match="lacks 1 of its 2 members, seed-1"):
        rescrnet.load(tmp_path / "copy")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"members": []}', '{"members": ["../a"]}', '{"members": ["/a"]}', '{"members": ["a"], "x": 1}']
)
def test_a_list_of_members_that_is_damaged_is_one_line(tmp_path, text):
    (tmp_path / "members.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"members.json: is not valid") as error:
        rescrnet.load(tmp_path)
    assert "\n" not in str(error.value)


def run(*arguments):
    cli.app([str(argument) for argument in arguments], standalone_mode=False)


def test_the_commands_take_the_folder_for_a_model(data, trained, tmp_path, capsys):
    images = data / "val_local/images/img"
    out = trained[1]
    run("predict", out, images, "--out", tmp_path / "masks", "--uncertainty", "--test-time-augmentation")
    assert "the mean of 2 members, 8 views of each image, temperature" in capsys.readouterr().err
    assert len(list((tmp_path / "masks").glob("*_uncertainty.tif"))) == 2
    run("evaluate", out, data, "--out", tmp_path / "scores")
    run("suggest", out, images, "--out", tmp_path / "next")
    run("report", out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "mean of 2 members" in page
    run("info", out)
    assert "ensemble: 2 members" in capsys.readouterr().out


def test_what_takes_one_model_refuses_several_and_names_one(data, trained, tmp_path):
    for arguments in (
        ("export", trained[1], "--format", "onnx", "--out", tmp_path / "model.onnx"),
        ("train", data, "--out", tmp_path / "run", "--from", trained[1]),
    ):
        with pytest.raises(
            ModelError, match=r"holds 2 models, and one is needed here; name a single one, such as .*seed-3"
        ):
            run(*arguments)
    with pytest.raises(ModelError, match="export a single model"):
        rescrnet.export(trained[0], "onnx", tmp_path / "model.onnx")


def test_seeds_are_trained_and_resumed_by_the_command(data, tmp_path, capsys):
    settings = [
        part
        for key, value in {"network.n": 1, "network.filters": 2, "data.patch_size": 24}.items()
        for part in ("--set", f"{key}={value}")
    ]
    run(
        "train",
        data,
        "--out",
        tmp_path / "out",
        *settings,
        "--set",
        "training.steps_per_epoch=1",
        "--epochs",
        1,
        "--seeds",
        2,
    )
    assert "2 members, temperature" in capsys.readouterr().out
    run("train", data, "--out", tmp_path / "out", "--resume")
    assert read_seeds(tmp_path / "out").seeds == [0, 1]
    for wrong in (("--seeds", "x"), ("--seeds", "2", "--seed", "1"), ("--seeds", "2", "--max-time", "1")):
        with pytest.raises(UsageError, match="--seeds"):
            run("train", data, "--out", tmp_path / "more", *wrong)
    with pytest.raises(UsageError, match="--resume"):
        run("train", data, "--out", tmp_path / "out", "--resume", "--epochs", 2)


def test_a_temperature_makes_probabilities_that_are_too_sure_softer():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([1, 1, 1], (60, 70)).transpose(2, 0, 1)
    mask = (rng.random((60, 70)) > truth.cumsum(0)[:, :, :]).sum(0).clip(0, 2).astype(np.uint8)
    sure = truth**3 / (truth**3).sum(0)
    pixels = labelled_pixels(sure.astype(np.float32), mask)
    temperature = fit_temperature([pixels])
    assert temperature == pytest.approx(3, rel=0.1)
    assert log_loss([pixels], [temperature]) < log_loss([pixels], [1.0])
    mask[:, :35] = 255  # unlabelled pixels count nowhere
    assert fit_temperature([labelled_pixels(sure.astype(np.float32), mask)]) == pytest.approx(3, rel=0.15)
    assert fit_temperature([labelled_pixels(sure.astype(np.float32), np.full((60, 70), 255, np.uint8))]) == 1


def test_one_seed_is_an_ensemble_of_one(data, tmp_path):
    model = train_seeds(data, tmp_path / "one", tiny(training__epochs=1), seeds=1, **QUIET)
    assert isinstance(model, Ensemble)
    assert len(model.members) == 1
