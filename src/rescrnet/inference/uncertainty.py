"""How uncertain a prediction is, from its probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 6e-8  # a probability of 0 has no logarithm; the smallest that float16, as which some are kept, tells from 0


def predictive_entropy(probabilities: NDArray[Any]) -> NDArray[np.float32]:
    """Entropy of each pixel, divided by the largest there can be: 0 certain, 1 all classes alike.

    Args:
        probabilities: (classes, …), that add up to 1 over the classes.

    Returns:
        (…) float32 in [0, 1].
    """
    wide = np.asarray(probabilities, np.float64)
    entropy = -(wide * np.log(np.maximum(wide, _SMALLEST))).sum(axis=0)
    return np.asarray(np.clip(entropy / np.log(max(2, len(probabilities))), 0, 1), np.float32)
