"""Augmentation: image and mask move alike, and what leaves one side comes back mirrored."""

import numpy as np
import pytest
import torch

from rescrnet.config import AugmentationConfig
from rescrnet.training.augment import Window, augmented_batch, one_hot, one_hot_again

STILL = AugmentationConfig(rotation=0, shift=0, shear=0, zoom=0, flip=False)
IDENTITY = np.eye(2)


def ramp(height=6, width=8):
    return torch.arange(float(height * width)).reshape(1, height, width)


def test_a_window_without_transform_is_the_image_itself():
    image = ramp()
    window = Window.draw(np.random.default_rng(0), (6, 8), (6, 8), STILL)
    torch.testing.assert_close(window.read(image, (6, 8)), image, atol=1e-4, rtol=0)


def test_a_patch_is_cut_from_the_image():
    image = ramp()
    cut = Window(IDENTITY, (2.5, 4.5)).read(image, (2, 4))  # rows 2 and 3, columns 3 to 6
    torch.testing.assert_close(cut, image[:, 2:4, 3:7], atol=1e-4, rtol=0)


def test_beyond_the_border_the_image_is_mirrored():
    image = ramp(1, 4)
    wide = Window(IDENTITY, (0, 1.5)).read(image, (1, 8))
    assert wide.round().int().flatten().tolist() == [1, 0, 0, 1, 2, 3, 3, 2]


def test_a_quarter_turn_turns_rows_into_columns():
    image = ramp(4, 4)
    turned = Window(np.array([[0.0, -1.0], [1.0, 0.0]]), (1.5, 1.5)).read(image, (4, 4))
    torch.testing.assert_close(turned, image.rot90(1, (2, 1)), atol=1e-4, rtol=0)


def test_image_and_mask_move_alike():
    rng = np.random.default_rng(0)
    mask = (rng.random((9, 12)) > 0.5).astype(np.uint8)
    mask = np.kron(mask, np.ones((8, 8), np.uint8))  # blocks large enough to survive the smoothing
    images, masks = augmented_batch(
        [torch.from_numpy(mask)[None].float()],
        [one_hot(mask, 2)],
        (72, 96),
        AugmentationConfig(),
        [np.random.default_rng(5)],
    )
    clear = (images[0, 0] < 0.2) | (images[0, 0] > 0.8)
    agreement = (images[0, 0].round() == masks[0, 1])[clear].float().mean()
    assert agreement > 0.95


def test_masks_stay_one_hot():
    masks = torch.rand(2, 4, 10, 11, generator=torch.Generator().manual_seed(0))
    masks /= masks.sum(1, keepdim=True)
    again = one_hot_again(masks)
    assert set(again.unique().tolist()) == {0.0, 1.0}
    assert again.sum(1).eq(1).all()


def test_images_of_different_sizes_make_one_batch():
    images = [torch.rand(1, 20, 30), torch.rand(1, 50, 10)]
    masks = [one_hot(np.zeros(x.shape[1:], np.uint8), 2) for x in images]
    rngs = [np.random.default_rng(i) for i in range(2)]
    x, y = augmented_batch(images, masks, (16, 24), AugmentationConfig(), rngs)
    assert x.shape == (2, 1, 16, 24)
    assert y.shape == (2, 2, 16, 24)


def test_patches_lie_within_the_image_where_nothing_else_is_asked_for():
    image = ramp(40, 50)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        patch = Window.draw(rng, (40, 50), (10, 10), STILL).read(image, (10, 10))
        steps = patch[0].diff(dim=1)
        torch.testing.assert_close(steps, torch.ones_like(steps), atol=1e-2, rtol=0)  # a mirrored border would fall


@pytest.mark.parametrize("setting", ["brightness", "contrast", "gamma"])
def test_intensities_change_only_where_that_is_asked_for(setting):
    image, mask = (
        torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)),
        one_hot(np.zeros((8, 8), np.uint8), 2),
    )
    quiet, _ = augmented_batch([image], [mask], (8, 8), STILL, [np.random.default_rng(1)])
    torch.testing.assert_close(quiet[0], image, atol=1e-5, rtol=0)
    loud = STILL.model_copy(update={setting: 0.5})
    changed, _ = augmented_batch([image], [mask], (8, 8), loud, [np.random.default_rng(1)])
    assert (changed[0] - image).abs().max() > 0.01


def test_colour_changes_each_channel_by_itself_and_images_of_one_channel_not_at_all():
    loud = STILL.model_copy(update={"colour": 0.5})
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = one_hot(np.zeros((8, 8), np.uint8), 2)
    changed = augmented_batch([image], [mask], (8, 8), loud, [np.random.default_rng(1)])[0][0]
    gains = changed.std((1, 2)) / image.std((1, 2))
    assert len({round(float(gain), 2) for gain in gains}) == 3
    standard = [(one - one.mean((1, 2), keepdim=True)) / one.std((1, 2), keepdim=True) for one in (image, changed)]
    torch.testing.assert_close(*standard, atol=1e-4, rtol=0)
    grey = augmented_batch([image[:1]], [mask], (8, 8), loud, [np.random.default_rng(1)])[0][0]
    torch.testing.assert_close(grey, image[:1], atol=1e-5, rtol=0)


def test_shading_is_a_ramp_in_any_direction_that_leaves_the_darkest_value_as_it_is():
    image = torch.ones(2, 40, 50)
    image[:, 0, 0] = 0.25
    mask, directions = one_hot(np.zeros((40, 50), np.uint8), 2), set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        shaded = augmented_batch([image], [mask], (40, 50), STILL.model_copy(update={"shading": 0.4}), [rng])[0][0]
        assert shaded[0].equal(shaded[1])  # all channels alike
        assert shaded[0, 0, 0] == pytest.approx(0.25)
        share = (shaded[0] - 0.25) / 0.75 - 1
        share[0, 0] = 2 * share[0, 1] - share[0, 2]
        assert share.abs().max() <= 0.4 + 1e-5
        torch.testing.assert_close(share + share.flip(0, 1), torch.zeros(40, 50), atol=1e-5, rtol=0)
        torch.testing.assert_close(share.diff(dim=1).diff(dim=0), torch.zeros(39, 49), atol=1e-5, rtol=0)
        down, across = share[-1, 0] - share[0, 0], share[0, -1] - share[0, 0]
        directions.add((bool(down > 0), bool(across > 0)))
    assert len(directions) == 4


def test_shading_is_of_light_above_a_black_level_between_no_light_and_the_darkest_value():
    image = torch.full((2, 40, 50), 0.5)
    image[1] += 0.25
    black = torch.tensor([-0.5, -9.0])[:, None, None]  # as of a channel that was scaled so; the other lies too deep
    mask, settings = one_hot(np.zeros((40, 50), np.uint8), 2), STILL.model_copy(update={"shading": 0.4})
    steepest = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shaded = augmented_batch([image], [mask], (40, 50), settings, [rng], black)[0][0]
        steepest.append((shaded - image).abs().amax((1, 2)))
    steepest = torch.stack(steepest)
    torch.testing.assert_close(steepest[:, 1], 2 * steepest[:, 0])  # one level for all channels, at most 2 below
    assert steepest[:, 0].min() < 0.03
    assert 0.25 < steepest[:, 0].max() <= 0.4  # the darkest pixels change, too


def test_sharpness_goes_both_ways_and_keeps_what_is_smooth():
    y, x = np.mgrid[:40, :50]
    smooth = torch.from_numpy((y + 2 * x) / 200).float()[None]
    fine = smooth + torch.from_numpy(0.1 * (-1.0) ** (y + x)).float()
    mask, changes = one_hot(np.zeros((40, 50), np.uint8), 2), []
    for seed in range(30):
        settings = STILL.model_copy(update={"sharpness": 0.5})
        (as_smooth,), (as_fine,) = (
            augmented_batch([image], [mask], (40, 50), settings, [np.random.default_rng(seed)])[0]
            for image in (smooth, fine)
        )
        torch.testing.assert_close(as_smooth[0, 4:-4, 4:-4], smooth[0, 4:-4, 4:-4], atol=1e-5, rtol=0)
        # A chessboard is all that a Gaussian of one pixel smooths away.
        change = ((as_fine - as_smooth) / (fine - smooth))[0, 4:-4, 4:-4]
        torch.testing.assert_close(change, change[0, 0].expand_as(change), atol=0.01, rtol=0)
        changes.append(float(change[0, 0]))
    assert 0.5 <= min(changes) < 0.6
    assert 1.4 < max(changes) <= 1.5 + 1e-3


UPRIGHT = AugmentationConfig(upright=1)


def test_upright_windows_hold_pixels_of_the_image_and_of_the_mask_themselves():
    mask = np.random.default_rng(0).integers(0, 3, (40, 50)).astype(np.uint8)  # no two neighbours need be alike
    image = torch.from_numpy(mask)[None].float() + torch.arange(2000.0).reshape(1, 40, 50)
    turned = set()
    for seed in range(30):
        images, masks = augmented_batch([image], [one_hot(mask, 3)], (16, 16), UPRIGHT, [np.random.default_rng(seed)])
        window = images[0, 0].round()
        torch.testing.assert_close(images[0, 0], window, atol=2e-3, rtol=0)
        places = window - class_indices_of(masks[0])
        assert set(places.flatten().tolist()) <= set(range(2000))
        down, across = float(places.diff(dim=0).median()), float(places.diff(dim=1).median())
        assert {abs(down), abs(across)} == {1, 50}
        turned.add((down, across))
    assert len(turned) == 8  # mirrored and turned in every way


def class_indices_of(mask):
    return mask.argmax(0).float()


def test_a_share_of_the_windows_is_upright():
    image, mask = torch.rand(1, 64, 64), one_hot(np.zeros((64, 64), np.uint8), 2)
    some = AugmentationConfig(upright=0.3)
    values = image.unique()
    exact = 0
    for seed in range(200):
        images, _ = augmented_batch([image], [mask], (8, 8), some, [np.random.default_rng(seed)])
        nearest = (images.flatten()[:, None] - values).abs().amin(1)
        exact += bool(nearest.max() < 1e-5)
    assert 40 <= exact <= 80


def test_bicubic_reading_keeps_more_of_the_noise_than_bilinear():
    image, mask = torch.rand(1, 96, 96), one_hot(np.zeros((96, 96), np.uint8), 2)
    spread = {}
    for mode in ("bilinear", "bicubic"):
        settings = AugmentationConfig(interpolation=mode)
        windows = [
            augmented_batch([image], [mask], (48, 48), settings, [np.random.default_rng(seed)])[0] for seed in range(10)
        ]
        spread[mode] = float(torch.cat(windows).std())
    assert spread["bilinear"] < 0.8 * float(image.std()) < spread["bicubic"]


def test_thin_lines_of_a_mask_survive_where_reading_is_bicubic():
    line = np.zeros((64, 64), np.uint8)
    line[:, ::8] = 1
    still = STILL.model_copy(update={"rotation": 10})
    kept = {}
    for mode in ("bilinear", "bicubic"):
        settings = still.model_copy(update={"interpolation": mode})
        _, masks = augmented_batch(
            [torch.zeros(1, 64, 64)], [one_hot(line, 2)], (64, 64), settings, [np.random.default_rng(3)]
        )
        kept[mode] = float(masks[0, 1].mean())
    assert kept["bilinear"] < 0.02
    assert kept["bicubic"] == pytest.approx(1 / 8, abs=0.03)
