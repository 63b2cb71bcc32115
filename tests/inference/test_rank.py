"""The order in which regions and images are to be labelled."""

import numpy as np

from rescrnet.inference.rank import choose_at_random, rank_diverse, region_means


def test_region_means_are_right_at_margins():
    maps = np.arange(15.0).reshape(3, 5)
    np.testing.assert_allclose(region_means(maps, 2), [[3, 5, 6.5], [10.5, 12.5, 14]])


def test_a_twin_of_the_first_comes_after_a_less_uncertain_one_that_is_different():
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert rank_diverse(np.array([0.9, 0.8, 0.3]), features, 3) == [0, 2, 1]


def test_a_random_choice_is_seeded_without_repeats_and_leaves_background_for_the_end():
    foreground = np.array([0, 0.5, 0, 0.1, 0.9])
    chosen = choose_at_random(foreground, 5, seed=3)
    assert chosen == choose_at_random(foreground, 5, seed=3)
    assert sorted(chosen) == [0, 1, 2, 3, 4]
    assert set(chosen[:3]) == {1, 3, 4}
