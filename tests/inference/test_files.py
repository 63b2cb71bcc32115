"""Prediction of image files."""

import json
from functools import partial

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from rescrnet.display import overlay
from rescrnet.errors import DataError, OutputError
from rescrnet.images.open import open_image
from rescrnet.images.whole import read_image
from rescrnet.inference.array import Resources, predict_array, sample
from rescrnet.inference.files import Outputs, find_inputs, predict_files
from rescrnet.inference.stream import Sizes
from tests.support.folders import noise, save

# Noise is far from the images of training, as it should be; test_model.py and test_sparse.py have the warning.
pytestmark = pytest.mark.filterwarnings("ignore::rescrnet.errors.RescrnetWarning")


@pytest.fixture
def images(tmp_path):
    for name in ("one.png", "Zelle 2 µ.TIF"):
        save(tmp_path / "in" / name, noise((20, 31)))
    return tmp_path / "in"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_image_gets_a_mask_of_its_size_and_stem(model, images, tmp_path):
    written = predict_files(model, [images], tmp_path / "out")
    assert names(tmp_path / "out") == ["Zelle 2 µ.png", "classes.json", "one.png"]
    assert sorted(written) == [tmp_path / "out/Zelle 2 µ.png", tmp_path / "out/one.png"]
    with Image.open(tmp_path / "out/one.png") as mask:
        assert (mask.mode, mask.size) == ("L", (31, 20))
        expected = model.predict(read_image(images / "one.png")).argmax(0)
        np.testing.assert_array_equal(np.asarray(mask), expected)


def test_classes_json_says_which_index_is_which_class(model, images, tmp_path):
    predict_files(model, [images], tmp_path / "out")
    legend = json.loads((tmp_path / "out/classes.json").read_text(encoding="utf-8"))
    assert [(entry["index"], entry["name"]) for entry in legend] == list(enumerate(model.classes))
    assert [entry["colour"] for entry in legend] == model.colours


def test_probabilities_are_those_of_the_model_in_a_tiff_of_classes_rows_and_columns(model, images, tmp_path):
    predict_files(model, [images / "one.png"], tmp_path / "out", Outputs(probabilities=True))
    with tifffile.TiffFile(tmp_path / "out/one_probabilities.tif") as file:
        found, axes = file.asarray(), file.series[0].axes
    assert (found.shape, found.dtype, axes) == ((3, 20, 31), np.float32, "CYX")
    np.testing.assert_array_equal(found, model.predict(read_image(images / "one.png")))
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_overlays_are_written_beside_the_masks(model, images, tmp_path):
    predict_files(model, [images], tmp_path / "out", Outputs(overlay=True))
    with Image.open(tmp_path / "out/one_overlay.png") as image:
        assert (image.mode, image.size) == ("RGB", (31, 20))


def test_an_overlay_is_the_colour_of_the_class_strongest_at_outlines():
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8, 1)
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 1
    shown = overlay(image, mask, ["#000000", "#ff0000"]).astype(int)
    assert shown.shape == (8, 8, 3)
    assert (shown[:, 4, 0] >= 229).all()  # the outline: nine tenths of the colour
    assert (shown[:, 5:, 0] > shown[:, 5:, 1]).all()
    assert (shown[:, :4, 0] == shown[:, :4, 1]).all()


@pytest.mark.parametrize("shape", [(1, 2), (3, 4), (5, 1), (64, 33)])
def test_small_and_odd_images_are_predicted(model, tmp_path, shape):
    image = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)
    predict_files(model, [save(tmp_path / "a.png", image)], tmp_path / "out")
    with Image.open(tmp_path / "out/a.png") as mask:
        assert mask.size == shape[::-1]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.tif", noise((20, 31), np.uint16)),
        ("a.tif", noise((20, 31)).astype(np.float32)),
        ("a.png", noise((20, 31))[..., None].repeat(3, axis=-1)),
        ("a.JPG", noise((20, 31))),
    ],
    ids=["16 bits", "floats", "grey as RGB", "upper case"],
)
def test_any_kind_of_grey_image_is_predicted(model, tmp_path, name, array):
    assert predict_files(model, [save(tmp_path / name, array)], tmp_path / "out") == [tmp_path / "out/a.png"]


def test_files_and_folders_mix_and_a_file_named_twice_counts_once(images):
    found = find_inputs([images / "one.png", images])
    assert [file.name for file in found] == ["one.png", "Zelle 2 µ.TIF"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [folder / "none.png"], r"none\.png: no such file or folder"),
        (lambda folder: [folder / "empty"], "empty: holds no images; expected PNG"),
        (lambda folder: [folder / "one.png", folder / "other/one.tif"], r"one\.png and .*one\.tif: two files"),
    ],
    ids=["missing", "empty", "one stem"],
)
def test_inputs_that_cannot_be_are_refused_by_name(images, make, message):
    (images / "empty").mkdir()
    save(images / "other/one.tif", noise())
    with pytest.raises(DataError, match=message):
        find_inputs(make(images))


def test_an_overlay_that_would_overwrite_a_mask_is_refused(model, tmp_path):
    files = [save(tmp_path / name, noise()) for name in ("cell.png", "cell_overlay.png")]
    with pytest.raises(DataError, match=r"cell_overlay\.png: .*the overlay of .*cell\.png"):
        predict_files(model, files, tmp_path / "out", Outputs(overlay=True))
    assert not (tmp_path / "out").exists()
    assert len(predict_files(model, files, tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (noise((20, 31, 3)), r"zz\.png: has 3 channels, expected 1"),
        (np.full((20, 31), 9, np.uint8), r"zz\.png: every pixel has the same value, 9"),
    ],
    ids=["colour", "constant"],
)
def test_one_bad_image_among_good_ones_leaves_no_output(model, images, tmp_path, bad, message):
    save(images / "zz.png", bad)
    with pytest.raises(DataError, match=message):
        predict_files(model, [images], tmp_path / "out")
    assert names(tmp_path) == ["in"]


def test_a_folder_that_holds_files_is_refused_and_stays_as_it_is(model, images):
    before = names(images)
    with pytest.raises(OutputError, match="already holds files"):
        predict_files(model, [images], images)
    assert names(images) == before


def test_every_image_that_is_done_is_told(model, images, tmp_path):
    done = []
    predict_files(model, [images], tmp_path / "out", advance=done.append)
    assert sum(done) == pytest.approx(2)


def test_a_large_image_is_judged_by_a_sample_from_all_over_it(tmp_path):
    image = np.zeros((1400, 1100), np.uint8)
    image[700:, 550:] = 7
    np.save(tmp_path / "large.npy", image)
    some = sample(open_image(tmp_path / "large.npy")[0].source)
    assert some.shape[1:] == (1, 1)
    assert some.size <= 2**20
    assert (some == 7).mean() == pytest.approx(0.25, abs=0.03)


def test_large_images_go_through_the_same_files_whole_or_streamed(model, tmp_path, monkeypatch):
    file = tmp_path / "cell.tif"
    tifffile.imwrite(file, noise((150, 131)), photometric="minisblack")
    predict_files(model, [file], tmp_path / "whole", Outputs(probabilities=True))
    sizes = Sizes(tile=(64, 64), rows=16, strip=16, segment=64, block=16)
    monkeypatch.setattr("rescrnet.inference.array.cut", lambda *arguments: sizes)
    predict_files(model, [file], tmp_path / "streamed", Outputs(probabilities=True))
    assert names(tmp_path / "streamed") == names(tmp_path / "whole")
    found, expected = (tifffile.imread(tmp_path / out / "cell_probabilities.tif") for out in ("streamed", "whole"))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def stopped(model, tmp_path, monkeypatch):
    """A stack whose first plane is predicted, into files that ``predict`` goes on with."""
    np.save(tmp_path / "stack.npy", noise((2, 60, 50)))

    def predict(out, **settings):
        return predict_files(model, [tmp_path / "stack.npy"], tmp_path / out, resources=Resources(**settings))

    def stop_at_the_second_plane(*arguments, name, **settings):
        if list((tmp_path / ".out.partial").glob(".scratch/0/planes/0.npy")):
            raise KeyboardInterrupt
        predict_array(*arguments, name=name, **settings)

    with monkeypatch.context() as patch:
        patch.setattr("rescrnet.inference.files.predict_array", stop_at_the_second_plane)
        with pytest.raises(KeyboardInterrupt):
            predict("out")
    predict("expected")
    return predict


def results(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_marked_as_done_but_no_longer_there_is_done_again(stopped, tmp_path):
    (tmp_path / ".out.partial/.scratch/0/classes.npy").unlink()
    stopped("out")
    assert results(tmp_path / "out") == results(tmp_path / "expected")


def test_another_scratch_folder_chosen_meanwhile_leaves_nothing_of_the_first(stopped, tmp_path):
    stopped("out", scratch=tmp_path / "other")
    assert results(tmp_path / "out") == results(tmp_path / "expected")
    assert names(tmp_path) == ["expected", "other", "out", "stack.npy"]
    assert names(tmp_path / "other") == []


def test_a_plane_that_changed_meanwhile_is_done_again(model, tmp_path, monkeypatch):
    """As chunks of a Zarr do without its metadata changing."""
    image = zarr.create_array(tmp_path / "stack.zarr", shape=(2, 60, 50), chunks=(1, 60, 50), dtype="uint8")
    image[:] = noise((2, 60, 50))
    predict = partial(predict_files, model, [tmp_path / "stack.zarr"])

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rescrnet.inference.files.Sink.finish", stop)
        with pytest.raises(KeyboardInterrupt):
            predict(tmp_path / "out")
    image[1] = noise((60, 50))[::-1, ::-1]
    counts = []
    patched = predict_array

    def count(*arguments, **settings):
        counts.append(settings["name"])
        patched(*arguments, **settings)

    monkeypatch.setattr("rescrnet.inference.files.predict_array", count)
    (found,) = predict(tmp_path / "out")
    assert len(counts) == 1
    (expected,) = predict(tmp_path / "expected")
    np.testing.assert_array_equal(*(zarr.open_array(path / "0", mode="r")[:] for path in (found, expected)))
