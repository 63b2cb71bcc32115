"""The settings that tell objects apart best on labelled images: what a model keeps of its training set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE
from rescrnet.datasets.dataset import Sample
from rescrnet.inference.budget import available_bytes
from rescrnet.inference.plan import whole_bytes
from rescrnet.model import SegmentationModel
from rescrnet.object_settings import ObjectSettings
from rescrnet.objects.find import objects_of
from rescrnet.objects.match import ObjectCounts

MOST_PIXELS = 400_000  # of training images that settings are tried on, about: at least one image
_GAIN = 0.005  # in the score, below which a setting is not worth departing from the plain one
# The threshold is not among them: it moves all outlines, and what fits the training images best did not fit others
# (fm_nuclei: mean average precision of new images 0.31 with it, 0.35 without).
_CHOICES: dict[str, tuple[Any, ...]] = {
    "seed_threshold": (0.0, 0.2, 0.4, 0.6),
    "smoothing": (0.0, 1.0),
    "fill_holes": (0, 100_000),
}
_SMALLEST = (0.0, 0.25, 0.5)  # of the area of the smallest true objects (their 5 % quantile)


@dataclass(frozen=True)
class _Tried:
    """An image with what is predicted of it: probabilities (classes, Y, X) and true objects of one class, YX."""

    probabilities: NDArray[np.float32]
    true: NDArray[np.int32]
    unlabelled: NDArray[np.bool_]


def true_objects(sample: Sample, index: int, boundary: int | None, settings: ObjectSettings) -> NDArray[np.int32]:
    """The true objects of a class, YX: those that the masks number, where they do and the boundary is a part of them.

    Otherwise they are told apart in the class mask as the predicted ones are, but of any size and none improved.
    """
    if sample.numbers is not None and settings.with_boundary:
        return sample.numbers()
    return objects_in(sample.mask, index, boundary, settings)


def objects_in(
    mask: NDArray[np.uint8], index: int, boundary: int | None, settings: ObjectSettings
) -> NDArray[np.int32]:
    """The objects of a class in a true class mask, YX."""
    plain = settings.model_copy(
        update={
            "threshold": 0.5,
            "seed_threshold": 0.0,
            "smoothing": 0.0,
            "smallest": 0,
            "fill_holes": 0,
            "split": "watershed" if boundary is not None else "parts",
        }
    )
    return objects_of(mask, index, boundary, plain)


def fit_settings(
    model: SegmentationModel,
    samples: Iterable[Sample],
    predicted_of: Callable[[Sample], NDArray[np.float32]] | None = None,
) -> dict[str, ObjectSettings]:
    """The settings of each class that has objects, those that score best on some of ``samples``.

    One setting after the other is tried; the score is the mean average precision over IoU 0.5 to 0.9. Of settings that
    score about alike the plainer is kept. Images that are too large to be predicted whole are left out.

    ``predicted_of`` gives the probabilities of a sample, (classes, Y, X), where the model is not to predict it.
    """
    predicted_of = predicted_of or (lambda sample: model.predict_normalised(sample.image))
    start = model.card.model_copy(update={"objects": {}}).object_settings
    settings = dict(start)
    if not settings:
        return {}
    predicted = [(sample, predicted_of(sample)) for sample in _some(model, samples)]
    for name, first in start.items():
        index = model.classes.index(name)
        boundary = None if first.boundary is None else model.classes.index(first.boundary)
        tried = [
            _Tried(probabilities, true_objects(sample, index, boundary, first), sample.mask == IGNORE)
            for sample, probabilities in predicted
        ]
        tried = [one for one in tried if one.true.any()]
        if tried:
            settings[name] = _best(tried, index, boundary, first)
    return settings


def _some(model: SegmentationModel, samples: Iterable[Sample]) -> Iterator[Sample]:
    """Images up to :data:`MOST_PIXELS`, evenly from all."""
    every = [sample for sample in samples if whole_bytes(model, _size(sample.mask)) < available_bytes() / 2]
    if not every:
        return
    number = max(1, min(len(every), MOST_PIXELS * len(every) // sum(sample.mask.size for sample in every)))
    for place in np.linspace(0, len(every) - 1, number).round().astype(int):
        yield every[place]


def _size(mask: NDArray[Any]) -> tuple[int, int]:
    return mask.shape[0], mask.shape[1]


def _best(tried: Sequence[_Tried], index: int, boundary: int | None, first: ObjectSettings) -> ObjectSettings:
    areas = np.concatenate([np.bincount(one.true.ravel())[1:] for one in tried])
    small = float(np.quantile(areas, 0.05))
    best = first.model_copy(update={"smallest": int(0.25 * small)})
    best, score = _smallest(tried, index, boundary, best, small)
    for name, choices in _CHOICES.items():
        if name == "seed_threshold" and first.split != "watershed":
            continue
        for value in choices:
            if value == getattr(best, name):
                continue
            candidate, reached = _smallest(tried, index, boundary, best.model_copy(update={name: value}), small)
            if reached > score + _GAIN:
                best, score = candidate, reached
    return best


def _smallest(
    tried: Sequence[_Tried], index: int, boundary: int | None, settings: ObjectSettings, small: float
) -> tuple[ObjectSettings, float]:
    """The settings with the best of a few smallest sizes, for which nothing has to be found anew; and their score."""
    sizes = sorted({int(share * small) for share in _SMALLEST})
    counts = dict.fromkeys(sizes, ObjectCounts.none())
    for one in tried:
        found = objects_of(one.probabilities, index, boundary, settings.model_copy(update={"smallest": 0}))
        areas = np.bincount(found.ravel())
        for least in sizes:
            kept = np.where(areas[found] >= least, found, 0)
            counts[least] = counts[least] + ObjectCounts.of(one.true, kept, one.unlabelled)
    scores = {least: counts[least].mean_average_precision or 0.0 for least in sizes}
    least = max(sizes, key=lambda least: (scores[least], -least))
    return settings.model_copy(update={"smallest": least}), scores[least]
