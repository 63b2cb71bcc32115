"""What to label next: uncertain regions that are unlike each other, and a random choice to compare with.

The order is greedy: the next region is the one whose uncertainty, times its distance from those already chosen, is
largest, after the k-centre choice of Sener and Savarese (2018, arXiv:1708.00489), weighted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

REGION = 64  # pixels


def region_means(maps: NDArray[Any], side: int = REGION) -> NDArray[np.float64]:
    """Means over square regions; those at the lower and right margin may be smaller.

    Args:
        maps: (…, Y, X), none of them empty.
        side: of a region, pixels.

    Returns:
        (…, rows of regions, columns of regions).
    """
    rows, columns = np.arange(0, maps.shape[-2], side), np.arange(0, maps.shape[-1], side)
    sums = np.add.reduceat(np.add.reduceat(maps.astype(np.float64), rows, axis=-2), columns, axis=-1)
    heights, widths = np.diff(rows, append=maps.shape[-2]), np.diff(columns, append=maps.shape[-1])
    means: NDArray[np.float64] = sums / np.outer(heights, widths)
    return means


def rank_diverse(uncertainty: NDArray[Any], features: NDArray[Any], number: int) -> list[int]:
    """The indices of ``number`` candidates, uncertain and unlike each other, the first to be labelled first.

    Args:
        uncertainty: (candidates,), at least 0.
        features: (candidates, features), such as mean class probabilities; their distance is Euclidean.
        number: of those to choose; all are ranked where there are fewer.

    Returns:
        Indices. The first is the most uncertain; of equal ones the earlier goes first.
    """
    left = np.ones(len(uncertainty), bool)
    distance = np.ones(len(uncertainty))
    chosen: list[int] = []
    while left.any() and len(chosen) < number:
        # Those that are as far, or all at no distance, are told apart by their uncertainty alone.
        gain = uncertainty * (distance + 1e-9)
        best = int(np.argmax(np.where(left, gain, -1.0)))
        away = np.linalg.norm(features - features[best], axis=1)
        distance = np.minimum(distance, away) if chosen else away
        chosen.append(best)
        left[best] = False
    return chosen


def choose_at_random(foreground: NDArray[Any], number: int, seed: int = 0) -> list[int]:
    """A random choice that passes over empty background: each candidate is as likely as its share of foreground.

    Args:
        foreground: (candidates,) share of pixels that are not background, 0 to 1.
        number: of those to choose; all are where there are fewer.
        seed: the same gives the same choice.

    Returns:
        Indices, none twice. Candidates without foreground come last.
    """
    keys = np.random.default_rng(seed).exponential(size=len(foreground))
    return [int(index) for index in np.argsort(keys / np.maximum(foreground, 1e-9), kind="stable")[:number]]
