"""What the statistics of the evidence hold: coverage of intervals, false "better" of two arms that are the same.

``python benchmarks/simulations.py [--trials 2000] [--json FILE]``: about ten minutes for 2000 trials. The populations
are made up, and said below; seeds are fixed.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import stats

from rescrnet.evidence.statistics import corrected_difference, decide, interval, share_tested

SEED = 16


def normal(rng, n):
    """Scores around 0.8, deviation 0.1."""
    return rng.normal(0.8, 0.1, n)


def skewed(rng, n):
    """Beta with parameters 8 and 2: a mean of 0.8, a tail to the left, as IoU often has."""
    return rng.beta(8, 2, n)


def failing(rng, n):
    """One image in ten fails: evenly from 0 to 0.5; the others around 0.85, deviation 0.03."""
    return np.where(rng.random(n) < 0.1, rng.uniform(0, 0.5, n), rng.normal(0.85, 0.03, n))


POPULATIONS = {"normal": (normal, 0.8), "skewed": (skewed, 0.8), "failing": (failing, 0.1 * 0.25 + 0.9 * 0.85)}


def percentile(values, rng):
    """The percentile bootstrap, which many tools use."""
    means = values[rng.integers(len(values), size=(4000, len(values)))].mean(1)
    return np.quantile(means, (0.025, 0.975))


def coverage(trials):
    """Share of the intervals that hold the true mean, by population and number of images."""
    found = {}
    for name, (draw, mean) in POPULATIONS.items():
        for n in (4, 6, 8, 12, 16):
            rng = np.random.default_rng((SEED, n))
            ours = theirs = 0
            for trial in range(trials):
                values = draw(rng, n)
                one = interval(values, seed=trial)
                ours += one.low <= mean <= one.high
                low, high = percentile(values, rng)
                theirs += low <= mean <= high
            found.setdefault(name, {})[n] = {"studentised": float(ours / trials), "percentile": float(theirs / trials)}
            print(f"coverage {name} n={n}: {found[name][n]}", flush=True)
    return found


def arms(rng, images, folds, shared, of_fold, of_image):
    """Fold differences of two methods that are equally good on average.

    A difference has a part that the training images have in common (deviation ``shared``; folds share most of theirs),
    one of each fold's own training, and one of each image.
    """
    common = rng.normal(0, shared)
    return [common + rng.normal(0, of_fold) + rng.normal(0, of_image, images // folds).mean() for _ in range(folds)]


def false_better(trials):
    """Share of the trials in which one of two equal arms is called better, and in which a plain t-test says so."""
    found = {}
    for images, folds in ((8, 4), (12, 4), (20, 5), (20, 10)):
        for shared in (0.0, 0.01, 0.02):
            rng = np.random.default_rng((SEED, images, folds, round(shared * 1000)))
            called = {"better": 0, "worse": 0, "equivalent": 0, "undecided": 0}
            plain = 0
            for _ in range(trials):
                values = arms(rng, images, folds, shared, 0.02, 0.04)
                one = corrected_difference(values, share_tested(folds), margin=0.01, images=images)
                called[decide({"arm": one}, margin=0.01)["arm"]] += 1
                plain += stats.ttest_1samp(values, 0).pvalue < 0.05
            key = f"{images} images, {folds} folds, shared {shared}"
            found[key] = {"false": (called["better"] + called["worse"]) / trials, "plain t-test": float(plain / trials)}
            found[key]["equivalent"] = called["equivalent"] / trials
            print(f"false better {key}: {found[key]}", flush=True)
    return found


def learners(trials):
    """See :func:`learner`."""
    return {f"{images} images, {folds} folds": learner(trials, images, folds) for images, folds in ((12, 4), (20, 10))}


def learner(trials, images, folds):
    """The same of a real learner: two arms are one and the same ridge regression on random features, other features.

    Images are clouds of points with an offset of their own; scores are IoU of a threshold on the prediction.
    """
    false = plain = 0
    points = 60
    for trial in range(trials):
        rng = np.random.default_rng((SEED, images, folds, trial))
        x = rng.normal(0, 1, (images, points, 5)) + rng.normal(0, 0.5, (images, 1, 5))
        truth = (x @ rng.normal(0, 1, 5) + rng.normal(0, 1.0, (images, points))) > 0
        scores = np.zeros((2, images))
        for arm in range(2):
            features = np.tanh(x @ rng.normal(0, 1, (5, 12)))
            for fold in range(folds):
                test = np.arange(images) // (images // folds) == fold
                a, b = features[~test].reshape(-1, 12), truth[~test].reshape(-1) - 0.5
                weights = np.linalg.solve(a.T @ a + np.eye(12), a.T @ b)
                predicted = features[test] @ weights > 0
                both, either = (predicted & truth[test]).sum(1), (predicted | truth[test]).sum(1)
                scores[arm, test] = both / np.maximum(either, 1)
        values = (scores[1] - scores[0]).reshape(folds, -1).mean(1)
        one = corrected_difference(values, share_tested(folds), margin=0.01, images=images)
        false += decide({"arm": one}, margin=0.01)["arm"] in ("better", "worse")
        plain += stats.ttest_1samp(values, 0).pvalue < 0.05
    print(
        f"false better of a learner, {images} images, {folds} folds: {false / trials}, plain t-test {plain / trials}",
        flush=True,
    )
    return {"false": false / trials, "plain t-test": float(plain / trials)}


def main():
    """Run all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = {
        "trials": asked.trials,
        "seed": SEED,
        "coverage of 95 % intervals": coverage(asked.trials),
        "false better": false_better(asked.trials),
        "false better of a learner": learners(asked.trials),
    }
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
