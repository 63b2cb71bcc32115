"""Models, runs, configurations and datasets of earlier versions are read, used and continued."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors import safe_open

import rescrnet
from rescrnet.checking.check import load_dataset
from rescrnet.config import UNetConfig
from rescrnet.model import ImportedFrom, ModelCard
from rescrnet.training.folder import RunFolder
from rescrnet.training.progress import ProgressReporter
from rescrnet.validation import Folder, Names

STORED = Path(__file__).parent / "stored"
MODELS = ("format-1", "format-2", "format-2-imported")


@pytest.fixture
def run(tmp_path):
    return shutil.copytree(STORED / "run", tmp_path / "run")


@pytest.mark.parametrize("name", MODELS)
def test_a_stored_model_predicts_what_it_did(name):
    model = rescrnet.load(STORED / f"{name}.safetensors")
    image = np.asarray(Image.open(STORED / "cells/val_local/images/img/02.png"))
    np.testing.assert_allclose(
        model.predict(image)[:, ::4, ::4], np.load(STORED / "probabilities.npy"), rtol=0, atol=1e-5
    )
    assert model.classes == ["cytoplasm", "nucleus", "mitochondrion"]
    assert model.colours == ["#4c8c4a", "#c0392b", "#2e6fb7"]


@pytest.mark.parametrize("name", MODELS)
def test_a_stored_model_is_written_anew_and_read_back_as_itself(name, tmp_path):
    model = rescrnet.load(STORED / f"{name}.safetensors")
    model.save(tmp_path / "new.safetensors")
    assert rescrnet.load(tmp_path / "new.safetensors").card == model.card


def test_a_stored_card_of_a_u_net_has_the_keys_of_a_u_net():
    with safe_open(STORED / "format-2.safetensors", framework="np") as file:
        card = json.loads(file.metadata()["rescrnet"])
    card["network"] = yaml.safe_load((STORED / "unet.yaml").read_text())["network"]
    assert ModelCard(**card).network == UNetConfig(architecture="unet", dropout=0.05)


def test_a_stored_model_says_where_it_comes_from():
    trained = rescrnet.load(STORED / "format-1.safetensors").card.trained
    assert (trained.dataset, trained.train, trained.val, trained.epoch) == ("cells", ["00", "01"], ["02", "03"], 1)
    assert trained.config.training.ema_decay == 0.9
    imported = rescrnet.load(STORED / "format-2-imported.safetensors").card
    assert imported.provenance == ImportedFrom(imported_from="theirs.h5")
    assert imported.trained is None


def test_a_stored_model_is_scored_with_the_unlabelled_pixels_of_its_training(tmp_path):
    data = shutil.copytree(STORED / "cells", tmp_path / "cells")
    (data / "dataset.yaml").unlink()
    counts = rescrnet.evaluate(rescrnet.load(STORED / "format-2.safetensors"), data).counts
    assert counts.confusion.sum() == 2 * (64 - 10) * 68


def test_a_stored_run_is_continued_as_if_it_had_never_stopped(run):
    rescrnet.resume(STORED / "cells", run, epochs=3, progress=ProgressReporter())
    continued, whole = (
        np.genfromtxt(file, delimiter=",", skip_header=1) for file in (run / "history.csv", STORED / "continued.csv")
    )
    np.testing.assert_allclose(continued[:, :-1], whole[:, :-1], rtol=1e-3)  # without the seconds


def test_the_record_of_a_stored_run_is_written_anew_and_read_back_as_itself(run):
    folder = RunFolder(run)
    record = folder.read_record()
    assert (record.status, record.epochs, record.dataset.folder) == ("finished", 2, "/data/cells")
    folder.write_record(record)
    assert folder.read_record() == record


@pytest.mark.parametrize(
    ("old", "new"), [("03", Names(names=["03"])), ("/data/held-out", Folder(folder="/data/held-out"))]
)
def test_what_validated_a_stored_run_was_text(run, old, new):
    file = run / "run.json"
    file.write_text(file.read_text().replace('"val_argument": null', f'"val_argument": "{old}"'))
    assert RunFolder(run).read_record().dataset.validation == new


def test_a_stored_run_is_reported(run):
    page = rescrnet.report(run, STORED / "cells").read_text(encoding="utf-8")
    assert "2 labelled images of cells to tell apart cytoplasm, nucleus and mitochondrion" in page
    assert "unlabelled" in page


def test_a_stored_configuration_means_what_it_did(run):
    config = rescrnet.configure(file=STORED / "config.yaml")
    assert config == RunFolder(run).read_config()
    settings = config.training
    assert (config.network.architecture, config.network.n, config.network.filters) == ("res-cr-net", 1, 2)
    assert (config.data.masks.ignore, config.data.masks.instance_boundary) == (77, None)
    assert (settings.ema_decay, settings.bn_recalibration_batches, settings.shared_initialization) == (0.9, 2, True)


def test_a_stored_configuration_of_a_u_net_is_that_of_a_u_net():
    config = rescrnet.configure(file=STORED / "unet.yaml")
    assert config.network == UNetConfig(architecture="unet", dropout=0.05)


def test_a_stored_dataset_of_numbered_objects_means_what_it_did():
    dataset = load_dataset(STORED / "numbered")
    assert [(entry.name, entry.color) for entry in dataset.classes] == [
        ("background", "#112233"),
        ("interior", "#445566"),
        ("boundary", "#778899"),
    ]
    assert [int((dataset.train[0].mask == index).sum()) for index in (0, 1, 2, 255)] == [170, 48, 72, 30]
