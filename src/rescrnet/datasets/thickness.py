"""How thick the structures of a class are, from its area and the length of its border."""

from __future__ import annotations

from math import pi

import numpy as np
from numpy.typing import NDArray


def border_lengths(indices: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Sides of pixels between each class and the others, in a mask of class indices, YX; the image's border is none."""
    lengths = np.zeros(classes, np.int64)
    for one, other in ((indices[:, 1:], indices[:, :-1]), (indices[1:], indices[:-1])):
        between = (one != other) & (one < classes) & (other < classes)
        for side in (one, other):
            lengths += np.bincount(side[between], minlength=classes)
    return lengths


def thickness(pixels: NDArray[np.int64], borders: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pixels across the structures of each class: the width of bands that run anywhere, the radius of discs.

    A band of length l and width w has the area l·w and two sides of length l, which on the pixel grid are 4/π times as
    long, on average over directions. Infinite for a class without border; 0 for one without pixels.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        across = 2 * pixels / (borders * pi / 4)
    return np.where(pixels == 0, 0.0, across)
