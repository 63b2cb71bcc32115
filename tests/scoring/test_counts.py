"""Scores worked by hand."""

import numpy as np
import pytest
import torch

from rescrnet.nn.losses import LOSSES
from rescrnet.scoring.counts import Counts

# Two pixels, two classes: one right with 0.75, one wrong with 0.75.
PROBABILITIES = np.array([[[0.75, 0.75]], [[0.25, 0.25]]], dtype=np.float32)
MASK = np.array([[0, 1]], dtype=np.uint8)


def test_the_pooled_table_of_two_pixels():
    pooled = Counts.of(PROBABILITIES, MASK).pooled()
    # Σpt = 0.75 + 0.25, Σp = Σt = 2, Σp² = 2·(0.5625 + 0.0625), Σt² = 2; the complement has the same sums.
    assert pooled["dice_soft"] == pytest.approx((2 * 1 + 1) / (2 + 2 + 1))
    assert pooled["tanimoto"] == pytest.approx((1 + 1) / (1.25 + 2 - 1 + 1))
    # Above 0.5: one true positive, one false positive, one false negative.
    assert (pooled["jaccard"], pooled["precision"], pooled["recall"], pooled["f1"]) == (1 / 3, 1 / 2, 1 / 2, 1 / 2)


def test_the_scores_of_each_class_and_the_confusion_matrix():
    counts = Counts.of(PROBABILITIES, MASK)
    assert counts.confusion.tolist() == [[1, 0], [1, 0]]  # rows are the truth
    first, second = counts.per_class()
    assert (first["iou"], first["dice"], first["precision"], first["recall"]) == (1 / 2, 2 / 3, 1 / 2, 1)
    assert (second["iou"], second["dice"], second["precision"], second["recall"]) == (0, 0, None, 0)


def test_a_class_absent_from_truth_and_prediction_has_no_score():
    absent = Counts.of(np.array([[[1.0]], [[0.0]]], np.float32), np.zeros((1, 1), np.uint8)).per_class()[1]
    assert [absent[key] for key in ("iou", "dice", "precision", "recall")] == [None] * 4


def test_counts_of_images_pool_to_the_counts_of_their_union():
    rng = np.random.default_rng(0)
    raw = rng.random((3, 8, 10), dtype=np.float32)
    probabilities = raw / raw.sum(0)
    mask = rng.integers(0, 3, (8, 10)).astype(np.uint8)
    parts = [Counts.of(probabilities[:, rows], mask[rows]) for rows in (slice(0, 3), slice(3, 8))]
    whole = Counts.of(probabilities, mask)
    assert sum(parts, Counts.none(3)).pooled() == pytest.approx(whole.pooled())
    assert (sum(parts, Counts.none(3)).confusion == whole.confusion).all()


def test_tanimoto_and_dice_are_those_of_the_losses():
    rng = np.random.default_rng(1)
    raw = rng.random((3, 8, 10), dtype=np.float32)
    probabilities = raw / raw.sum(0)
    mask = rng.integers(0, 3, (8, 10)).astype(np.uint8)
    p = torch.from_numpy(probabilities)[None].double()
    t = torch.nn.functional.one_hot(torch.from_numpy(mask).long(), 3).permute(2, 0, 1)[None].double()
    pooled = Counts.of(probabilities, mask).pooled()
    assert pooled["tanimoto"] == pytest.approx(float(LOSSES["tani_coeff"](p, t)), abs=1e-6)
    assert pooled["dice_soft"] == pytest.approx(float(LOSSES["dice_coeff"](p, t)), abs=1e-6)


def test_a_perfect_prediction_scores_one():
    mask = np.array([[0, 1], [2, 2]], dtype=np.uint8)
    perfect = (np.arange(3)[:, None, None] == mask).astype(np.float32)
    counts = Counts.of(perfect, mask)
    assert set(counts.pooled().values()) == {1.0}
    assert all(scores["iou"] == 1 for scores in counts.per_class())
