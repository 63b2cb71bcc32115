"""Intervals hold what they promise, and tests do not find what is not there."""

import numpy as np
import pytest
from scipy import stats

from rescrnet.evidence.statistics import Difference, corrected_difference, decide, holm, interval, share_tested

POPULATIONS = {
    "normal": (lambda rng, n: rng.normal(0.8, 0.1, n), 0.8),
    "skewed": (lambda rng, n: rng.beta(8, 2, n), 0.8),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_intervals_of_eight_images_cover_at_least_85_percent(name):
    draw, mean = POPULATIONS[name]
    rng = np.random.default_rng(16)
    held = 0
    for trial in range(150):
        found = interval(draw(rng, 8), seed=trial)
        held += found.low <= mean <= found.high
    assert held / 150 >= 0.85


def test_intervals_of_few_groups_are_wider_than_of_as_many_images():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(0.8, 0.1, 4), 5) + rng.normal(0, 0.01, 20)
    groups = [f"animal {index // 5}" for index in range(20)]
    alone, grouped = interval(values), interval(values, groups)
    assert grouped.mean == pytest.approx(alone.mean)
    assert (grouped.high - grouped.low) > 1.5 * (alone.high - alone.low)
    assert (grouped.groups, grouped.values) == (4, 20)


def test_an_interval_stays_where_scores_can_be():
    found = interval([0.99, 0.999, 0.7, 0.98], bounds=(0, 1))
    assert 0 <= found.low < found.mean < found.high <= 1


def test_intervals_of_three_folds_hold_the_mean_where_seeds_differ_more_than_folds():
    rng = np.random.default_rng(3)
    held, folds = 0, np.repeat(["1", "2", "3"], 4)
    for trial in range(400):
        luck = rng.normal(0, 0.03, (3, 2)).mean(1)  # of the trainings of two seeds
        found = interval(np.repeat(luck, 4) + rng.normal(0, 0.01, 12), folds, seed=trial)
        held += found.low <= 0 <= found.high
    assert held / 400 >= 0.92  # the bootstrap: 0.80


def test_of_three_groups_the_interval_is_students():
    values = np.array([0.5, 0.62, 0.7])
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert interval(values, bounds=(0.5, 0.65)).high == 0.65


def test_two_groups_have_a_mean_and_no_interval():
    found = interval([0.5, 0.6, np.nan])
    assert found.mean == pytest.approx(0.55)
    assert not found.known


def test_equal_values_have_an_interval_of_no_width():
    found = interval([0.5] * 6)
    assert (found.low, found.high) == (0.5, 0.5)


def test_the_corrected_test_is_the_t_test_with_a_wider_variance():
    values = np.array([0.02, 0.05, 0.01, 0.04])
    uncorrected = corrected_difference(values, 0.0, margin=0.01, images=8)
    assert uncorrected.p_different == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    corrected = corrected_difference(values, 1 / 3, margin=0.01, images=8)
    error = values.std(ddof=1) * np.sqrt(1 / 4 + 1 / 3)  # by hand, Nadeau and Bengio's
    assert corrected.p_different == pytest.approx(2 * stats.t.sf(values.mean() / error, 3))
    assert corrected.high - corrected.mean == pytest.approx(stats.t.ppf(0.975, 3) * error)


def test_holm_as_worked_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def difference(mean, p_different, p_beyond, images=12):
    return Difference(mean, mean - 0.1, mean + 0.1, p_different, p_beyond, images)


def test_verdicts():
    found = decide(
        {
            "much better": difference(0.05, 0.001, 1.0),
            "much worse": difference(-0.05, 0.001, 1.0),
            "the same": difference(0.001, 0.6, 0.001),
            "who knows": difference(0.03, 0.3, 0.8),
            "surely but hardly better": difference(0.005, 0.001, 0.2),
        },
        margin=0.01,
    )
    assert list(found.values()) == ["better", "worse", "equivalent", "undecided", "undecided"]


def test_five_images_never_decide():
    assert decide({"a": difference(0.4, 1e-9, 1.0, images=5)}, margin=0.01) == {"a": "undecided"}


def same_arms(rng, images=12, folds=4):
    """Fold differences of two methods that are equally good: images differ, and folds share training images."""
    shared = rng.normal(0, 0.02)  # what the training images have in common favours one of them by chance
    of_fold = rng.normal(0, 0.02, folds)
    return [shared * 0.5 + of_fold[fold] + rng.normal(0, 0.04, images // folds).mean() for fold in range(folds)]


def test_two_equal_arms_are_called_better_in_at_most_7_percent_where_the_plain_test_errs_more():
    rng = np.random.default_rng(3)
    better = plain = 0
    for _ in range(800):
        values = same_arms(rng)
        found = {"a": corrected_difference(values, share_tested(4), margin=0.01, images=12)}
        better += decide(found, margin=0.01)["a"] in ("better", "worse")
        plain += stats.ttest_1samp(values, 0).pvalue < 0.05
    assert better / 800 <= 0.07
    assert plain > 1.5 * better


def equal_learners(seed, images=20, folds=10, points=60):
    """Fold differences of IoU between one and the same ridge regression on two draws of random features."""
    rng = np.random.default_rng((16, seed))
    x = rng.normal(0, 1, (images, points, 5)) + rng.normal(0, 0.5, (images, 1, 5))
    truth = (x @ rng.normal(0, 1, 5) + rng.normal(0, 1.0, (images, points))) > 0
    scores = np.zeros((2, images))
    for arm in range(2):
        features = np.tanh(x @ rng.normal(0, 1, (5, 12)))
        for fold in range(folds):
            test = np.arange(images) // (images // folds) == fold
            a, b = features[~test].reshape(-1, 12), truth[~test].reshape(-1) - 0.5
            predicted = features[test] @ np.linalg.solve(a.T @ a + np.eye(12), a.T @ b) > 0
            scores[arm, test] = (predicted & truth[test]).sum(1) / np.maximum((predicted | truth[test]).sum(1), 1)
    return (scores[1] - scores[0]).reshape(folds, -1).mean(1)


def test_equal_learners_are_not_told_apart_by_ten_folds_where_the_correction_as_published_errs():
    trials = [equal_learners(seed) for seed in range(250)]

    def called(share):
        found = [corrected_difference(values, share, margin=0.01, images=20) for values in trials]
        return sum(decide({"a": one}, margin=0.01)["a"] in ("better", "worse") for one in found) / len(trials)

    assert called(share_tested(10)) <= 0.07 < called(1 / 9)


def test_a_large_difference_is_found():
    rng = np.random.default_rng(4)
    found = sum(
        decide({"a": corrected_difference(np.array(same_arms(rng)) + 0.2, 1 / 3, margin=0.01, images=12)}, margin=0.01)[
            "a"
        ]
        == "better"
        for _ in range(200)
    )
    assert found / 200 > 0.8
