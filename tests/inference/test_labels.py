"""Masks put into OME-Zarr images themselves."""

import sys

import numpy as np
import pytest
import zarr

from rescrnet import cli
from rescrnet.errors import OutputError, UsageError
from rescrnet.images.open import open_image
from rescrnet.inference.folder import predict_files
from rescrnet.inference.journal import Journal
from rescrnet.inference.options import WriteOptions
from rescrnet.outputs.sinks import Sink
from tests.support.folders import noise, save
from tests.support.ome_zarr import write_image

pytestmark = pytest.mark.filterwarnings("ignore::rescrnet.errors.RescrnetWarning")
TISSUE = WriteOptions(label="tissue")


@pytest.fixture(params=[2, 3], ids=["0.4", "0.5"])
def image(request, tmp_path):
    return write_image(tmp_path / "slide.zarr", request.param, array=noise((2, 40, 50)), axes="zyx")


def test_masks_are_the_labels_of_the_image_and_those_that_a_file_of_its_own_holds(model, image, tmp_path):
    assert predict_files(model, [image], tmp_path / "out", TISSUE) == [image / "labels/tissue"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["classes.json"]
    predict_files(model, [image], tmp_path / "own")
    folders = (image / "labels/tissue", tmp_path / "own/slide.ome.zarr")
    found, expected = (zarr.open_array(folder / "0", mode="r")[:] for folder in folders)
    np.testing.assert_array_equal(found, expected)
    assert len(open_image(image)) == 2  # the image is still there


def test_probabilities_lie_beside_the_levels(model, image, tmp_path):
    predict_files(model, [image], tmp_path / "out", WriteOptions(probabilities=True, label="tissue"))
    found = zarr.open_array(image / "tissue_probabilities/0", mode="r")
    assert found.shape == (3, 2, 40, 50)
    np.testing.assert_allclose(found[:].sum(0), 1, atol=1e-5)


def test_labels_of_that_name_are_never_overwritten(model, image, tmp_path):
    predict_files(model, [image], tmp_path / "out", TISSUE)
    before = zarr.open_array(image / "labels/tissue/0", mode="r")[:]
    with pytest.raises(OutputError, match=r"labels/tissue: exists already; choose another name, or remove it first"):
        predict_files(model, [image], tmp_path / "again", TISSUE)
    assert not (tmp_path / "again").exists()
    np.testing.assert_array_equal(zarr.open_array(image / "labels/tissue/0", mode="r")[:], before)


def test_an_interrupted_prediction_of_two_images_does_the_second_only(model, image, tmp_path, monkeypatch):
    other = write_image(tmp_path / "zz.zarr", 2, array=noise((40, 50)), axes="yx")

    def stop_at_the_second(source):
        if "zz" in source.name:
            raise KeyboardInterrupt
        return noise(source.shape)

    with monkeypatch.context() as patch:
        patch.setattr("rescrnet.inference.file.sample", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            predict_files(model, [image, other], tmp_path / "out", TISSUE)
    assert (image / "labels/tissue").exists()
    done = []
    predict_files(model, [image, other], tmp_path / "out", TISSUE, advance=done.append)
    assert done[0] == 1  # at once
    assert (other / "labels/tissue").exists()


@pytest.mark.parametrize("label", [None, "tissue"], ids=["files", "labels"])
@pytest.mark.parametrize(("owner", "method"), [(Sink, "finish"), (Journal, "record")], ids=["finish", "record"])
def test_a_prediction_that_ends_between_its_two_results_goes_on(
    model, image, tmp_path, monkeypatch, owner, method, label
):
    """The second result is begun, or the first is not yet said to be there."""
    original, ended = getattr(owner, method), []

    def end_after_the_masks(self, *arguments):
        masks = (tmp_path / ".out.partial/slide.ome.zarr", image / "labels/tissue")
        if not ended and any(path.exists() for path in masks):
            ended.append(True)
            raise KeyboardInterrupt
        return original(self, *arguments)

    outputs = WriteOptions(probabilities=True, label=label, kind="ome-zarr")
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, end_after_the_masks)
        with pytest.raises(KeyboardInterrupt):
            predict_files(model, [image], tmp_path / "out", outputs)
    if (label, method) == ("tissue", "record"):  # whose it is cannot be told
        with pytest.raises(OutputError, match="labels/tissue: exists already"):
            predict_files(model, [image], tmp_path / "out", outputs)
        return
    (masks,) = predict_files(model, [image], tmp_path / "out", outputs)
    probabilities = (image / "tissue_probabilities") if label else tmp_path / "out/slide_probabilities.ome.zarr"
    found = zarr.open_array(probabilities / "0", mode="r")[:]
    np.testing.assert_array_equal(zarr.open_array(masks / "0", mode="r")[:], found.argmax(0))
    assert found.sum(0).min() > 0.99


def test_another_format_has_no_place_for_labels(model, tmp_path):
    with pytest.raises(OutputError, match=r"a\.tif: is no OME-Zarr image; labels can lie only in one"):
        predict_files(model, [save(tmp_path / "a.tif", noise())], tmp_path / "out", TISSUE)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b"])
def test_a_name_that_is_none_is_refused(model, image, tmp_path, name):
    with pytest.raises(UsageError, match=r"--label .*: is no name for labels; expected a short one such as 'tissue'"):
        predict_files(model, [image], tmp_path / "out", WriteOptions(label=name))


def test_labels_and_another_format_do_not_go_together(model, image, tmp_path):
    with pytest.raises(UsageError, match="--format tiff: labels in an image are ome-zarr"):
        predict_files(model, [image], tmp_path / "out", WriteOptions(kind="tiff", label="tissue"))


def test_the_command_says_where_the_masks_are(run, image, tmp_path, monkeypatch, capsys):
    command = ["rescrnet", "predict", run, image, "--out", tmp_path / "out", "--label", "tissue"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert capsys.readouterr().out.strip() == "1 mask in labels/tissue of the images"
