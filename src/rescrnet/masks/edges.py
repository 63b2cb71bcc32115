"""Antialiased edges: in a mask drawn or resized smoothly, outlines hold values between those of the areas they part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

_REACH = 5  # side of the window about an edge pixel that must show both areas: edges are a few pixels wide
_NEARLY_ALL = 0.95

Codes = NDArray[np.signedinteger[Any]]
"""YX: what a mask says of each pixel, as one integer; -1 where it says nothing."""

Points = Callable[[Codes], Codes]
"""Codes (n,) → what they mean as numbers that can be mixed (n, k): one grey level, or red, green and blue."""


def are_edges(codes: Codes, areas: Sequence[int], points: Points) -> bool:
    """Whether the pixels of no area are antialiased edges, nearly all of them.

    An edge pixel lies within two pixels of at least two areas, and its value lies between theirs.

    Args:
        codes: YX, negative where unlabelled.
        areas: the codes of the classes.
        points: see :data:`Points`.
    """
    edge = ~np.isin(codes, areas) & (codes >= 0)
    if not edge.any():
        return True
    near = _near(codes, areas, edge)
    values, known = points(codes[edge]), points(np.array(areas))
    low = np.where(near[..., None], known, np.iinfo(np.int64).max).min(1)
    high = np.where(near[..., None], known, -1).max(1)
    between = (near.sum(1) >= 2) & (values >= low).all(1) & (values <= high).all(1)
    return float(between.mean()) >= _NEARLY_ALL


def settle_edges(codes: Codes, areas: Sequence[int], points: Points) -> Codes:
    """The codes with those at edges replaced by the area next to them whose value is nearest.

    Between black and white a mixture is black or white, even where a class of its own has that very grey.
    """
    edge = ~_solid(codes) & (codes >= 0)
    near = _near(codes, areas, edge)
    near[~near.any(1)] = True
    distance = np.abs(points(codes[edge])[:, None] - points(np.array(areas))).sum(-1)
    settled = codes.copy()
    settled[edge] = np.array(areas)[np.where(near, distance, np.iinfo(np.int64).max).argmin(1)]
    return settled


def _near(codes: Codes, areas: Sequence[int], edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which areas are near each edge pixel: (pixels, areas)."""
    solid = _solid(codes)
    near = [maximum_filter((solid & (codes == area)).view(np.uint8), _REACH)[edge] > 0 for area in areas]
    return np.stack(near, axis=1)


def _solid(codes: Codes) -> NDArray[np.bool_]:
    """The pixels that belong to a 2×2 square of one code."""
    corner = codes[:-1, :-1]
    square = (corner == codes[1:, :-1]) & (corner == codes[:-1, 1:]) & (corner == codes[1:, 1:])
    square = np.pad(square, 1)
    return np.asarray(square[1:, 1:] | square[:-1, 1:] | square[1:, :-1] | square[:-1, :-1])
