"""A batch of images of which some cannot be predicted."""

import csv
import shutil
import sys

import numpy as np
import pytest
import tifffile

from rescrnet import cli
from rescrnet.errors import DataError, OutputError
from rescrnet.images.whole import read_image
from rescrnet.inference.folder import FAILED, predict_files
from rescrnet.inference.journal import MANIFEST
from rescrnet.inference.options import ReadOptions, WriteOptions
from tests.support.folders import noise, save

pytestmark = pytest.mark.filterwarnings("ignore:.*lie far from those of the training")


@pytest.fixture
def images(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name, noise((20, 31)))
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:300])
    return tmp_path / "in"


@pytest.fixture
def predict(model, images, tmp_path):
    def call(*, inputs=None, write=None, read=None, model=model, out="out"):
        failures = {}
        masks = predict_files(
            model, inputs or [images], tmp_path / out, write, read=read, failed=lambda n, e: failures.update({n: e})
        )
        return [mask.relative_to(tmp_path / out).as_posix() for mask in masks], failures

    return call


def shown(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def failures_in(folder):
    with (folder / FAILED).open(encoding="utf-8", newline="") as file:
        return [(row["image"], row["reason"]) for row in csv.DictReader(file)]


def test_all_that_can_be_predicted_is_and_the_rest_is_listed(predict, images, tmp_path):
    masks, failures = predict()
    assert masks == ["a.png", "c.png"]
    assert list(failures) == [str(images / "b.png")]
    ((image, reason),) = failures_in(tmp_path / "out")
    assert image == str(images / "b.png")
    assert reason.startswith("cannot be read as an image, is it damaged or cut short?")
    assert shown(tmp_path / "out") == ["a.png", "c.png", "classes.json", FAILED, MANIFEST]


def test_python_is_warned_of_what_is_left_out(model, images, tmp_path):
    with pytest.warns(UserWarning, match=r"b\.png: cannot be read .*; it is left out"):
        predict_files(model, [images], tmp_path / "out")


def test_the_same_call_after_mending_does_what_is_missing_alone(predict, images, tmp_path):
    predict()
    before = (tmp_path / "out/a.png").stat().st_mtime_ns
    assert predict()[0] == ["a.png", "c.png"]
    shutil.copy(images / "a.png", images / "b.png")
    assert predict() == (["a.png", "b.png", "c.png"], {})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png", "classes.json"]
    assert (tmp_path / "out/a.png").stat().st_mtime_ns == before
    assert (tmp_path / "out/b.png").read_bytes() == (tmp_path / "out/a.png").read_bytes()
    with pytest.raises(OutputError, match="already holds files"):
        predict()


def test_without_the_bad_image_the_same_call_completes_the_folder(predict, images, tmp_path):
    predict()
    (images / "b.png").unlink()
    predict()
    assert shown(tmp_path / "out") == ["a.png", "c.png", "classes.json"]


def test_an_image_that_changed_meanwhile_is_predicted_again(predict, model, images, tmp_path):
    predict()
    save(images / "a.png", noise((20, 31), seed=3))
    shutil.copy(images / "c.png", images / "b.png")
    predict()
    found = np.asarray(read_image(tmp_path / "out/a.png") * 255).round()[..., 0]
    np.testing.assert_array_equal(found, model.predict(read_image(images / "a.png")).argmax(0))


def test_a_stop_while_the_rest_is_done_leaves_the_results(predict, images, tmp_path, monkeypatch):
    predict()
    shutil.copy(images / "a.png", images / "b.png")

    def stop(*arguments, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rescrnet.inference.file.predict_plane", stop)
        with pytest.raises(KeyboardInterrupt):
            predict()
    assert shown(tmp_path / "out") == ["a.png", "c.png", "classes.json", FAILED, MANIFEST]
    assert predict()[1] == {}


def test_another_model_or_other_options_are_refused_and_nothing_is_touched(predict, tmp_path):
    predict()
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(OutputError, match="holds results of another model, or of other options; choose a new folder"):
        predict(write=WriteOptions(probabilities=True))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_mask_that_somebody_made_for_a_bad_image_is_not_overwritten(predict, images, tmp_path):
    predict()
    mine = save(tmp_path / "out/b.png", noise((20, 31))).read_bytes()
    shutil.copy(images / "a.png", images / "b.png")
    masks, failures = predict()
    assert masks == ["a.png", "c.png"]
    assert "b.png: exists already" in str(failures[str(images / "b.png")])
    assert (tmp_path / "out/b.png").read_bytes() == mine


def test_where_no_image_can_be_predicted_there_is_no_folder(predict, images, tmp_path):
    for name in ("a.png", "c.png"):
        (images / name).write_text("no image")
    with pytest.raises(DataError, match=r"a\.png: .* \(2 other images cannot be predicted either\)"):
        predict()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_all_headers_are_looked_at_before_anything_is_computed(model, images, tmp_path, monkeypatch):
    (images / "zz.png").write_text("no image")
    told = []

    def compute(*arguments, **settings):
        told.append("computed")
        raise KeyboardInterrupt

    monkeypatch.setattr("rescrnet.inference.file.predict_plane", compute)
    with pytest.raises(KeyboardInterrupt):
        predict_files(model, [images], tmp_path / "out", failed=lambda name, error: told.append(name))
    assert told == [str(images / "zz.png"), "computed"]


def test_an_interrupted_batch_goes_on_with_other_images_and_forgets_those_that_are_gone(
    predict, images, tmp_path, monkeypatch
):
    save(images / "b.png", noise((20, 31)))
    done = []

    def stop_at_the_third(*arguments, **settings):
        done.append(settings["name"])
        if len(done) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    from rescrnet.inference.plane import predict_plane as real

    monkeypatch.setattr("rescrnet.inference.file.predict_plane", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        predict()
    (images / "a.png").unlink()
    predict()
    assert len(done) == 4
    assert shown(tmp_path / "out") == ["b.png", "c.png", "classes.json"]


@pytest.mark.parametrize("shape", [(20, 31), (1, 1)])
def test_an_empty_field_is_predicted_with_a_warning(model, tmp_path, shape):
    save(tmp_path / "in/blank.png", np.zeros(shape, np.uint8))
    with pytest.warns(UserWarning, match=r"blank\.png: every pixel has the same value, 0; it is predicted") as warned:
        predict_files(model, [tmp_path / "in"], tmp_path / "out")
    assert len(warned) == 1
    assert read_image(tmp_path / "out/blank.png").shape[:2] == shape


def test_two_images_of_one_name_in_a_folder_are_never_one_result(predict, images, tmp_path):
    tifffile.imwrite(images / "a.tif", noise((20, 31)))
    masks, failures = predict()
    assert masks == ["a.png", "c.png"]
    assert "its result would have the name of that of" in str(failures[str(images / "a.tif")])


def test_an_overlay_that_would_overwrite_a_mask_is_refused(predict, images):
    shutil.copy(images / "a.png", images / "a_overlay.png")
    masks, failures = predict(write=WriteOptions(overlay=True))
    assert masks == ["a.png", "c.png"]
    assert "a_overlay.png" in str(failures[str(images / "a_overlay.png")])


def test_results_of_sub_folders_lie_in_folders_of_the_same_names(predict, tmp_path):
    for name in ("wt/1.png", "ko/1.png"):
        save(tmp_path / "tree" / name, noise((20, 31)))
    masks, _ = predict(inputs=[tmp_path / "tree"], write=WriteOptions(probabilities=True, overlay=True))
    assert masks == ["ko/1.png", "wt/1.png"]
    made = [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")]
    expected = [f"{group}/1{end}" for group in ("ko", "wt") for end in (".png", "_overlay.png", "_probabilities.tif")]
    assert sorted(made) == sorted([*expected, "classes.json"])


def test_channels_in_files_have_no_levels_but_the_first(predict, two_channels, tmp_path):
    for name in ("x_c1.png", "x_c2.png"):
        save(tmp_path / "channels" / name, noise((20, 31)))
    assert predict(inputs=[tmp_path / "channels"], model=two_channels)[0] == ["x.png"]
    with pytest.raises(DataError, match="has one level, 0; there is no level 1"):
        predict(inputs=[tmp_path / "channels"], model=two_channels, read=ReadOptions(level=1), out="other")


@pytest.fixture
def two_channels():
    from tests.support.pictures import model_of

    return model_of(channels=2)


def test_the_command_says_how_many_failed_and_ends_with_1(run, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [*map(str, ["rescrnet", "predict", run, images, "--out", tmp_path / "out"])])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    said = capsys.readouterr()
    assert said.out == f"2 masks in {tmp_path / 'out'}\n"
    assert "b.png: cannot be read as an image" in said.err
    assert said.err.splitlines()[-1].startswith("rescrnet: 1 of 3 images could not be predicted, ")
