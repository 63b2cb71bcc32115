"""Arrays that were saved without axes: what to write is said, and that settles it from training to prediction."""

import sys
import warnings

import numpy as np
import pytest
import tifffile

import rescrnet
from rescrnet import cli
from rescrnet.checking.check import check, load_dataset
from rescrnet.errors import DataError
from rescrnet.images.axes import parse_axes
from rescrnet.images.open import open_image
from rescrnet.inference.folder import predict_files
from rescrnet.inference.options import ReadOptions
from rescrnet.masks.declared import DatasetFile
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny
from tests.support.folders import noise, save, stripes

SHAPE = (32, 48)
CHANNELS = np.stack([noise(SHAPE, seed=seed) for seed in range(3)])
LAYOUTS = {  # how three channels may lie in an array, and the line that says so
    "CYX": lambda channels: channels,
    "YXC": lambda channels: np.moveaxis(channels[:2], 0, -1),
    "NCYX": lambda channels: np.stack([channels[:2], channels[1:]] * 3),
    "NYXC": lambda channels: np.moveaxis(np.stack([channels[:2], channels[1:]] * 3), 1, -1),
}


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        tifffile.imwrite(path, array, photometric="minisblack")


def dataset(folder, axes, suffix):
    for number, stem in enumerate("abcd"):
        array = LAYOUTS[axes](np.roll(CHANNELS, number, axis=1))
        write(folder / f"images/{stem}{suffix}", array)
        mask = stripes(0, 1, 0, shape=SHAPE)
        save(folder / f"masks/{stem}.tif", np.stack([mask] * 6) if axes.startswith("N") else mask)
    return folder


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("axes", LAYOUTS)
def test_the_message_shows_the_line_that_settles_it(tmp_path, axes, suffix):
    data = dataset(tmp_path, axes, suffix)
    (error,) = check(data).errors
    assert error.check.name == "axes-unknown"
    assert len(error.files) == 4
    assert "does not say what its axes are" in error.reason
    assert f"write dataset.yaml with 'axes: {axes}'" in error.remedy
    (data / "dataset.yaml").write_text(f"axes: {axes}\n")
    assert not check(data).errors
    sample = load_dataset(data).train[0]
    expected = np.moveaxis(CHANNELS if axes == "CYX" else CHANNELS[:2], 0, -1) / np.float32(255)
    np.testing.assert_array_equal(sample.image, expected)


def test_a_file_that_names_its_axes_is_read_by_them(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", CHANNELS, imagej=True, metadata={"axes": "ZYX"})
    assert [axis.name for axis in open_image(tmp_path / "a.tif", axes="CYX").axes] == ["z", "y", "x"]
    save(tmp_path / "a.png", noise(SHAPE))
    assert len(open_image(tmp_path / "a.png", axes="CYX").axes) == 2


def test_a_stack_with_a_mask_for_each_page_stays_one(tmp_path):
    write(tmp_path / "images/a.tif", CHANNELS)
    write(tmp_path / "masks/a.tif", np.stack([stripes(0, 1, shape=SHAPE)] * 3))
    assert check(tmp_path).reading.total == 3


def test_axes_are_letters_each_once():
    assert parse_axes(" yxc") == "YXC"
    for wrong in ("XC", "YXX", "ABC", "NPYX"):
        with pytest.raises(ValueError, match=f"'{wrong}' are no axes; expected one letter for each, such as CYX"):
            parse_axes(wrong)


def test_what_is_no_axes_is_one_line_of_dataset_yaml(tmp_path):
    (tmp_path / "dataset.yaml").write_text("axes: ABC")
    with pytest.raises(DataError, match=r"dataset\.yaml: axes: .*'ABC' are no axes; expected .* such as CYX"):
        DatasetFile.beside(tmp_path)


def test_the_model_predicts_and_evaluates_such_files_as_it_was_trained(tmp_path, capsys, monkeypatch):
    data = dataset(tmp_path / "data", "CYX", ".tif")
    (data / "dataset.yaml").write_text("axes: CYX\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = rescrnet.train(data, tmp_path / "run", tiny(), progress=ProgressReporter())
        assert model.card.axes == "CYX"
        (mask,) = predict_files(model, data / "images/a.tif", tmp_path / "out")
        assert open_image(mask).size == SHAPE
        (data / "dataset.yaml").unlink()
        assert len(rescrnet.evaluate(model, data, tmp_path / "scores", "all").images) == 4
        model.card = model.card.model_copy(update={"axes": ""})
        with pytest.raises(
            DataError, match="has 1 channel, expected 3; if 3 of 3×32×48 are the channels, say --axes CYX"
        ):
            predict_files(model, data / "images/a.tif", tmp_path / "none")
        read = ReadOptions(axes="CYX")
        assert len(predict_files(model, data / "images", tmp_path / "said", read=read)) == 4
    monkeypatch.setattr(
        sys, "argv", ["rescrnet", "predict", str(tmp_path / "run"), "x.tif", "--out", "o", "--axes", "Q"]
    )
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "--axes Q: 'Q' are no axes" in capsys.readouterr().err
