"""A fully connected conditional random field behind any method, as the networks that the paper argues against have one.

P. Krähenbühl, V. Koltun, Efficient inference in fully connected CRFs with Gaussian edge potentials, NIPS 2011,
https://arxiv.org/abs/1210.5644, with the weights of the examples of its library; they are not fitted to the data.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import UsageError
from rescrnet.evidence.methods import Fitted, Predictor
from rescrnet.intensity import percentiles
from rescrnet.wording import one_line

_SMOOTHNESS, _NEAR = 3, 3  # weight, and standard deviation in pixels
_APPEARANCE, _FAR, _ALIKE = 10, 80, 13 / 255  # weight, standard deviations in pixels and in intensity
_ITERATIONS = 10
_SMALLEST = 1e-6  # probability


def behind(fitted: Fitted) -> Fitted:
    """A method whose probabilities a random field makes smoother, and its outlines follow the intensities."""
    return replace(fitted, predict=_refined(fitted.predict))


def _refined(predict: Predictor) -> Predictor:
    def refined(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return refine(image, predict(image))

    return refined


def refine(image: NDArray[np.float32], probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (classes, Y, X) of an image YXC, after mean-field inference; they sum to 1.

    Intensities are brought to [0, 1] by the 0.5 and 99.5 percentiles of each channel.

    Raises :class:`UsageError` where the library cannot be loaded.
    """
    dense, utils = _library()
    classes, height, width = probabilities.shape
    low, high = percentiles(image.reshape(-1, image.shape[-1]), (0.5, 99.5))
    shown = np.ascontiguousarray(np.clip((image - low) / np.maximum(high - low, 1e-6), 0, 1), np.float32)
    field = dense.DenseCRF(height * width, classes)
    energy = -np.log(np.maximum(probabilities, _SMALLEST)).reshape(classes, -1)
    field.setUnaryEnergy(np.ascontiguousarray(energy, np.float32))
    smooth = utils.create_pairwise_gaussian((_NEAR, _NEAR), (height, width))
    field.addPairwiseEnergy(smooth, compat=_SMOOTHNESS)
    alike = utils.create_pairwise_bilateral((_FAR, _FAR), (_ALIKE,) * image.shape[-1], shown, chdim=2)
    field.addPairwiseEnergy(alike, compat=_APPEARANCE)
    found = np.array(field.inference(_ITERATIONS), np.float32).reshape(classes, height, width)
    return np.asarray(found / found.sum(axis=0), np.float32)


def _library() -> tuple[Any, Any]:
    try:
        return import_module("pydensecrf.densecrf"), import_module("pydensecrf.utils")
    except (ImportError, ValueError) as error:  # compiled for another NumPy
        raise UsageError(
            "+crf", f"pydensecrf cannot be loaded ({one_line(error)})", "build it again: pip install 'rescrnet[crf]'"
        ) from None
