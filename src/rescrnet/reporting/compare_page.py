"""The page of a comparison: who is better, by how much, at what cost, and what cannot be told."""

from __future__ import annotations

from pathlib import Path

from rescrnet.evidence.compare import Comparison
from rescrnet.evidence.statistics import FEWEST_TO_DECIDE
from rescrnet.reporting.crossval_page import MEASURES
from rescrnet.reporting.evidence_figures import Line, dots
from rescrnet.reporting.render import write_experiment

_BUSY = 0.75  # of a processor: a training on a quiet machine keeps at least one busy


def write_page(found: Comparison) -> Path:
    """Write ``report.html`` beside the results, one file that needs no other; a former one is replaced.

    Raises :class:`OutputError` where it cannot be written.
    """
    stats = found.stats
    return write_experiment(
        "compare.html.jinja",
        found,
        measures=MEASURES,
        fewest=FEWEST_TO_DECIDE,
        busy=_busy(found) if found.plan.seconds else None,
        scores=dots(
            [Line.of(name, one["scores"]["mean_iou"]) for name, one in stats["methods"].items()],
            "mean intersection over union",
        ),
        differences=dots(
            [_difference(name, one) for name, one in stats["differences"].items()],
            f"difference of mean IoU to {stats['reference']}",
            zero=True,
        ),
    )


def _busy(found: Comparison) -> float | None:
    """The share of one processor that all trainings together got, where that is too little; otherwise none."""
    costs = [one["cost"] for one in found.stats["methods"].values() if one["cost"]["seconds"] > 1]
    seconds = sum(cost["seconds"] for cost in costs)
    share = sum(cost["cpu_seconds"] for cost in costs) / seconds if seconds else 1.0
    return share if share < _BUSY else None


def _difference(name: str, found: dict[str, object]) -> Line:
    """The images' differences, with the interval of the corrected test."""
    line = Line.of(name, found["images_differences"])  # type: ignore[arg-type]
    return Line(name, line.values, float(str(found["mean"])), float(str(found["low"])), float(str(found["high"])))
