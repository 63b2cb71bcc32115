"""Prediction of image files."""

import json
from functools import partial

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from rescrnet.display import overlay
from rescrnet.errors import OutputError
from rescrnet.images.open import open_image
from rescrnet.images.whole import read_image
from rescrnet.inference.folder import predict_files
from rescrnet.inference.options import WriteOptions
from rescrnet.inference.plane import predict_plane, sample
from rescrnet.inference.resources import Resources
from rescrnet.inference.stream import Tiling
from rescrnet.inference.uncertainty import predictive_entropy
from rescrnet.outputs.sinks import Sink
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
    predict_files(model, [images / "one.png"], tmp_path / "out", WriteOptions(probabilities=True))
    with tifffile.TiffFile(tmp_path / "out/one_probabilities.tif") as file:
        found, axes = file.asarray(), file.series[0].axes
    assert (found.shape, found.dtype, axes) == ((3, 20, 31), np.float32, "CYX")
    np.testing.assert_array_equal(found, model.predict(read_image(images / "one.png")))
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_overlays_are_written_beside_the_masks(model, images, tmp_path):
    predict_files(model, [images], tmp_path / "out", WriteOptions(overlay=True))
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


def test_large_images_go_through_the_same_files_whole_or_streamed(model, tmp_path):
    file = tmp_path / "cell.tif"
    tifffile.imwrite(file, noise((150, 131)), photometric="minisblack")
    predict_files(model, [file], tmp_path / "whole", WriteOptions(probabilities=True))
    streamed = Resources(tiling=Tiling(tile=(64, 64), rows=16, strip=16, segment=64, block=16))
    predict_files(model, [file], tmp_path / "streamed", WriteOptions(probabilities=True), resources=streamed)
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
        if "p1" in name:
            raise KeyboardInterrupt
        predict_plane(*arguments, name=name, **settings)

    with monkeypatch.context() as patch:
        patch.setattr("rescrnet.inference.file.predict_plane", stop_at_the_second_plane)
        with pytest.raises(KeyboardInterrupt):
            predict("out")
    predict("expected")
    return predict


def results(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_recorded_as_done_but_no_longer_there_is_done_again(stopped, tmp_path):
    (scratch,) = tmp_path.glob(".out.partial/.scratch/*/classes.npy")
    scratch.unlink()
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
        patch.setattr(Sink, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            predict(tmp_path / "out")
    image[1] = noise((60, 50))[::-1, ::-1]
    counts = []

    def count(*arguments, **settings):
        counts.append(settings["name"])
        predict_plane(*arguments, **settings)

    monkeypatch.setattr("rescrnet.inference.file.predict_plane", count)
    (found,) = predict(tmp_path / "out")
    assert len(counts) == 1
    (expected,) = predict(tmp_path / "expected")
    np.testing.assert_array_equal(*(zarr.open_array(path / "0", mode="r")[:] for path in (found, expected)))


@pytest.mark.parametrize("tiling", [None, Tiling(tile=(64, 64), rows=16, strip=16, segment=64, block=16)])
@pytest.mark.parametrize("probabilities", [False, True])
def test_the_uncertainty_is_the_entropy_of_the_probabilities_whole_or_streamed(model, tmp_path, tiling, probabilities):
    file = tmp_path / "cell.tif"
    tifffile.imwrite(file, noise((150, 131)), photometric="minisblack")
    resources = Resources(tiling=tiling)
    predict_files(model, [file], tmp_path / "out", WriteOptions(probabilities, uncertainty=True), resources=resources)
    expected = ["cell.png", "cell_uncertainty.tif", "classes.json"]
    assert names(tmp_path / "out") == sorted([*expected, *["cell_probabilities.tif"] * probabilities])
    found = tifffile.imread(tmp_path / "out/cell_uncertainty.tif")
    assert (found.shape, found.dtype) == ((150, 131), np.float32)
    np.testing.assert_allclose(found, predictive_entropy(model.predict(read_image(file))), atol=1e-4)
    assert 0 <= found.min() < found.max() <= 1


def test_an_uncertainty_that_is_asked_for_after_an_interruption_is_of_all_planes(model, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "cell.tif", noise((3, 20, 31)), photometric="minisblack", metadata={"axes": "ZYX"})
    with monkeypatch.context() as patch:
        patch.setattr(Sink, "finish", lambda sink: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            predict_files(model, [tmp_path / "cell.tif"], tmp_path / "out")
    predict_files(model, [tmp_path / "cell.tif"], tmp_path / "out", WriteOptions(uncertainty=True))
    found = tifffile.imread(tmp_path / "out/cell_uncertainty.ome.tif")
    assert found.shape == (3, 20, 31)
    assert (found.max((1, 2)) > 0).all()
