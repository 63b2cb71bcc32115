"""The scale at which a network looks, by how thick the structures are that it is to tell apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from rescrnet.classes import IGNORE
from rescrnet.config import Config, ResCRNetConfig
from rescrnet.datasets.dataset import Dataset
from rescrnet.datasets.read import Reading
from rescrnet.datasets.thickness import border_lengths, thickness
from rescrnet.errors import RescrnetWarning, UsageError
from rescrnet.scoring.counts import Counts
from rescrnet.training.augment import one_hot
from rescrnet.wording import size as text_of_size

THICK = 16.0
"""Pixels across the thinnest class from which the blocks compute on squares of 4 pixels."""
_SQUARE, _PATCH, _MULTIPLE = 4, 512, 64  # pixels
_ERASED, _WORN = 0.25, 0.75  # IoU


class Drawn(NamedTuple):
    """What a mask tells of the thickness of its classes: pixels and length of the border of each, longest side."""

    pixels: NDArray[np.int64]
    borders: NDArray[np.int64]
    longest: int


def fitted(config: Config, masks: Iterable[Drawn]) -> Config:
    """``config`` with its scale chosen, where ``data.fit_scale`` asks for it; then nothing is left to choose.

    Where even the thinnest class is thick, squares of 4×4 pixels become one pixel of the blocks. A step on a window
    of 512 then takes about as long as one on 256 with squares of 2×2, and the network sees 1444 pixels far.

    Args:
        config: of a run.
        masks: of the images that train.
    """
    if not config.data.fit_scale:
        return config
    network, side = config.network, config.data.patch_size
    drawn = [mask for mask in masks if mask.pixels.any()]
    if isinstance(network, ResCRNetConfig) and side and drawn:
        pixels, across = together(drawn)
        if across[pixels > 0].min() >= THICK:
            longest = max(mask.longest for mask in drawn)
            network = network.model_copy(update={"space_to_depth": _SQUARE})
            side = max(side, min(_PATCH, -(-longest // _MULTIPLE) * _MULTIPLE))
    data = config.data.model_copy(update={"patch_size": side, "fit_scale": False})
    return config.model_copy(update={"network": network, "data": data})


def check_resize(dataset: Dataset, size: tuple[int, int]) -> None:
    """Refuse a size at which a class is lost, and warn of one at which much of it is.

    The training masks are resized as training does, scaled back as a prediction is, and scored against themselves: what
    is learnt at that size can hardly score more. Below an IoU of a quarter a class is lost, below three quarters much
    of it.

    Args:
        dataset: whose training masks it is about.
        size: height and width that images are resized to.

    Raises:
        UsageError: a class is lost; it is named.
    """
    counts = Counts.none(len(dataset.classes))
    for sample in dataset.train:
        small = F.interpolate(one_hot(sample.mask, len(dataset.classes))[None], size, mode="nearest-exact")
        back = F.interpolate(small, sample.mask.shape, mode="bilinear", antialias=True)[0].numpy()
        counts = counts + Counts.of(back, np.where(back.any(0), sample.mask, IGNORE))
    drawn = np.sum([np.bincount(sample.mask.ravel(), minlength=256) for sample in dataset.train], axis=0)
    lasting = (
        (scores["iou"] or 0.0, entry.name)
        for scores, entry, pixels in zip(counts.per_class(), dataset.classes, drawn, strict=False)
        if pixels
    )
    iou, name = min(lasting, default=(1.0, ""))
    setting = f"data.resize {text_of_size(size)}"
    found = f"resized and scaled back, class '{name}' of the training masks has an IoU of {iou:.2f} with itself"
    if iou < _ERASED:
        raise UsageError(setting, f"erases a class: {found}", "give a larger size, or leave --resize out")
    if iou < _WORN:
        warnings.warn(f"{setting}: {found}; a larger size may score higher", RescrnetWarning, stacklevel=2)


def together(drawn: Sequence[Drawn]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixels of each class in all masks, at least one, and how many pixels across it is."""
    pixels = np.sum([mask.pixels for mask in drawn], axis=0)
    return pixels, thickness(pixels, np.sum([mask.borders for mask in drawn], axis=0))


def masks_of(dataset: Dataset) -> Iterator[Drawn]:
    """The masks that train, of a dataset in memory."""
    classes = len(dataset.classes)
    for sample in dataset.train:
        pixels = np.bincount(sample.mask.ravel(), minlength=256)[:classes]
        yield Drawn(pixels, border_lengths(sample.mask, classes), max(sample.mask.shape))


def masks_read(reading: Reading) -> Iterator[Drawn]:
    """The masks that train, of a dataset that was looked over."""
    for example, facts in reading.labelled:
        if example.part == "train" and example.image:
            yield Drawn(facts.pixels, facts.borders, max(example.image.size))
