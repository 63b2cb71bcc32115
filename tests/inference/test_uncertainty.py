"""Entropy, against values worked by hand."""

import numpy as np

from rescrnet.inference.uncertainty import predictive_entropy


def test_entropy_is_0_where_certain_and_1_where_all_classes_are_alike():
    probabilities = np.array([[[1.0, 1 / 3, 0.5]], [[0.0, 1 / 3, 0.5]], [[0.0, 1 / 3, 0.0]]])
    expected = [[0, 1, np.log(2) / np.log(3)]]
    np.testing.assert_allclose(predictive_entropy(probabilities), expected, atol=1e-6)
