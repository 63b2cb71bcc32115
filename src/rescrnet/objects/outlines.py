"""Outlines of objects along the sides of their pixels, so that an outline encloses just the area of its object."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int64]

_RIGHT, _DOWN, _LEFT, _UP = (0, 1), (1, 0), (0, -1), (-1, 0)
_TURNS = {  # outgoing ways by incoming, the sharpest right turn first: parts that share but a corner stay apart
    _RIGHT: (_DOWN, _RIGHT, _UP),
    _DOWN: (_LEFT, _DOWN, _RIGHT),
    _LEFT: (_UP, _LEFT, _DOWN),
    _UP: (_RIGHT, _UP, _LEFT),
}


def rings(mask: NDArray[np.bool_], *, joined: bool = False) -> tuple[list[Ring], list[Ring]]:
    """The outer rings of a mask and those of its holes, as the corners of pixels where they turn.

    Args:
        mask: YX.
        joined: go on across a corner that two pixels share, so that an object connected at corners has one outer ring,
            which touches itself; otherwise no ring touches itself.

    Returns:
        Outer rings (clockwise on the screen) and holes, each (corners, 2) of y and x; the first corner is not repeated.
    """
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (dy, dx), edges, (oy, ox) in (
        (_RIGHT, inside & ~padded[:-2, 1:-1], (0, 0)),  # along the top of a pixel
        (_DOWN, inside & ~padded[1:-1, 2:], (0, 1)),
        (_LEFT, inside & ~padded[2:, 1:-1], (1, 1)),
        (_UP, inside & ~padded[1:-1, :-2], (1, 0)),
    ):
        for y, x in np.argwhere(edges).tolist():
            ways.setdefault((y + oy, x + ox), []).append((dy, dx))
    outer: list[Ring] = []
    holes: list[Ring] = []
    while ways:
        ring = _walk(ways, joined)
        for part in [ring] if joined else _simple(ring):
            corners = _corners(part)
            (outer if _area(corners) > 0 else holes).append(corners)
    return outer, holes


def _walk(ways: dict[tuple[int, int], list[tuple[int, int]]], joined: bool) -> list[tuple[int, int]]:
    """The places of one ring, whose ways are taken out of ``ways``."""
    start = place = min(ways)
    first = way = ways[start][0]
    places = []
    while True:
        ways[place].remove(way)
        if not ways[place]:
            del ways[place]
        places.append(place)
        place = (place[0] + way[0], place[1] + way[1])
        there = [*ways.get(place, []), *([first] if place == start else [])]
        way = next(turn for turn in (_TURNS[way][::-1] if joined else _TURNS[way]) if turn in there)
        if place == start and way == first:
            return places


def _simple(places: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """A ring cut where it touches itself into rings that do not."""
    found, path, known = [], list[tuple[int, int]](), dict[tuple[int, int], int]()
    for place in [*places, places[0]]:
        if place in known:
            found.append(path[known[place] :])
            for gone in path[known[place] + 1 :]:
                del known[gone]
            path = path[: known[place] + 1]
        else:
            known[place] = len(path)
            path.append(place)
    return found


def _corners(places: list[tuple[int, int]]) -> Ring:
    """The places where a ring turns."""
    ring = np.array(places)
    turns = (ring - np.roll(ring, 1, axis=0) != np.roll(ring, -1, axis=0) - ring).any(1)
    return np.asarray(ring[turns])


def _area(ring: Ring) -> float:
    """Signed: positive where the ring runs clockwise on the screen."""
    y, x = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
