"""Entropy, mutual information and temperature, against values worked by hand."""

import numpy as np
import pytest

from rescrnet.errors import DataError
from rescrnet.inference.uncertainty import apply_temperature, fit_temperature, mutual_information, predictive_entropy


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def test_entropy_is_0_where_certain_and_1_where_all_classes_are_alike():
    probabilities = np.array([[[1.0, 1 / 3, 0.5]], [[0.0, 1 / 3, 0.5]], [[0.0, 1 / 3, 0.0]]])
    expected = [[0, 1, np.log(2) / np.log(3)]]
    np.testing.assert_allclose(predictive_entropy(probabilities), expected, atol=1e-6)


def test_mutual_information_is_what_members_disagree_on_and_not_what_all_are_unsure_of():
    agree_unsure = np.full((2, 2, 1, 1), 0.5)
    disagree_sure = np.array([[[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]]])
    assert mutual_information(agree_unsure).item() == pytest.approx(0, abs=1e-6)
    assert mutual_information(disagree_sure).item() == pytest.approx(1, abs=1e-6)
    assert mutual_information(disagree_sure[:1]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_temperature_keeps_the_argmax_and_divides_the_logits(temperature):
    logits = np.random.default_rng(0).normal(size=(4, 32, 32))
    changed = apply_temperature(softmax(logits), temperature)
    np.testing.assert_array_equal(changed.argmax(axis=0), logits.argmax(axis=0))
    np.testing.assert_allclose(changed, softmax(logits / temperature), atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_fit_finds_the_temperature_that_labels_were_drawn_with_and_passes_over_unlabelled_pixels(temperature):
    generator = np.random.default_rng(1)
    logits = generator.normal(scale=2, size=(3, 200, 200))
    drawn = softmax(logits / temperature).cumsum(axis=0)
    mask = np.minimum((generator.random((200, 200)) > drawn).sum(axis=0), 2).astype(np.uint8)
    mask[:, :20] = 255
    assert fit_temperature([softmax(logits)], [mask]) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([], "are 0 of 1 images"),
        ([np.full((2, 2), 255)], "label no pixel"),
        ([np.zeros((2, 3))], r"a mask of shape \(2, 3\)"),
        ([np.full((2, 2), 7)], "has class 7 in its mask and 2 predicted"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_one_line(masks, message):
    with pytest.raises(DataError, match=message) as error:
        fit_temperature([np.full((2, 2, 2), 0.5)], masks)
    assert "\n" not in str(error.value)
