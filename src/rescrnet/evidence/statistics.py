"""Intervals for few images, and tests that do not find what is not there. Needs nothing but NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Verdict = Literal["better", "worse", "equivalent", "undecided"]

RESAMPLES = 4000
FEWEST_TO_DECIDE = 6
"""Images. Below, nothing is called better, however large the difference."""
_FEWEST_FOR_INTERVAL = 3  # groups
_FEWEST_FOR_BOOTSTRAP = 4  # groups; of three there are too few resamples
_MOST_FOLDS = 4  # whose correction is believed


@dataclass(frozen=True)
class Interval:
    """A mean with an interval.

    Attributes:
        mean: of all values; NaN where there are none.
        low: the lower end; NaN where there are too few groups for an interval.
        high: the upper end.
        values: how many there are.
        groups: how many of them are independent.
    """

    mean: float
    low: float
    high: float
    values: int
    groups: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low))


def interval(
    values: Sequence[float] | NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
) -> Interval:
    """Interval for the mean of a few values by a studentised bootstrap.

    The mean of every resample is divided by the resample's own standard error (bootstrap-t), so that the interval is
    wide where the few values cannot tell how wide it should be. Whole groups are drawn: images of one animal count as
    one observation. NaN among the values is left out. Of three groups, too few to resample, it is Student's.

    Args:
        values: the score of every image.
        groups: what each image was taken from; each image by itself where left out.
        level: the share of intervals that are to hold the true mean.
        bounds: the smallest and the largest score that there can be.
        seed: same seed, same interval.

    Returns:
        The mean and its interval; no interval (NaN) of fewer than three groups.

    References:
        B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), section 12.5.
    """
    given = np.asarray(values, np.float64)
    names = np.arange(len(given)).astype(str) if groups is None else np.asarray(groups, str)
    known = np.isfinite(given)
    given, names = given[known], names[known]
    nothing = float("nan")
    if not given.size:
        return Interval(nothing, nothing, nothing, 0, 0)
    _, which = np.unique(names, return_inverse=True)
    sizes = np.bincount(which).astype(np.float64)
    sums = np.bincount(which, weights=given).astype(np.float64)
    mean = float(given.mean())
    if len(sizes) < _FEWEST_FOR_INTERVAL:
        return Interval(mean, nothing, nothing, given.size, len(sizes))
    _, own = _means_and_errors(sums[None], sizes[None])
    if len(sizes) < _FEWEST_FOR_BOOTSTRAP:
        half = float(stats.t.ppf((1 + level) / 2, len(sizes) - 1) * own[0])
        low, high = np.clip((mean - half, mean + half), *bounds)
        return Interval(mean, float(low), float(high), given.size, len(sizes))
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(RESAMPLES, len(sizes)))
    means, errors = _means_and_errors(sums[drawn], sizes[drawn])
    usable = errors > 1e-9 * max(1.0, float(own[0]))  # a resample of one group alone says nothing
    if not usable.any() or own[0] == 0:
        return Interval(mean, mean, mean, given.size, len(sizes))
    pivots = (means[usable] - mean) / errors[usable]
    low, high = np.quantile(pivots, ((1 - level) / 2, (1 + level) / 2))
    ends = np.clip((mean - high * own[0], mean - low * own[0]), *bounds)
    return Interval(mean, float(ends[0]), float(ends[1]), given.size, len(sizes))


def how_interval(groups: int) -> str:
    """What an :func:`interval` over so many groups is, for a sentence."""
    return (
        "Student's t-distribution"
        if groups < _FEWEST_FOR_BOOTSTRAP
        else f"a studentised bootstrap ({RESAMPLES:,} resamples)"
    )


def _means_and_errors(
    sums: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean of all values and its standard error, from the (resamples, groups) sums and sizes of groups."""
    groups, total = sums.shape[1], sizes.sum(1)
    means = sums.sum(1) / total
    residuals = np.square(sums - sizes * means[:, None]).sum(1)
    return means, np.sqrt(groups / (groups - 1) * residuals) / total


@dataclass(frozen=True)
class Difference:
    """How two methods differ on the same folds.

    Attributes:
        mean: of the differences, over folds.
        low: lower end of the corrected interval of 95 %.
        high: upper end.
        p_different: that they do not differ at all.
        p_beyond: that they differ by the margin or more; the larger of two one-sided tests.
        images: how many were scored.
    """

    mean: float
    low: float
    high: float
    p_different: float
    p_beyond: float
    images: int


def corrected_difference(
    differences: Sequence[float], test_share: float, *, margin: float, images: int, level: float = 0.95
) -> Difference:
    """The corrected resampled t-test, against no difference and against a margin.

    Folds share most of their training images, so their scores vary together, and the t-test as usual takes them for
    more evidence than they are. Nadeau and Bengio widen the variance of the mean of J folds from s²/J to
    s²·(1/J + n_test/n_train).

    Args:
        differences: mean difference of each fold, its images and seeds averaged.
        test_share: images that a fold tests, divided by those that it trains on.
        margin: what difference does not matter; half the region of practical equivalence.
        images: how many were scored, all folds together.
        level: of the interval.

    References:
        C. Nadeau, Y. Bengio, Inference for the generalization error, Machine Learning 52 (2003), 239-281,
        https://doi.org/10.1023/A:1024068626366
    """
    values = np.asarray(differences, np.float64)
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if values.size else float("nan")
    if len(values) < 2:
        return Difference(mean, float("nan"), float("nan"), 1.0, 1.0, images)
    error = float(np.sqrt(values.var(ddof=1) * (1 / len(values) + test_share)))
    freedom = len(values) - 1
    if error == 0:
        return Difference(mean, mean, mean, float(mean == 0), float(abs(mean) >= margin), images)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    different = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    beyond = max(
        float(stats.t.sf((mean + margin) / error, freedom)), float(stats.t.cdf((mean - margin) / error, freedom))
    )
    return Difference(mean, mean - half, mean + half, different, beyond, images)


def share_tested(folds: int) -> float:
    """What :func:`corrected_difference` is to take for the share of test images, with so many folds.

    With more than four folds it is that of four: what the seeds and the shared training images favour by chance does
    not shrink with more folds, though n_test/n_train does. Without this, one of two equal learners is called better in
    12 % of the trials with ten folds (``benchmarks/simulations.py``).
    """
    return 1 / (min(folds, _MOST_FOLDS) - 1)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values of several tests, so that one false finding among all of them is as rare as in one test.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def decide(differences: Mapping[str, Difference], *, margin: float, alpha: float = 0.05) -> dict[str, Verdict]:
    """What can be said of each method against the one that all are compared with.

    *better* or *worse*: it differs after Holm's correction, and by at least the margin. *equivalent*: a difference as
    large as the margin is ruled out, after the same correction. *undecided*: neither, or fewer than six images.
    """
    different = holm([difference.p_different for difference in differences.values()])
    beyond = holm([difference.p_beyond for difference in differences.values()])
    verdicts: dict[str, Verdict] = {}
    for (name, difference), p_different, p_beyond in zip(differences.items(), different, beyond, strict=True):
        verdicts[name] = "undecided"
        if difference.images < FEWEST_TO_DECIDE:
            continue
        if p_beyond < alpha:
            verdicts[name] = "equivalent"
        elif p_different < alpha and abs(difference.mean) >= margin:
            verdicts[name] = "better" if difference.mean > 0 else "worse"
    return verdicts
