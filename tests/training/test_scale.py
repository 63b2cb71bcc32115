"""The scale is chosen from the masks: what is thick is seen from farther away."""

import numpy as np
import pytest
from PIL import Image

import rescrnet
from rescrnet.checking.check import check, load_dataset
from rescrnet.config import resolve
from rescrnet.errors import RescrnetWarning, UsageError
from rescrnet.training.scale import Drawn, check_resize, fitted, masks_of, masks_read


def stripes(folder, width, size=(192, 160)):
    """Images of vertical stripes of a width, pixels."""
    for part in ("train_local", "val_local"):
        for kind in ("images/img", "masks/msk"):
            (folder / part / kind).mkdir(parents=True)
        for index in range(2):
            mask = np.broadcast_to((np.arange(size[1]) + 7 * index) % (2 * width) < width, size).astype(np.uint8)
            noise = np.random.default_rng([index, len(part)]).integers(0, 60, size)
            image = (100 * mask + noise).astype(np.uint8)
            for kind, pixels in (("images/img", image), ("masks/msk", mask)):
                Image.fromarray(pixels).save(folder / part / kind / f"{part}{index}.png")
    return folder


def scale(config):
    return config.network.space_to_depth, config.data.patch_size, config.data.fit_scale


@pytest.mark.parametrize(("width", "square"), [(5, 2), (40, 4)])
def test_thick_stripes_are_seen_in_squares_of_four_pixels_and_check_says_what_training_does(tmp_path, width, square):
    folder = stripes(tmp_path / "data", width)
    by_training = fitted(resolve(), masks_of(load_dataset(folder)))
    assert scale(by_training) == (square, 256, False)
    assert fitted(resolve(), masks_read(check(folder).reading)) == by_training


def test_windows_grow_with_the_images_to_four_times_the_area(tmp_path):
    small = fitted(resolve(), masks_of(load_dataset(stripes(tmp_path / "small", 40, (200, 390)))))
    large = fitted(resolve(), masks_of(load_dataset(stripes(tmp_path / "large", 40, (900, 300)))))
    assert (small.data.patch_size, large.data.patch_size) == (448, 512)


@pytest.mark.parametrize("given", [{"network.space_to_depth": 2}, {"data.patch_size": 192}, {"data.resize": [64, 64]}])
def test_what_is_given_stays(tmp_path, given):
    config = resolve(overrides=given)
    assert not config.data.fit_scale
    assert fitted(config, masks_of(load_dataset(stripes(tmp_path / "data", 40)))) == config


def test_comparators_and_other_presets_keep_their_scale(tmp_path):
    data = load_dataset(stripes(tmp_path / "data", 40))
    unet = resolve(overrides={"network.architecture": "unet"})
    assert fitted(unet, masks_of(data)).data.patch_size == 256
    assert fitted(resolve("laptop"), masks_of(data)) == resolve("laptop")


def test_a_run_records_the_scale_that_it_chose_and_a_model_to_start_from_decides_it(tmp_path):
    data = stripes(tmp_path / "data", 40, (64, 96))
    few = {"training.epochs": 1, "training.steps_per_epoch": 1, "network.n": 1, "network.filters": 2}
    first = rescrnet.train(data, tmp_path / "first", resolve(overrides=few))
    assert first.card.network.space_to_depth == 4
    assert scale(resolve(file=tmp_path / "first/config.yaml")) == (4, 256, False)
    fine = rescrnet.train(data, tmp_path / "fine", resolve(overrides={**few, "network.space_to_depth": 2}))
    second = rescrnet.train(data, tmp_path / "second", resolve(overrides=few), start=fine)
    assert second.card.network.space_to_depth == 2


@pytest.mark.parametrize("masks", [[], [Drawn(np.zeros(2, np.int64), np.zeros(2, np.int64), 900)]])
def test_where_nothing_is_labelled_the_scale_stays(masks):
    assert scale(fitted(resolve(), masks)) == (2, 256, False)


def lines(folder, labelled=1.0):
    """Vertical lines of 4 pixels, one in 20, in images of 192×160 with a share of their rows labelled."""
    stripes(folder, 4)
    for file in sorted(folder.glob("*/masks/msk/*.png")):
        mask = np.broadcast_to((np.arange(160) + 7) % 20 < 4, (192, 160)).astype(np.uint8)
        mask[round(labelled * 192) :] = 255
        Image.fromarray(mask).save(file)
    classes = "classes: [{name: gap, value: 0}, {name: line, value: 1}]\nignore: [255]\n"
    (folder / "dataset.yaml").write_text(classes, encoding="utf-8")
    return load_dataset(folder)


@pytest.mark.parametrize("labelled", [1.0, 0.5])
def test_a_size_that_would_erase_a_class_is_refused_by_its_name(tmp_path, labelled):
    data = lines(tmp_path / "data", labelled)
    config = resolve(overrides={"data.resize": [12, 10]})
    with pytest.raises(UsageError, match=r"data.resize 12×10: erases a class: .* 'line' .* IoU of 0\.[01]"):
        rescrnet.train(data, tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_a_size_that_takes_much_of_a_class_is_said_and_a_fitting_one_is_not(tmp_path, recwarn):
    data = lines(tmp_path / "data")
    with pytest.warns(RescrnetWarning, match=r"data.resize 48×40: .* class 'line' .* IoU of 0\.60"):
        check_resize(data, (48, 40))
    for size in ((192, 160), (384, 320)):
        check_resize(data, size)
    assert not recwarn.list


def test_a_class_that_no_mask_holds_cannot_be_erased(tmp_path, recwarn):
    data = lines(tmp_path / "data", labelled=0.5)
    for sample in data.train:
        sample.mask[sample.mask == 1] = 0
    check_resize(data, (12, 10))
    assert not recwarn.list


def test_a_class_of_which_no_pixel_is_left_is_refused(tmp_path):
    data = lines(tmp_path / "data", labelled=0.5)
    for sample in data.train:
        sample.mask[sample.mask == 1] = 0
        sample.mask[150, 80] = 1  # alone among unlabelled pixels
    with pytest.raises(UsageError, match=r"class 'line' .* IoU of 0\.00"):
        check_resize(data, (12, 10))
