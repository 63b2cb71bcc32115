"""The scale at which a network looks, by how thick the structures are that it is to tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rescrnet.config import Config, ResCRNetConfig
from rescrnet.datasets.dataset import Dataset
from rescrnet.datasets.read import Reading
from rescrnet.datasets.thickness import border_lengths, thickness

THICK = 16.0
"""Pixels across the thinnest class from which the blocks compute on squares of 4 pixels."""
_SQUARE, _PATCH, _MULTIPLE = 4, 512, 64  # pixels


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
