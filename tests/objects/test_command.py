"""``predict --objects``, the settings that a model keeps, and the objects in scores and report."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

import rescrnet
from rescrnet import cli
from rescrnet.checking.check import load_dataset
from rescrnet.datasets.dataset import Sample
from rescrnet.model import SegmentationModel
from rescrnet.object_settings import ObjectSettings
from rescrnet.objects.fit import fit_settings, objects_in, true_objects
from rescrnet.objects.folder import write_objects
from rescrnet.objects.match import ObjectCounts
from rescrnet.objects.subjects import find_subjects
from rescrnet.reporting.objects import Compared, object_sections
from rescrnet.scoring.evaluate import compare_objects
from tests.support.blobs import probabilities
from tests.support.folders import save
from tests.support.pictures import model_of


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["rescrnet", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


@pytest.fixture
def images(dataset, tmp_path):
    return shutil.copytree(dataset / "val_local/images/img", tmp_path / "images")


def test_predict_finds_objects_as_the_command_does_afterwards(run, images, tmp_path, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "predict", run, images, "--out", tmp_path / "out", "--objects")
    assert code == 0, err
    legend = json.loads((tmp_path / "out/classes.json").read_text())
    assert [entry["name"] for entry in legend if "objects" in entry] == ["nucleus", "mitochondrion"]
    assert "nucleus: " in out
    again = ("objects", tmp_path / "out", "--out", tmp_path / "again", "--images", images)
    code, _, err = call(monkeypatch, capsys, *again)
    assert code == 0, err
    names = sorted(path.name for path in (tmp_path / "out/objects").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert "02_nucleus_labels.ome.tif" in names
    for name in names:
        assert (tmp_path / "out/objects" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_objects_of_images_that_were_mended_are_added(run, images, tmp_path, monkeypatch, capsys):
    command = ("predict", run, images, "--out", tmp_path / "out", "--objects", "--object-class", "nucleus")
    good = (images / "03.png").read_bytes()
    (images / "03.png").write_bytes(good[:100])
    code, _, err = call(monkeypatch, capsys, *command)
    assert code == 1
    assert "03.png" in err
    names = {path.name for path in (tmp_path / "out/objects").iterdir()}
    assert names == {"02_nucleus_labels.ome.tif", "objects.csv", "summary.csv", "objects.json"}
    (images / "03.png").write_bytes(good)
    code, _, err = call(monkeypatch, capsys, *command)
    assert code == 0, err
    with (tmp_path / "out/objects/summary.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["02", "03"]
    assert not list((tmp_path / "out").glob(".*"))


def test_objects_and_an_unknown_class_or_a_label_do_not_go_together(run, images, tmp_path, monkeypatch, capsys):
    command = ("predict", run, images, "--out", tmp_path / "out", "--objects")
    code, _, err = call(monkeypatch, capsys, *command, "--object-class", "cell")
    assert (code, err.count("\n")) == (2, 1)
    assert "--object-class cell: is unknown; expected cytoplasm, nucleus, mitochondrion" in err
    code, _, err = call(monkeypatch, capsys, *command, "--label", "tissue")
    assert (code, err.count("\n")) == (2, 1)


def test_training_keeps_how_objects_are_told_apart(run, model, monkeypatch, capsys):
    assert list(model.card.objects) == ["nucleus", "mitochondrion"]
    _, out, _ = call(monkeypatch, capsys, "info", run)
    assert "objects of nucleus: parts" in out


class Foreseen(SegmentationModel):
    """A model that predicts what it is told to."""

    def predict_normalised(self, image, seen=None):
        return self.answers[image.tobytes()]


def foreseen(*answers):
    model = model_of()
    card = model.card
    entries = [entry.model_copy(update={"name": name}) for entry, name in zip(card.classes, "abc", strict=True)]
    names = ("cell", "boundary", "background")
    entries = [entry.model_copy(update={"name": name}) for entry, name in zip(entries, names, strict=True)]
    card = card.model_copy(update={"masks": card.masks.model_copy(update={"classes": entries}), "objects": {}})
    told = Foreseen(model.network, card)
    samples = []
    told.answers = {}
    for number, (mask, predicted) in enumerate(answers):
        image = np.full((*mask.shape, card.in_channels), number / 7, np.float32)
        told.answers[image.tobytes()] = predicted
        samples.append(Sample(str(number), image, mask))
    return told, samples


def spoiled(seed):
    """A true mask, and a prediction of it in which faint bridges join objects and specks are strewn."""
    truth = probabilities(70, 80, seed=seed)
    mask = truth.argmax(0).astype(np.uint8)
    predicted = np.stack([mask == index for index in range(3)]).astype(np.float32) * 0.8 + 0.1
    random = np.random.default_rng(seed)
    doubtful = (mask == 1) & (random.random(mask.shape) < 0.5)
    predicted[:, doubtful] = np.array([0.55, 0.4, 0.05])[:, None]
    specks = (mask == 2) & (random.random(mask.shape) < 0.02)
    predicted[:, specks] = np.array([0.8, 0.1, 0.1])[:, None]
    return mask, predicted


def test_settings_that_are_fitted_score_better_than_the_plain_ones():
    model, samples = foreseen(*(spoiled(seed) for seed in range(3)))
    fitted = fit_settings(model, samples)
    assert list(fitted) == ["cell"]
    assert fitted["cell"].seed_threshold > 0

    def score(settings):
        told = Foreseen(model.network, model.card.model_copy(update={"objects": settings}))
        told.answers = model.answers
        counts = ObjectCounts.none()
        for sample in samples:
            true, found = compare_objects(told, sample, told.predict_normalised(sample.image))["cell"]
            counts = counts + ObjectCounts.of(true, found)
        return counts.mean_average_precision

    assert score(fitted) > score({}) + 0.1


def test_the_objects_of_a_mask_are_those_that_were_numbered():
    """What is made of numbered objects gives them back."""
    from rescrnet.masks.instances import instances_to_classes

    rows, columns = np.indices((60, 90))
    numbers = np.zeros((60, 90), int)
    for number, (y, x) in enumerate([(15, 15), (15, 34), (34, 24), (40, 70), (40, 58)], start=1):
        numbers[((rows - y) ** 2 + (columns - x) ** 2 <= 100) & (numbers == 0)] = number
    settings = ObjectSettings(boundary="boundary", with_boundary=True, split="watershed")
    for width in (1, 2, 4):
        found = objects_in(instances_to_classes(numbers, width), 1, 2, settings)
        counts = ObjectCounts.of(numbers, found)
        assert counts.at(0.9)["f1"] == 1


@pytest.fixture
def numbered(tmp_path):
    """Images of 12 bits whose masks number objects, of which two are so small that classes cannot part them."""
    rows, columns = np.indices((48, 64))
    numbers = np.zeros((48, 64), np.uint16)
    for number, (y, x) in enumerate([(14, 14), (14, 33), (34, 50)], start=1):
        numbers[((rows - y) ** 2 + (columns - x) ** 2 <= 100) & (numbers == 0)] = 7 * number
    numbers[40, 5], numbers[40, 6], numbers[41, 5:7] = 60, 61, 62
    for part in ("train", "val"):
        for stem in "ab":
            noise = np.random.default_rng([ord(stem), len(part)]).integers(0, 9, numbers.shape)
            image = (numbers * 40 + noise).astype(np.uint16)
            save(tmp_path / f"d/{part}_local/images/img/{part}{stem}.tif", image)
            save(tmp_path / f"d/{part}_local/masks/msk/{part}{stem}.tif", numbers)
    (tmp_path / "d/dataset.yaml").write_text("instance_boundary: 1\n")
    return tmp_path / "d", numbers


def test_true_objects_are_those_that_masks_number_though_they_touch(numbered):
    folder, numbers = numbered
    (sample, *_) = load_dataset(folder).val
    settings = ObjectSettings(boundary="boundary", with_boundary=True, split="watershed")
    assert objects_in(sample.mask, 1, 2, settings).max() < 6
    true = true_objects(sample, 1, 2, settings)
    assert true.max() == 6
    assert ObjectCounts.of(numbers, true).at(0.9)["f1"] == 1
    without = settings.model_copy(update={"with_boundary": False})
    assert not true_objects(sample, 1, 2, without)[sample.mask == 2].any()


@pytest.mark.parametrize(("width", "code", "says"), [("2", 0, ""), ("0.5um", 0, ""), ("wide", 2, "--instances")])
def test_check_takes_the_width_of_the_boundary_in_pixels_or_micrometres(
    monkeypatch, capsys, numbered, width, code, says
):
    folder, _ = numbered
    (folder / "dataset.yaml").write_text("pixel_size: [0.25, 0.25]\n")
    monkeypatch.setattr(sys, "argv", ["rescrnet", "check", str(folder), "--instances", width, "--no-estimate"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == code
    said = capsys.readouterr()
    assert says in said.err
    assert code or "boundary" in said.out


def test_objects_of_a_dataset_are_those_that_it_numbers_with_the_intensities_of_its_files(numbered, tmp_path):
    folder, _ = numbered
    (table, *_) = write_objects(find_subjects([folder], None), tmp_path / "out")
    assert len(table) == 6
    with (tmp_path / "out/objects.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    (mean,) = (float(value) for name, value in first.items() if "mean" in name and "intensity" in name)
    assert mean == pytest.approx(7 * 40 + 4, abs=1)


def test_evaluation_writes_the_scores_of_objects(model, dataset, tmp_path):
    evaluation = rescrnet.evaluate(model, dataset, tmp_path / "scores")
    content = json.loads((tmp_path / "scores/scores.json").read_text())["objects"]
    assert set(content) == {"nucleus", "mitochondrion"}
    assert content["nucleus"]["at_iou"]["0.5"] == evaluation.object_counts["nucleus"].at(0.5)
    with (tmp_path / "scores/objects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 + 1) * 5
    totals = [row for row in rows if row["image"] == "all images" and row["iou_threshold"] == "0.5"]
    assert int(totals[0]["true_objects"]) == evaluation.object_counts["nucleus"].true > 0


def test_the_report_shows_scores_sizes_outlines_and_what_differs():
    mask, predicted = spoiled(0)
    model, (sample,) = foreseen((mask, predicted))
    true, found = compare_objects(model, sample, predicted)["cell"]
    counts = ObjectCounts.of(true, found)
    (section,) = object_sections({"cell": [Compared(sample, true, found)]}, {"cell": counts})
    assert section.images[0][1][:2] == [str(counts.true), str(counts.predicted)]
    assert "Histogram of areas" in section.figures[0]
    assert "matched pair" in section.figures[1]
    assert len(section.rows) + section.more == counts.predicted
    assert 0 < len(section.different) <= 8
    assert all(one.uri.startswith("data:image/") for one in (*section.different, section.outlines[0]))


def test_a_page_has_a_section_of_objects(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    page = rescrnet.report(copy).read_text(encoding="utf-8")
    assert '<section id="objects">' in page
    assert "Objects of" in page


def test_labels_are_those_of_the_image(run, images, tmp_path, monkeypatch, capsys):
    command = ("predict", run, images / "02.png", "--out", tmp_path / "out", "--object-class", "nucleus")
    code, _, err = call(monkeypatch, capsys, *command)
    assert code == 0, err
    labels = tifffile.imread(tmp_path / "out/objects/02_nucleus_labels.ome.tif")
    assert labels.shape == np.asarray(Image.open(images / "02.png")).shape[:2]
