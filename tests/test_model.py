"""A model on disk is the model."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import rescrnet
from rescrnet.classes import MaskDeclaration
from rescrnet.errors import DataError, ModelError, RescrnetWarning, UsageError
from rescrnet.images.whole import read_pixels
from rescrnet.model import ModelCard, SegmentationModel
from tests.support.pictures import model_of

unlike = pytest.mark.filterwarnings("ignore:.*lie far from those of the training")


@unlike
def test_save_and_load_is_exact(model, tmp_path):
    model.save(tmp_path / "copy.safetensors")
    copy = rescrnet.load(tmp_path / "copy.safetensors")
    assert copy.card == model.card
    for name, value in model.network.state_dict().items():
        assert torch.equal(copy.network.state_dict()[name], value)
    image = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)
    assert (copy.predict(image) == model.predict(image)).all()


def test_the_card_says_where_the_model_comes_from(model):
    trained = model.card.trained
    assert trained.train == ["00", "01"]
    assert trained.val == ["02", "03"]
    assert trained.config.training.seed == 0
    assert trained.rescrnet == rescrnet.__version__


def test_a_model_may_come_from_nowhere(model):
    values = json.loads(model.card.model_dump_json())
    del values["provenance"]
    for card in (ModelCard(**values), ModelCard(**values, training={})):  # as earlier versions said it
        assert (card.provenance, card.trained) == (None, None)


def test_a_run_folder_means_its_best_model(run):
    best = load_file(run / "best.safetensors")
    for name, value in rescrnet.load(run).network.state_dict().items():
        assert torch.equal(best[name], value)


@unlike
def test_prediction_takes_every_type_that_means_the_same_image(model):
    grey = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) % 256
    expected = model.predict(grey.astype(np.uint8))
    assert expected.shape == (3, 20, 30)
    np.testing.assert_allclose(expected.sum(0), 1, atol=1e-5)
    alpha = np.full((20, 30), 255)
    for same in (
        (grey * 257).astype(np.uint16),
        grey.astype(np.float64) / 255,
        np.stack([grey] * 3, axis=-1).astype(np.uint8),
        np.stack([grey, alpha], axis=-1).astype(np.uint8),
    ):
        np.testing.assert_allclose(model.predict(same), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 4, 5)), "expected one image, YX or YXC"),
        (np.random.default_rng(0).random((5, 5, 3)), "has 3 channels, expected 1"),
        (np.array([[0.0, np.nan]]), "holds NaN or infinite values"),
    ],
)
def test_an_array_that_is_no_image_for_the_model_is_refused(model, image, message):
    with pytest.raises(DataError, match=message):
        model.predict(image)


def damage(path, tmp_path, how):
    target = tmp_path / "damaged.safetensors"
    content = path.read_bytes()
    if how == "truncated":
        target.write_bytes(content[: len(content) // 2])
    elif how == "random":
        target.write_bytes(np.random.default_rng(0).bytes(1000))
    elif how == "foreign":
        save_file({"weight": torch.zeros(3)}, target)
    else:
        card = json.loads(rescrnet.load(path).card.model_dump_json())
        card.update({"future": {"format": 99}, "keys": {"surprise": 1}, "shape": {"network": {"n": 2}}}[how])
        save_file(load_file(path), target, {"rescrnet": json.dumps(card)})
    return target


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "is no model file or is damaged"),
        ("random", "is no model file or is damaged"),
        ("foreign", "no model card in its header"),
        ("future", "has model format 99"),
        ("keys", "its model card is not valid"),
        ("shape", "its weights do not fit its configuration"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_clear_line(run, tmp_path, how, message):
    with pytest.raises(ModelError, match=message) as caught:
        rescrnet.load(damage(run / "best.safetensors", tmp_path, how))
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_there_is_refused(model):
    with pytest.raises(UsageError, match=r"--device npu: is unknown; expected auto, cpu, cuda or mps"):
        model.to("npu")


def test_a_model_of_the_first_format_still_loads(model, tmp_path):
    card = json.loads(model.card.model_dump_json())
    card["classes"] = card.pop("masks")["classes"]
    del card["intensity_profile"], card["objects"]
    weights = {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}
    save_file(weights, tmp_path / "old.safetensors", {"rescrnet": json.dumps({**card, "format": 1})})
    old = rescrnet.load(tmp_path / "old.safetensors")
    assert (old.card.format, old.card.intensity_profile, old.card.objects) == (5, None, {})
    assert old.card.masks == MaskDeclaration(classes=model.card.classes)
    old.warn_if_out_of_distribution(np.zeros((5, 5, 1), np.float32), "says nothing")


def test_an_image_far_from_those_of_training_is_warned_of_by_name(model):
    image = np.random.default_rng(0).random((40, 50, 1), dtype=np.float32) / 100
    with pytest.warns(
        RescrnetWarning, match=r"^dark\.tif: the intensities, .* lie far from .*the prediction may be wrong"
    ):
        model.warn_if_out_of_distribution(image, "dark.tif")


@pytest.fixture
def image(dataset):
    return read_pixels(sorted((dataset / "val_local/images/img").iterdir())[0]).values


PREDICT = {"predict": SegmentationModel.predict, "predict_array": rescrnet.predict_array}
each_way = pytest.mark.parametrize("predict", PREDICT.values(), ids=PREDICT)


@each_way
def test_an_image_like_those_of_training_is_not_warned_of(model, image, predict):
    predict(model, image)
    predict(model, image / 255)


@each_way
@pytest.mark.parametrize(
    ("convert", "says"),
    [
        (lambda a: a.astype(float), r"floats are taken as they are, and these reach \d+: divide them by 255"),
        (lambda a: a.astype(np.float32) * 257, "divide them by 65535, or pass integers"),
        (lambda a: a.astype(np.int64), r"int64 is divided by 9223372036854775807.*write image.astype\('uint8'\)"),
        (lambda a: a.astype(np.int32) * 16, r"int32 is divided by 2147483647.*write image.astype\('uint16'\)"),
        (lambda a: a.astype(np.uint16), r"uint16 is divided by 65535.*write image.astype\('uint8'\)"),
        (lambda a: a // 16, r"look at it$"),
    ],
    ids=["float 0-255", "float 0-65535", "int64", "int32 of 12 bits", "uint16 of 8 bits", "dark"],
)
def test_an_array_whose_type_hides_its_intensities_is_warned_of_with_the_cause(model, image, predict, convert, says):
    with pytest.warns(RescrnetWarning, match=f"image: the intensities, .*{says}") as warned:
        predict(model, convert(image))
    assert len(warned) == 1


@pytest.mark.parametrize("shape", [(1, 40, 50), (3, 40, 50)])
def test_channels_that_come_first_are_recognised(model, shape):
    with pytest.raises(DataError, match=r"image: has shape .*; channels come last: write numpy\.moveaxis"):
        model.predict(np.zeros(shape, np.uint8))


def test_channels_that_come_first_are_recognised_in_an_array_of_any_size():
    with pytest.raises(DataError, match=r"shape \(3, 40, 50\), and the model expects 3 channels; channels come last"):
        rescrnet.predict_array(model_of(channels=3), np.zeros((3, 40, 50), np.uint8))
    assert rescrnet.predict_array(model_of(), np.zeros((3, 40, 50), np.uint8)).shape == (3, 40, 50)  # pages


@each_way
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([[1, 2], [3, 4]], r"image: is a list; expected an array .*write numpy\.asarray\(image\)"),
        ("cell.png", r"image: is a path, cell\.png; use rescrnet\.predict_files"),
        (Image.new("L", (4, 4)), r"image: is a PIL image; .*write numpy\.asarray\(image\)"),
        (torch.zeros(4, 4), r"image: is a PyTorch tensor; .*write image\.cpu\(\)\.numpy\(\)"),
        (None, "image: is of type NoneType; expected an array"),
        (np.array([["a"]]), "image: holds <U1 values; expected integers or floats"),
    ],
    ids=["list", "path", "PIL", "tensor", "None", "text"],
)
def test_what_is_no_array_is_one_line(model, predict, value, says):
    with pytest.raises((DataError, UsageError), match=says) as caught:
        predict(model, value)
    assert "\n" not in str(caught.value)
