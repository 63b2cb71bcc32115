"""Axes that a file does not name: what they may be, and how a person says it."""

from __future__ import annotations

from collections.abc import Sequence

_LETTERS = "YXCZTPN"
_MOST_CHANNELS = 16


def parse_axes(text: str) -> str:
    """``"CYX"``, ``"yxc"``, ``"NCYX"`` in capitals, N the images of a file. Raises :class:`ValueError` otherwise."""
    axes = text.strip().upper()
    if len(set(axes)) < len(axes) or not set("YX") <= set(axes) <= set(_LETTERS) or {"P", "N"} <= set(axes):
        raise ValueError(f"'{text}' are no axes; expected one letter for each, such as CYX, YXC or NCYX")
    return axes


def axis_names(axes: str, dimensions: int) -> str:
    """The axes as this package names them, where they fit a file of so many dimensions; else nothing."""
    return axes.lower().replace("n", "p") if len(axes) == dimensions else ""


def guess_axes(shape: Sequence[int], size: tuple[int, int], pages: int) -> str:
    """What the axes of an array may be whose mask has ``pages`` of ``size``; nothing where no channels fit."""
    several = pages > 1 and shape[0] == pages
    rest, first = (tuple(shape[1:]), "N") if several else (tuple(shape), "")
    if len(rest) == 3 and rest[1:] == size and rest[0] <= _MOST_CHANNELS:
        return f"{first}CYX"
    if len(rest) == 3 and rest[:2] == size and rest[2] <= _MOST_CHANNELS:
        return f"{first}YXC"
    return ""
