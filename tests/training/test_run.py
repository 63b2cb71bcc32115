"""What a run does and leaves behind."""

import json
import shutil

import numpy as np
import pytest
import torch

import rescrnet
from rescrnet.checking.check import load_dataset
from rescrnet.errors import OutputError, RescrnetError, UsageError
from rescrnet.model import SegmentationModel
from rescrnet.nn.network import ResCRNet
from rescrnet.training.batches import BatchSampler, TrainingTensors
from rescrnet.training.folder import RunFolder
from rescrnet.training.progress import ProgressReporter
from rescrnet.training.recalibrate import recalibrate
from rescrnet.training.train import card_for
from tests.support.configs import tiny

# Made up images are far from those of training, as is warned of; test_model.py has the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*lie far from those of the training")


def test_the_run_folder_is_enough_to_repeat_the_run(cells, tmp_path):
    rescrnet.train(cells, tmp_path / "run", tiny())
    again = rescrnet.configure("custom", tmp_path / "run" / "config.yaml")
    assert again == tiny()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["epochs"] == 3
    assert facts["dataset"]["train"] == ["00", "01", "02"]
    assert facts["environment"]["torch"].startswith(torch.__version__.split("+")[0])
    rows = RunFolder(tmp_path / "run").read_history()
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def test_the_best_model_is_that_of_the_epoch_with_the_lowest_validation_loss(cells, tmp_path):
    model = rescrnet.train(cells, tmp_path / "run", tiny(training__learning_rate=0.05, training__epochs=4))
    rows = RunFolder(tmp_path / "run").read_history()
    best = min(rows, key=lambda row: row["val_loss"])
    assert model.card.trained.epoch == best["epoch"]
    assert model.card.trained.val_tanimoto == best["val_tanimoto"]


def test_the_validation_tanimoto_is_that_of_the_saved_model(cells, tmp_path):
    model = rescrnet.train(cells, tmp_path / "run", tiny(training__epochs=2))
    scores = rescrnet.evaluate(model, cells).to_dict()
    assert scores["pooled"]["tanimoto"] == pytest.approx(model.card.trained.val_tanimoto, abs=1e-6)


def test_training_lowers_the_loss(cells, tmp_path):
    rescrnet.train(cells, tmp_path / "run", tiny(training__epochs=8, training__steps_per_epoch=6))
    rows = RunFolder(tmp_path / "run").read_history()
    assert rows[-1]["val_loss"] < 0.9 * rows[0]["val_loss"]


def test_patience_stops_a_run_that_no_longer_improves(cells, tmp_path):
    config = tiny(training__patience=2, training__epochs=50, training__learning_rate=1e-9, training__ema_decay=0.0)
    rescrnet.train(cells, tmp_path / "run", config)
    rows = RunFolder(tmp_path / "run").read_history()
    best = min(rows, key=lambda row: row["val_loss"])
    assert len(rows) == best["epoch"] + 2 < 50


def test_max_time_ends_at_an_epoch_and_leaves_a_run_to_resume(cells, tmp_path):
    rescrnet.train(cells, tmp_path / "run", tiny(training__epochs=50), max_minutes=1e-6)
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 2
    rescrnet.resume(cells, tmp_path / "run", epochs=2, progress=ProgressReporter())
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 3


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(cells, tmp_path):
    rescrnet.train(cells, tmp_path / "run", tiny(training__epochs=1))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(OutputError, match="already holds files"):
        rescrnet.train(cells, tmp_path / "run", tiny())
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_loss_that_is_no_number_is_an_error_with_its_remedy(cells, tmp_path):
    with pytest.raises(RescrnetError, match=r"lower training\.learning_rate"):
        rescrnet.train(cells, tmp_path / "run", tiny(training__learning_rate=1e30, training__epochs=5))


def test_whole_images_of_different_sizes_train_together_without_patches(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, size in (("a", (20, 31)), ("b", (33, 18)), ("c", (25, 25))):
        mask = np.zeros(size, np.uint8)
        mask[5:12, 6:15] = 255
        for kind, array in (("images", (mask * 0.5 + rng.random(size) * 90).astype(np.uint8)), ("masks", mask)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "data" / kind / f"{name}.png")
    config = tiny(data__patch_size=None, training__batch_size=None, training__epochs=1)
    model = rescrnet.train(tmp_path / "data", tmp_path / "run", config, val="b")
    assert model.predict(np.zeros((7, 5), np.uint8)).shape == (2, 7, 5)


def test_resize_trains_at_the_given_size_and_predicts_at_that_of_the_image(cells, tmp_path):
    config = tiny(data__resize=[32, 40], data__patch_size=None, training__epochs=1)
    model = rescrnet.train(cells, tmp_path / "run", config)
    probabilities = model.predict(np.arange(51 * 62, dtype=np.uint16).reshape(51, 62))
    assert probabilities.shape == (3, 51, 62)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)


def test_recalibration_changes_the_running_statistics_alone_and_to_those_of_the_batches():
    torch.manual_seed(0)
    network = ResCRNet(1, 2, n=1, filters=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(4, 1, 20, 20)
    recalibrate(network, [x[:2], x[2:]])
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)
    norm = network.blocks[0].shortcut[1]
    shortcut = network.blocks[0].shortcut[0](x)
    torch.testing.assert_close(norm.running_mean, shortcut.detach().mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert norm.momentum == 0.01


def test_every_image_is_seen_equally_often(cells):
    dataset = load_dataset(cells)
    config = tiny()
    prepared = TrainingTensors.of(dataset.train, SegmentationModel.untrained(card_for(dataset, config)))
    marked = [torch.full_like(image, float(i)) for i, image in enumerate(prepared.images)]
    quiet = config.model_copy(
        update={
            "augmentation": config.augmentation.model_copy(update={"brightness": 0.0, "contrast": 0.0, "gamma": 0.0})
        }
    )
    batches = BatchSampler(TrainingTensors(marked, prepared.masks), quiet)
    seen = [round(float(x.mean())) for step in range(3) for x in batches.training(1, step)[0]]
    assert sorted(seen) == [0, 0, 1, 1, 2, 2]


def test_two_processes_share_the_very_windows_of_one(cells):
    dataset = load_dataset(cells)
    config = tiny()
    prepared = TrainingTensors.of(dataset.train, SegmentationModel.untrained(card_for(dataset, config)))
    whole, _ = BatchSampler(prepared, config).training(2, 1)
    shares = [BatchSampler(prepared, config, rank, 2).training(2, 1)[0] for rank in range(2)]
    assert torch.equal(torch.cat(shares), whole)


def test_classes_in_the_configuration_go_before_those_of_the_dataset(cells, tmp_path):
    classes = [{"name": name, "value": value} for name, value in (("rest", 0), ("blob", 128), ("dot", 255))]
    model = rescrnet.train(cells, tmp_path / "run", tiny(data__masks__classes=classes, training__epochs=1))
    assert model.classes == ["rest", "blob", "dot"]
    assert rescrnet.resume(cells, tmp_path / "run", epochs=2, progress=ProgressReporter()).classes == model.classes


@pytest.mark.parametrize(
    "hardware", [{"devices": 0}, {"precision": "float8"}, {"device": "tpu"}, {"device": "cpu", "precision": "float16"}]
)
def test_hardware_that_is_not_there_is_refused(hardware, cells, tmp_path):
    with pytest.raises(UsageError, match=r"--device|--precision"):
        rescrnet.train(cells, tmp_path / "run", tiny(), hardware=rescrnet.Hardware(**hardware))
    assert not (tmp_path / "run").exists()


def test_bfloat16_trains(cells, tmp_path):
    model = rescrnet.train(
        cells, tmp_path / "run", tiny(training__epochs=1), hardware=rescrnet.Hardware(precision="bfloat16")
    )
    assert np.isfinite(model.card.trained.val_loss)


@pytest.mark.parametrize("name", ["dense", "very-dense", "unet", "res-unet"])
def test_every_network_trains_predicts_and_scores_alike(name, cells, tmp_path):
    config = tiny(network__architecture=name, data__patch_size=32, training__epochs=1)
    model = rescrnet.train(cells, tmp_path / "run", config)
    assert rescrnet.load(tmp_path / "run").card.network.architecture == name
    assert model.predict(np.zeros((19, 33), np.uint8)).shape == (3, 19, 33)
    assert 0 < rescrnet.evaluate(model, cells).to_dict()["pooled"]["tanimoto"] < 1


@pytest.mark.parametrize("loss", ["tani_loss", "weighted_bce_tani_loss", "weighted_cce_loss"])
@pytest.mark.parametrize("weight_mode", ["contour", "volume", "both"])
def test_every_loss_and_weight_mode_is_selectable(loss, weight_mode, cells, tmp_path):
    config = tiny(training__loss=loss, training__weight_mode=weight_mode, training__epochs=1)
    model = rescrnet.train(cells, tmp_path / "run", config)
    assert np.isfinite(model.card.trained.val_loss)


def test_a_run_validated_on_another_folder_is_resumed_and_reported(cells, tmp_path, monkeypatch):
    for ours, theirs in (("train_local", "labelled"), ("val_local", "held-out")):
        for kind, inner in (("images", "img"), ("masks", "msk")):
            shutil.copytree(cells / ours / kind / inner, tmp_path / theirs / kind)
    monkeypatch.chdir(tmp_path)
    rescrnet.train("labelled", "run", tiny(training__epochs=1), val="held-out")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    model = rescrnet.resume("../labelled", "../run", epochs=2, progress=ProgressReporter())
    assert list(rescrnet.evaluate(model, "../held-out").images) == model.card.trained.val == ["03", "04"]
    assert rescrnet.report("../run").is_file()
