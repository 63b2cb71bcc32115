"""Scores of single images, by hand and against MONAI."""

import numpy as np
import pytest
import torch

from rescrnet.classes import IGNORE
from rescrnet.scoring.calibration import calibration
from rescrnet.scoring.image_scores import ImageScores
from rescrnet.scoring.surface import SurfaceDistances, outline, surface_dice


def square(left, side=10, size=40):
    mask = np.zeros((size, size), bool)
    mask[12 : 12 + side, left : left + side] = True
    return mask


def test_a_square_shifted_by_one_pixel_has_surface_dice_1_within_a_pixel_and_one_half_within_half_a_pixel():
    # Of 36 outline pixels each, those of the upper and lower side but one, 9 + 9, lie on each other.
    assert surface_dice(square(12), square(13), [1, 0.5]) == [1.0, 0.5]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of MONAI, about MONAI
def test_surface_dice_equals_monai_where_nothing_touches_the_border():
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 1, 1, 40, 40), bool)
    masks[..., 8:32, 8:32] = rng.random((2, 1, 1, 24, 24)) > 0.4
    a, b = (torch.from_numpy(np.concatenate([~m, m], 1).astype(np.float32)) for m in masks)
    expected = metrics.compute_surface_dice(a, b, [1.0], include_background=False).item()
    assert surface_dice(masks[1, 0, 0], masks[0, 0, 0], [1.0])[0] == pytest.approx(expected, abs=1e-6)


def test_neither_the_border_of_the_image_nor_unlabelled_pixels_make_an_outline():
    mask, labelled = np.zeros((6, 6), bool), np.ones((6, 6), bool)
    mask[:, :3] = True
    labelled[:, 3] = False
    assert not outline(mask, labelled).any()
    assert outline(mask, np.ones((6, 6), bool)).sum() == 6


def test_an_empty_prediction_has_surface_dice_0_and_no_distance():
    distances = SurfaceDistances.between(square(12), np.zeros((40, 40), bool), np.ones((40, 40), bool))
    assert distances.dice(3) == 0
    assert np.isnan(distances.percentile())


def one_hot(indices, classes=3):
    return np.eye(classes, dtype=np.float32)[indices].transpose(2, 0, 1)


def test_a_class_that_the_reference_lacks_has_no_score_even_where_it_is_predicted():
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 1
    predicted = mask.copy()
    predicted[7, 7] = 2
    scores = ImageScores.of(one_hot(predicted), mask)
    assert all(np.isnan(value) for value in scores.classes[2].values())
    assert scores.classes[1]["iou"] == 1
    assert scores.image["mean_iou"] == pytest.approx((1 + 54 / 55) / 2)


def test_unlabelled_pixels_count_nowhere():
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 1
    mask[:2] = IGNORE
    predicted = np.where(mask == IGNORE, 1, mask)
    assert ImageScores.of(one_hot(predicted, 2), mask).image["mean_iou"] == 1


def test_calibration_by_hand():
    probabilities = np.empty((2, 1, 4), np.float32)
    probabilities[0], probabilities[1] = 0.75, 0.25
    found = calibration(probabilities, np.array([[0, 0, 1, IGNORE]], np.uint8))
    assert found["ece"] == pytest.approx(0.75 - 2 / 3, abs=1e-6)
    assert found["brier"] == pytest.approx((2 * (0.0625 * 2) + 2 * 0.5625) / 3, abs=1e-6)
    assert found["nll"] == pytest.approx(-(2 * np.log(0.75) + np.log(0.25)) / 3, abs=1e-6)
