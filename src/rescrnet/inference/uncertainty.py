"""How uncertain a prediction is, from its probabilities: entropy, mutual information, one temperature.

Entropy is the whole uncertainty of a pixel, mutual information the part on which the members of an ensemble disagree
(Depeweg et al. 2018, arXiv:1710.07283; Gal et al. 2017, arXiv:1703.02910): more training images take away the second,
not the first. One temperature, fitted on images that the models were not trained on, makes probabilities honest and
changes no class (Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE
from rescrnet.errors import DataError

_SMALLEST = 6e-8  # a probability of 0 has no logarithm; the smallest that float16, as which some are kept, tells from 0
_COLDEST, _HOTTEST = 0.05, 20.0
_STEPS = 60  # each leaves 0.62 of the interval
_GOLDEN = (5**0.5 - 1) / 2


def predictive_entropy(probabilities: NDArray[Any]) -> NDArray[np.float32]:
    """Entropy of each pixel, divided by the largest there can be: 0 certain, 1 all classes alike.

    Args:
        probabilities: (classes, …), that add up to 1 over the classes.

    Returns:
        (…) float32 in [0, 1].
    """
    return np.asarray(np.clip(_entropy(probabilities) / np.log(max(2, len(probabilities))), 0, 1), np.float32)


def mutual_information(members: NDArray[Any]) -> NDArray[np.float32]:
    """What the members disagree on: the entropy of their mean less the mean of their entropies, divided as above.

    Args:
        members: (members, classes, …) probabilities.

    Returns:
        (…) float32 in [0, 1]; 0 where all members are alike, as an only one is.
    """
    inner = np.mean(np.stack([_entropy(member) for member in members]), axis=0)
    total = _entropy(np.asarray(np.mean(members, axis=0, dtype=np.float64)))
    return np.asarray(np.clip((total - inner) / np.log(max(2, members.shape[1])), 0, 1), np.float32)


def apply_temperature(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float32]:
    """The probabilities at another temperature: softmax(log p / T), the softmax of logits divided by T.

    Args:
        probabilities: (classes, …), that add up to 1 over the classes.
        temperature: above 0; above 1 makes them more even, below 1 sharper.

    Returns:
        (classes, …) float32. The order of the classes of a pixel stays, but for rounding to equal values.
    """
    scaled = np.log(np.maximum(np.asarray(probabilities, np.float64), _SMALLEST)) / temperature
    powers = np.exp(scaled - scaled.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)


def fit_temperature(probabilities: Sequence[NDArray[Any]], masks: Sequence[NDArray[Any]]) -> float:
    """The temperature at which the true classes are likeliest.

    The negative log likelihood is convex in 1 / T, so it has one minimum, which a golden section finds in log T.

    Args:
        probabilities: for each image (classes, Y, X), predicted by models that were not trained on it.
        masks: for each image (Y, X) class indices, 255 unlabelled.

    Returns:
        The temperature, between 0.05 and 20.

    Raises:
        DataError: there are not as many masks as images, one has another size, a class that was not predicted, or no
            pixel is labelled.
    """
    if len(probabilities) != len(masks):
        raise DataError("masks", f"are {len(masks)} of {len(probabilities)} images", "give one for each image")
    pairs = [_labelled(*pair, f"image {index}") for index, pair in enumerate(zip(probabilities, masks, strict=True))]
    if not any(true.size for _, true in pairs):
        raise DataError("masks", "label no pixel", "a temperature is fitted on labelled pixels")
    logits = np.concatenate([logit for logit, _ in pairs], axis=1)
    true = np.concatenate([classes for _, classes in pairs])
    low, high = np.log(_COLDEST), np.log(_HOTTEST)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _loss(logits, true, np.exp(left)) <= _loss(logits, true, np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def _entropy(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """In nats, over the first axis."""
    wide = np.asarray(probabilities, np.float64)
    entropy: NDArray[np.float64] = -(wide * np.log(np.maximum(wide, _SMALLEST))).sum(axis=0)
    return entropy


def _labelled(
    probabilities: NDArray[Any], mask: NDArray[Any], name: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Log probabilities (classes, pixels) and true classes (pixels) of the labelled pixels."""
    if probabilities.shape[1:] != mask.shape:
        raise DataError(
            name,
            f"has probabilities of shape {probabilities.shape} and a mask of shape {mask.shape}",
            "expected (classes, Y, X) and (Y, X)",
        )
    known = mask != IGNORE
    true = mask[known].astype(np.int64)
    if true.size and not 0 <= true.min() <= true.max() < len(probabilities):
        raise DataError(
            name,
            f"has class {true.max()} in its mask and {len(probabilities)} predicted",
            f"expected 0 to {len(probabilities) - 1}, or 255 where nothing is labelled",
        )
    return np.log(np.maximum(probabilities[:, known].astype(np.float64), _SMALLEST)), true


def _loss(logits: NDArray[np.float64], true: NDArray[np.int64], temperature: float) -> float:
    """Mean negative log likelihood."""
    scaled = logits / temperature
    scaled -= scaled.max(axis=0)
    return float(np.mean(np.log(np.exp(scaled).sum(axis=0)) - scaled[true, np.arange(true.size)]))
