"""The order in which regions and images are to be labelled."""

import numpy as np

from rescrnet.inference.rank import choose_at_random, class_weighted, rank_diverse, region_means
from rescrnet.inference.uncertainty import predictive_entropy


def test_region_means_are_right_at_margins():
    maps = np.arange(15.0).reshape(3, 5)
    np.testing.assert_allclose(region_means(maps, 2), [[3, 5, 6.5], [10.5, 12.5, 14]])


def test_a_planted_odd_image_ranks_first():
    foreground = np.full((6, 8, 8), 0.02)
    foreground[:, 2:4] = 0.97
    foreground[4] = 0.5
    probabilities = np.stack([1 - foreground, foreground], axis=1)
    uncertainty = np.stack([predictive_entropy(one) for one in probabilities])
    scores = class_weighted(uncertainty, probabilities).mean(axis=(1, 2))
    assert rank_diverse(scores, probabilities.mean(axis=(2, 3)), 6)[0] == 4


def test_a_twin_of_the_first_comes_after_a_less_uncertain_one_that_is_different():
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert rank_diverse(np.array([0.9, 0.8, 0.3]), features, 3) == [0, 2, 1]


def test_a_rare_class_weighs_more():
    probabilities = np.zeros((1, 2, 1, 4))
    probabilities[0, 0, 0, :3] = probabilities[0, 1, 0, 3] = 1
    weighted = class_weighted(np.full((1, 1, 4), 0.6), probabilities)
    np.testing.assert_allclose(weighted, [[[0.4, 0.4, 0.4, 1.2]]])


def test_a_random_choice_is_seeded_without_repeats_and_leaves_background_for_the_end():
    foreground = np.array([0, 0.5, 0, 0.1, 0.9])
    chosen = choose_at_random(foreground, 5, seed=3)
    assert chosen == choose_at_random(foreground, 5, seed=3)
    assert sorted(chosen) == [0, 1, 2, 3, 4]
    assert set(chosen[:3]) == {1, 3, 4}
