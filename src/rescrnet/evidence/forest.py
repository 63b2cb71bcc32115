"""A random forest on filtered intensities: what ilastik, Labkit and Weka do, and what everything else must beat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE
from rescrnet.datasets.dataset import Sample
from rescrnet.evidence.methods import Fitted, Task

TREES = 100
_AT_A_TIME = 10  # trees: the time is looked at in between
_PIXELS = 100_000  # of all training images together
_SIGMAS = (1.0, 16.0)  # of the finest and the coarsest filter, pixels; those between double
_HALO = 80  # pixels around a strip: the coarsest filter reaches 64, and the Hessian a little further
_STRIP = 400_000  # pixels whose features are in memory at one time


def fit_forest(task: Task) -> Fitted:
    """Fit the forest to labelled pixels drawn evenly from all training images.

    Features are intensity, gradient and the eigenvalues of the Hessian of every channel after Gaussian filters of
    sigma 1 to 16. Trees are added until there are a hundred, or the time is over.
    """
    from sklearn.ensemble import RandomForestClassifier

    started = time.monotonic()
    rng = np.random.default_rng(task.seed)
    drawn = [_draw(sample, rng, _PIXELS // len(task.dataset.train)) for sample in task.dataset.train]
    features = np.concatenate([one[0] for one in drawn])
    truth = np.concatenate([one[1] for one in drawn])
    task.heard(0.3)
    forest = RandomForestClassifier(0, min_samples_leaf=2, warm_start=True, random_state=task.seed, n_jobs=_threads())
    for trees in range(_AT_A_TIME, TREES + 1, _AT_A_TIME):
        forest.set_params(n_estimators=trees).fit(features, truth)
        spent, seconds = time.monotonic() - started, task.budget.seconds
        if seconds is not None and spent > seconds:
            if trees == _AT_A_TIME and spent > 2 * seconds:
                raise task.budget.too_small("forest", spent, f"{_AT_A_TIME} trees")
            break
        task.heard(0.3 + 0.7 * trees / TREES)
    nodes = sum(int(tree.tree_.node_count) for tree in forest.estimators_)
    return Fitted(_Predictor(forest, len(task.dataset.classes)), nodes)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


class _Predictor:
    """Predicts an image strip by strip, so that the features of large ones need not fit the memory."""

    def __init__(self, forest: Any, classes: int) -> None:
        self._forest, self._classes = forest, classes

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities = np.zeros((self._classes, *image.shape[:2]), np.float32)
        for rows, features in _strips(image):
            found = self._forest.predict_proba(features.reshape(-1, features.shape[-1]))
            for column, index in enumerate(self._forest.classes_):  # a class that no drawn pixel has stays 0
                probabilities[index, rows] = found[:, column].reshape(features.shape[:2])
        return probabilities


def _draw(sample: Sample, rng: np.random.Generator, pixels: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Features and classes of some labelled pixels of an image."""
    labelled = np.flatnonzero(sample.mask != IGNORE)
    chosen = np.sort(rng.choice(labelled, min(pixels, labelled.size), replace=False))
    width = sample.mask.shape[1]
    parts = []
    for rows, features in _strips(sample.image):
        inside = chosen[(chosen >= rows.start * width) & (chosen < rows.stop * width)] - rows.start * width
        parts.append(features.reshape(-1, features.shape[-1])[inside])
    return np.concatenate(parts), sample.mask.ravel()[chosen]


def _strips(image: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Rows of an image with their features (rows, X, features)."""
    height = max(1, _STRIP // image.shape[1])
    for top in range(0, image.shape[0], height):
        bottom = min(top + height, image.shape[0])
        first = max(0, top - _HALO)
        yield slice(top, bottom), features_of(image[first : bottom + _HALO])[top - first : bottom - first]


def features_of(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The features of an image YXC → (Y, X, features) float32."""
    from skimage.feature import multiscale_basic_features

    found = multiscale_basic_features(
        image,
        intensity=True,
        edges=True,
        texture=True,
        sigma_min=_SIGMAS[0],
        sigma_max=_SIGMAS[1],
        channel_axis=-1,
    )
    return np.asarray(found, np.float32)
