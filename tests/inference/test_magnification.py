"""Images of another magnification than those of training."""

import shutil
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import zoom

import rescrnet
from rescrnet import cli
from rescrnet.errors import DataError, UsageError
from rescrnet.images.whole import read_image
from rescrnet.inference.folder import predict_files
from rescrnet.inference.options import ReadOptions
from rescrnet.inference.resources import Resources
from rescrnet.inference.stream import Tiling
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny
from tests.support.folders import noise, save
from tests.support.pictures import model_of

pytestmark = pytest.mark.filterwarnings("ignore:.*lie far from those of the training")


def discs(seed, size=48, radius=6):
    rows, columns = np.mgrid[:size, :size]
    mask = np.zeros((size, size), np.uint8)
    for y, x in np.random.default_rng(seed).integers(8, size - 8, (3, 2)):
        mask |= ((rows - y) ** 2 + (columns - x) ** 2 < radius**2).astype(np.uint8)
    return mask * 120 + np.random.default_rng(seed).integers(30, 60, mask.shape).astype(np.uint8), mask


def write(path, image, micrometres):
    """A TIFF of ImageJ, which knows the size of a pixel."""
    down, across = np.broadcast_to(micrometres, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, imagej=True, resolution=(1 / across, 1 / down), metadata={"unit": "micron"})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed, micrometres in enumerate((0.1, 0.1, 0.1, 0.12)):
        image, mask = discs(seed)
        write(folder / "images" / f"{seed}.tif", image, micrometres)
        save(folder / "masks" / f"{seed}.png", mask)
    return folder


@pytest.fixture(scope="module")
def tenth_run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    rescrnet.train(data, folder, tiny(training__epochs=1), progress=ProgressReporter())
    return folder


@pytest.fixture(scope="module")
def at_tenth(tenth_run):
    return rescrnet.load(tenth_run)


def warned_of(caught):
    return [str(one.message) for one in caught if "structures differ in size" in str(one.message)]


def test_the_model_keeps_the_median_of_the_training_images(at_tenth, tenth_run):
    assert at_tenth.card.pixel_size == pytest.approx((0.1, 0.1), rel=1e-3)
    assert rescrnet.load(tenth_run).card == at_tenth.card


def test_what_dataset_yaml_says_goes_before_the_files(data, tmp_path):

    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data/dataset.yaml").write_text("pixel_size: [0.2, 0.3]")
    model = rescrnet.train(tmp_path / "data", tmp_path / "run", tiny(training__epochs=1), progress=ProgressReporter())
    assert model.card.pixel_size == (0.2, 0.3)


def test_a_model_whose_images_did_not_say_knows_none(model):
    assert model.card.pixel_size is None
    with pytest.raises(UsageError, match="--rescale: the model does not know the pixel size of its training images"):
        model.check_rescalable()


@pytest.mark.parametrize(
    ("micrometres", "factor"),
    [(0.1, None), (0.149, None), (0.15, "1.5"), (0.4, "4"), (0.0666, "1.5"), (0.068, None), ((0.1, 0.25), "2.5")],
)
def test_an_image_is_warned_of_from_a_factor_of_one_and_a_half_on(at_tenth, tmp_path, recwarn, micrometres, factor):
    predict_files(at_tenth, [write(tmp_path / "cell.tif", discs(9)[0], micrometres)], tmp_path / "out")
    if factor is None:
        assert warned_of(recwarn) == []
        return
    (said,) = warned_of(recwarn)
    assert "cell.tif: its pixels are " in said
    assert "those of the training images 0.1 µm: " in said
    assert f"by a factor of {factor};" in said
    assert "--rescale" in said


def test_an_image_of_unknown_pixel_size_is_not_warned_of(at_tenth, tmp_path, recwarn):
    predict_files(at_tenth, [save(tmp_path / "cell.png", discs(9)[0])], tmp_path / "out")
    assert warned_of(recwarn) == []


def test_a_rescaled_image_is_seen_at_the_size_of_training_and_its_mask_has_its_own(at_tenth, tmp_path, recwarn):
    coarse = discs(9)[0][::4, ::2]
    file = write(tmp_path / "cell.tif", coarse, (0.4, 0.2))
    predict_files(at_tenth, [file], tmp_path / "out", read=ReadOptions(rescale=True))
    assert warned_of(recwarn) == []
    with Image.open(tmp_path / "out/cell.png") as mask:
        found = np.asarray(mask)
    np.testing.assert_array_equal(found, at_tenth.predict(read_image(file), seen=(48, 48)).argmax(0))
    assert found.shape == (12, 24)


def test_a_model_finds_in_a_rescaled_image_what_it_finds_in_the_original():
    """With a network that answers pixel by pixel nothing but the size of the image counts."""
    model = model_of(kernel_sizes=[1], dilations=[1], m=0)
    model.card = model.card.model_copy(update={"pixel_size": (0.1, 0.1)})
    image = np.kron(noise((12, 16), np.uint8), np.ones((4, 4), np.uint8))
    assert model.size_in_training((12, 16), (0.4, 0.4), "x") == (48, 64)
    large = zoom(image, 4, order=0)
    expected = model.predict(image).argmax(0)
    found = model.predict(large, seen=model.size_in_training(large.shape, (0.025, 0.025), "x")).argmax(0)
    inner = found.reshape(48, 4, 64, 4)[:, 1:3, :, 1:3]
    assert (inner == expected[:, None, :, None]).mean() > 0.85


def test_at_the_size_of_training_rescaling_changes_nothing(at_tenth, tmp_path):
    file = write(tmp_path / "cell.tif", discs(9)[0], 0.1)
    for out, rescale in (("plain", False), ("rescaled", True)):
        predict_files(at_tenth, [file], tmp_path / out, read=ReadOptions(rescale=rescale))
    assert (tmp_path / "plain/cell.png").read_bytes() == (tmp_path / "rescaled/cell.png").read_bytes()


def test_what_cannot_be_rescaled_is_one_line(at_tenth, model, tmp_path):
    rescale = ReadOptions(rescale=True)
    with pytest.raises(DataError, match=r"cell\.png: does not say how large its pixels are"):
        predict_files(at_tenth, [save(tmp_path / "cell.png", noise())], tmp_path / "out", read=rescale)
    with pytest.raises(UsageError, match="--rescale: the model does not know"):
        predict_files(model, [tmp_path / "cell.png"], tmp_path / "out", read=rescale)
    file = write(tmp_path / "cell.tif", discs(9)[0], 0.2)
    streamed = Resources(tiling=Tiling(tile=(64, 64), rows=16, strip=16, segment=64, block=16))
    with pytest.raises(UsageError, match=r"cell\.tif: to see it as 96×96 pixels all of it must be in memory"):
        predict_files(at_tenth, [file], tmp_path / "out", read=rescale, resources=streamed)
    assert not (tmp_path / "out").exists()


def test_a_model_that_resizes_all_images_neither_warns_nor_rescales(recwarn):
    model = model_of(resize=(32, 32))
    model.card = model.card.model_copy(update={"pixel_size": (0.1, 0.1)})
    model.warn_if_magnified((1.0, 1.0), "x")
    assert not recwarn.list
    with pytest.raises(UsageError, match="--rescale: the model resizes all images to one size anyway"):
        model.check_rescalable()


def test_evaluate_warns_and_rescales(at_tenth, tmp_path, recwarn):
    for seed in (7, 8):
        image, mask = discs(seed)
        write(tmp_path / "data/images" / f"{seed}.tif", image[::2, ::2], 0.2)
        save(tmp_path / "data/masks" / f"{seed}.png", mask[::2, ::2])
    seen = []
    rescrnet.evaluate(at_tenth, tmp_path / "data", split="all")
    assert len(warned_of(recwarn)) == 2
    recwarn.clear()
    rescrnet.evaluate(
        at_tenth, tmp_path / "data", split="all", rescale=True, seen=lambda sample, found: seen.append((sample, found))
    )
    assert warned_of(recwarn) == []
    for sample, probabilities in seen:
        np.testing.assert_array_equal(probabilities, at_tenth.predict(sample.image, seen=(48, 48)))


def test_info_shows_the_pixel_size(tenth_run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rescrnet", "info", str(tenth_run)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "pixel size: 0.1 µm" in capsys.readouterr().out
