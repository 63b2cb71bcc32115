"""Scores of objects are those of ``stardist.matching``, here stated once more, plainly."""

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.optimize import linear_sum_assignment

from rescrnet.objects.match import THRESHOLDS, ObjectCounts, best_overlaps


def plainly(true, predicted, threshold):
    """Matches, and the sum of their IoUs: the most pairs, then the best, by an assignment of all to all."""
    iou = np.zeros((true.max() + 1, predicted.max() + 1))
    for one in range(1, true.max() + 1):
        for other in np.unique(predicted[true == one]):
            if other:
                both = ((true == one) & (predicted == other)).sum()
                iou[one, other] = both / ((true == one) | (predicted == other)).sum()
    iou = iou[1:, 1:]
    if not iou.size:
        return 0, 0.0
    rows, columns = linear_sum_assignment(-(iou >= threshold).astype(float) - iou / (2 * min(iou.shape)))
    kept = iou[rows, columns] >= threshold
    return int(kept.sum()), float(iou[rows, columns][kept].sum())


def pairs():
    random = np.random.default_rng(0)
    for number in range(60):
        shape = random.integers(4, 30, 2)
        true = label(random.random(shape) < 0.5)[0]
        changed = [
            label(random.random(shape) < 0.5)[0],
            np.where(random.random(shape) < 0.2, 0, true),
            label(np.roll(true > 0, 1, 1))[0],
            (true + 1) // 2,
        ]
        yield true, changed[number % 4]
    stripes = np.repeat(np.arange(1, 9)[:, None], 12, 1)
    yield stripes, (stripes + 1) // 2  # every IoU is just one half
    yield stripes, np.where(np.arange(12) < 6, stripes, stripes + 8)
    yield np.zeros((4, 4), int), np.ones((4, 4), int)
    yield np.zeros((4, 4), int), np.zeros((4, 4), int)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_matches_are_those_of_the_plain_statement(threshold):
    for true, predicted in pairs():
        counts, (hits, overlap) = ObjectCounts.of(true, predicted), plainly(true, predicted, threshold)
        n_true, n_predicted = len(np.unique(true[true > 0])), len(np.unique(predicted[predicted > 0]))
        place = THRESHOLDS.index(threshold)
        assert (counts.true, counts.predicted, counts.matched[place]) == (n_true, n_predicted, hits)
        assert counts.overlap[place] == pytest.approx(overlap)
        scores, false = counts.at(threshold), n_predicted - hits + n_true - hits
        if hits + false:
            assert scores["average_precision"] == pytest.approx(hits / (hits + false))
            assert scores["f1"] == pytest.approx(2 * hits / (2 * hits + false))
            assert scores["panoptic_quality"] == pytest.approx(overlap / (hits + false / 2))
        else:
            assert set(scores.values()) == {None}
        assert scores["mean_matched_iou"] == (pytest.approx(overlap / hits) if hits else None)


def test_matches_are_those_of_stardist():
    pytest.importorskip("csbdeep")
    matching = pytest.importorskip("stardist.matching").matching
    for true, predicted in pairs():
        counts = ObjectCounts.of(true, predicted)
        for threshold in THRESHOLDS:
            theirs, ours = matching(true, predicted, thresh=threshold), counts.at(threshold)
            assert (theirs.tp, theirs.n_true, theirs.n_pred) == (
                counts.matched[THRESHOLDS.index(threshold)],
                counts.true,
                counts.predicted,
            )
            for name, value in (("f1", theirs.f1), ("average_precision", theirs.accuracy)):
                assert (ours[name] or 0) == pytest.approx(value)


def test_a_true_object_in_two_pieces_is_split_and_two_in_one_are_merged():
    one = np.array([[1, 1, 1, 1, 1, 1, 0, 2, 2]])
    two = np.array([[1, 1, 1, 2, 2, 2, 0, 3, 3]])
    assert (ObjectCounts.of(one, two).split, ObjectCounts.of(one, two).merged) == (1, 0)
    assert (ObjectCounts.of(two, one).split, ObjectCounts.of(two, one).merged) == (0, 1)


def test_predictions_where_nothing_is_labelled_do_not_count():
    true = np.array([[1, 1, 0, 0, 0, 0]])
    found = np.array([[1, 1, 0, 2, 2, 2]])
    unlabelled = np.array([[0, 0, 0, 0, 1, 1]], bool)
    assert ObjectCounts.of(true, found).predicted == 2
    counts = ObjectCounts.of(true, found, unlabelled)
    assert (counts.predicted, counts.at(0.9)["f1"]) == (1, 1.0)


def test_counts_of_images_add_up():
    one = np.array([[1, 1, 0, 2]])
    total = ObjectCounts.of(one, one) + ObjectCounts.of(one, np.zeros_like(one))
    assert (total.true, total.predicted, total.matched.tolist()) == (4, 2, [2] * 5)
    assert total.at(0.5)["average_precision"] == total.mean_average_precision == 0.5


def test_the_best_overlap_of_each_object():
    true, predicted = np.array([[1, 1, 2, 0]]), np.array([[1, 0, 0, 2]])
    best_true, best_predicted = best_overlaps(true, predicted)
    assert best_true.tolist() == [0, 0.5, 0]
    assert best_predicted.tolist() == [0, 0.5, 0]
