"""Plots of scores with their intervals: a dot for each image, a bar for what is known of the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rescrnet.reporting.figures import INK, RULE, TRAINING, VALIDATION, svg
from rescrnet.wording import count, printable

_LONGEST_NAME = 28


@dataclass(frozen=True)
class Line:
    """A line of the plot.

    Attributes:
        name: at its left.
        values: a dot each; NaN is left out.
        mean: marked on the line.
        low: of the interval; NaN where there is none.
        high: of the interval.
    """

    name: str
    values: Sequence[float]
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, name: str, found: Mapping[str, Any]) -> Line:
        """From what ``stats.json`` says of a score."""
        return cls(name, list(found["values"].values()), found["mean"], found["low"], found["high"])


def dots(lines: Sequence[Line], across: str, *, zero: bool = False) -> str:
    """The lines below each other as SVG, in the colours of the page.

    Args:
        lines: first at the top.
        across: what the horizontal axis shows.
        zero: also mark 0, of differences.
    """
    figure = Figure(figsize=(7.4, 0.75 + 0.52 * len(lines)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across, color=INK)
    for place, line in enumerate(lines):
        known = np.array([value for value in line.values if np.isfinite(value)])
        spread = 0.13 * np.sin(2.4 * np.arange(len(known)))  # of equal values none hides another, always the same
        axes.plot(known, place + spread, "o", color=TRAINING, markersize=4, alpha=0.55, markeredgewidth=0)
        if np.isfinite(line.low):
            axes.plot([line.low, line.high], [place + 0.33] * 2, color=VALIDATION, linewidth=2.4)
        if np.isfinite(line.mean):
            axes.plot([line.mean], [place + 0.33], "o", color=VALIDATION, markersize=6)
    if zero:
        axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(lines)), [_short(line.name) for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.5)
    axes.tick_params(color=RULE, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    return svg(figure, f"{across} of {count(len(lines), 'line')}, a dot for each image")


def growth(sizes: Sequence[int], lines: Sequence[Line], across: str, up: str) -> str:
    """Means with their intervals over numbers, as SVG."""
    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    means = [line.mean for line in lines]
    for size, line in zip(sizes, lines, strict=True):
        known = [value for value in line.values if np.isfinite(value)]
        axes.plot([size] * len(known), known, "o", color=TRAINING, markersize=3.5, alpha=0.45, markeredgewidth=0)
        if np.isfinite(line.low):
            axes.plot([size] * 2, [line.low, line.high], color=VALIDATION, linewidth=2.2)
    axes.plot(sizes, means, "o-", color=VALIDATION, linewidth=1.2, markersize=5)
    axes.set_xticks(list(sizes))
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.tick_params(color=RULE, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    return svg(figure, f"{up} over {across}")


def _short(name: str) -> str:
    shown = printable(name).replace("$", r"\$")  # Matplotlib takes what is between two of them for mathematics
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"
