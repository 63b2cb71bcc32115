"""Unlabelled pixels, from the mask file to the score: what they do not say changes nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rescrnet.classes import IGNORE
from rescrnet.config import AugmentationConfig
from rescrnet.nn.losses import LOSSES, weights
from rescrnet.scoring.counts import Counts
from rescrnet.training.augment import Window, augmented_batch, class_indices, one_hot, one_hot_again

CLASSES = 3
MODES = ("contour", "volume", "both")
SIZE = (12, 14)
mask_arrays = arrays(np.uint8, SIZE, elements=st.sampled_from([0, 1, 2, IGNORE]))
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=15, deadline=None)


def probabilities(seed, images=1):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.dirichlet(np.ones(CLASSES), (images, *SIZE))).movedim(-1, 1)


def targets(*masks):
    return torch.stack([one_hot(mask, CLASSES).double() for mask in masks])


@given(mask_arrays)
@quick
def test_class_indices_are_the_inverse_of_one_hot(mask):
    np.testing.assert_array_equal(class_indices(one_hot(mask, CLASSES)), mask)


@pytest.mark.parametrize("name", LOSSES)
@given(mask=mask_arrays, seed=seeds)
@quick
def test_a_loss_does_not_depend_on_predictions_where_nothing_is_labelled(name, mask, seed):
    truth, one, other = targets(mask), probabilities(seed), probabilities(seed + 1)
    mixed = torch.where(truth.sum(1, keepdim=True) > 0, one, other).requires_grad_()
    loss = LOSSES[name](mixed, truth)
    assert loss.item() == LOSSES[name](one, truth).item()
    (gradient,) = torch.autograd.grad(loss, mixed)
    assert gradient.isfinite().all()
    assert not (gradient * (truth.sum(1, keepdim=True) == 0)).any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSSES)
def test_an_image_without_labels_changes_neither_loss_nor_gradient(name, mode):
    mask = np.random.default_rng(3).integers(0, CLASSES, SIZE).astype(np.uint8)
    mask[2:6] = IGNORE
    blank = np.full(SIZE, IGNORE, np.uint8)
    values = []
    for masks in ([mask], [mask, blank]):
        predicted = probabilities(0, len(masks)).requires_grad_()
        loss = LOSSES[name](predicted, targets(*masks), weight_mode=mode)
        values.append((loss, torch.autograd.grad(loss, predicted)[0]))
    (alone, gradient), (beside, gradients) = values
    torch.testing.assert_close(beside, alone, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradients[:1], gradient, rtol=1e-9, atol=1e-15)
    assert not gradients[1].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_labels_has_the_value_of_agreement_and_no_gradient(name):
    predicted = probabilities(0).requires_grad_()
    loss = LOSSES[name](predicted, targets(np.full(SIZE, IGNORE, np.uint8)))
    loss.backward()
    assert loss.item() == (1 if "coeff" in name else 0)
    assert not predicted.grad.any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LOSSES)
@given(mask=mask_arrays, seed=seeds, order=st.permutations(range(CLASSES)))
@settings(max_examples=5, deadline=None)
def test_a_permuted_class_order_changes_no_loss_and_permutes_the_gradient(name, mode, mask, seed, order):
    truth, found = targets(mask), []
    for places in (list(range(CLASSES)), list(order)):
        predicted = probabilities(seed)[:, places].requires_grad_()
        loss = LOSSES[name](predicted, truth[:, places], weight_mode=mode)
        found.append((loss, torch.autograd.grad(loss, predicted)[0]))
    (first, gradient), (second, permuted) = found
    torch.testing.assert_close(second, first, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(permuted, gradient[:, list(order)], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_weights_are_those_of_the_labelled_part_alone(mode):
    # Only the upper half is labelled: its weights are those of an image that ends there.
    mask = np.random.default_rng(0).integers(0, CLASSES, (40, 30)).astype(np.uint8)
    mask[:, :15] = 0
    half = mask.copy()
    half[20:] = IGNORE
    found = weights(targets(half), mode)
    torch.testing.assert_close(found[:, :, :20], weights(targets(mask[:20]), mode))
    assert not found[:, :, 20:].any()


def test_what_a_brush_has_painted_has_no_border_where_it_ends():
    painted = np.full((60, 60), IGNORE, np.uint8)
    painted[20:40, 20:40] = 1
    assert weights(targets(painted), "contour").unique().numel() == 2  # one weight there, none elsewhere


@given(mask=mask_arrays, seed=seeds)
@quick
def test_unlabelled_pixels_count_in_no_score(mask, seed):
    predicted, other = (probabilities(s)[0].numpy().astype(np.float32) for s in (seed, seed + 1))
    mixed = np.where(mask == IGNORE, other, predicted)
    counts, same = Counts.of(predicted, mask), Counts.of(mixed, mask)
    assert counts.pooled() == same.pooled()
    assert counts.per_class() == same.per_class()
    assert counts.confusion.sum() == (mask != IGNORE).sum()


def test_an_image_without_labels_adds_nothing_to_the_scores():
    blank = Counts.of(probabilities(0)[0].numpy(), np.full(SIZE, IGNORE, np.uint8))
    assert not blank.sums.any()
    assert not blank.threshold.any()
    assert not blank.confusion.any()


@given(mask=mask_arrays, seed=seeds, order=st.permutations(range(CLASSES)))
@quick
def test_a_permuted_class_order_permutes_the_scores_and_changes_none(mask, seed, order):
    predicted = probabilities(seed)[0].numpy()
    places = [*np.argsort(order).tolist(), *[0] * (IGNORE - CLASSES), IGNORE]
    permuted = Counts.of(predicted[list(order)], np.array(places, np.uint8)[mask])
    counts = Counts.of(predicted, mask)
    assert permuted.pooled() == pytest.approx(counts.pooled())
    assert permuted.per_class() == [counts.per_class()[place] for place in order]


@given(mask=arrays(np.uint8, SIZE, elements=st.sampled_from([0, 2, IGNORE])), seed=seeds)
@quick
def test_an_absent_class_leaves_the_scores_of_the_others_as_they_are(mask, seed):
    rng = np.random.default_rng(seed)
    two = rng.dirichlet(np.ones(2), SIZE).transpose(2, 0, 1)
    three = np.stack([two[0], np.zeros(SIZE), two[1]])
    without = Counts.of(two, np.where(mask == 2, 1, mask).astype(np.uint8)).per_class()
    with_absent = Counts.of(three, mask).per_class()
    assert [with_absent[0], with_absent[2]] == without
    assert with_absent[1]["iou"] is None


STILL = AugmentationConfig(rotation=0, shift=0, shear=0, zoom=0, flip=False)


def painted(shape=(40, 50)):
    mask = np.full(shape, IGNORE, np.uint8)
    mask[10:13, 10:30] = 0
    mask[13:15, 10:30] = 1
    mask[30, 40] = 2
    return mask


def test_smoothing_neither_spreads_nor_eats_what_is_labelled():
    masks = one_hot(painted(), CLASSES)[None]
    np.testing.assert_array_equal(class_indices(one_hot_again(masks)[0]) == IGNORE, painted() == IGNORE)


def test_a_window_at_rest_shows_the_mask_as_it_was_painted():
    mask = painted()
    image = torch.rand(1, *mask.shape, generator=torch.Generator().manual_seed(0))
    _, masks = augmented_batch([image], [one_hot(mask, CLASSES)], mask.shape, STILL, [np.random.default_rng(0)])
    np.testing.assert_array_equal(class_indices(masks[0]), mask)


def test_the_labelled_share_stays_what_it_was_under_augmentation():
    mask = np.full((200, 200), IGNORE, np.uint8)
    mask[60:140, 60:140] = np.kron(np.eye(10, dtype=np.uint8), np.ones((8, 8), np.uint8))
    turned = AugmentationConfig(zoom=0, shear=0, shift=0)
    for seed in range(5):
        _, masks = augmented_batch(
            [torch.zeros(1, 200, 200)], [one_hot(mask, 2)], (200, 200), turned, [np.random.default_rng(seed)]
        )
        assert float(masks.sum()) == pytest.approx(6400, rel=0.01)
        assert float(masks[:, 1].sum()) == pytest.approx(640, rel=0.12)  # smoothing rounds the corners of squares


def test_every_patch_has_a_labelled_pixel_and_the_same_seed_draws_the_same_patch():
    mask = np.full((300, 400), IGNORE, np.uint8)
    mask[250, 30] = 1
    image, encoded = torch.rand(1, 300, 400, generator=torch.Generator().manual_seed(0)), one_hot(mask, 2)
    for seed in range(20):
        draws = [
            augmented_batch([image], [encoded], (32, 48), AugmentationConfig(), [np.random.default_rng(seed)])
            for _ in range(2)
        ]
        assert draws[0][1].sum() >= 1
        assert torch.equal(draws[0][0], draws[1][0])


@given(seed=seeds)
@quick
def test_a_window_about_a_pixel_shows_it_in_its_middle_half(seed):
    rng = np.random.default_rng(seed)
    image = torch.zeros(1, 60, 80)
    image[0, 20, 70] = 1
    window = Window.draw(rng, (60, 80), (16, 20), AugmentationConfig()).about((20, 70), (16, 20), rng)
    found = window.read(image, (16, 20))[0]
    row, column = divmod(int(found.argmax()), 20)
    assert found.max() > 0.99
    assert 4 <= row < 12
    assert 5 <= column < 15
