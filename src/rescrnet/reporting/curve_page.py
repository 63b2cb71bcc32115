"""The page of a learning curve: what the number of labelled images is worth."""

from __future__ import annotations

from pathlib import Path

from rescrnet.evidence.curve import LearningCurve
from rescrnet.reporting.evidence_figures import Line, growth
from rescrnet.reporting.render import write_experiment


def write_page(found: LearningCurve) -> Path:
    """Write ``report.html`` beside the results, one file that needs no other; a former one is replaced.

    Raises :class:`OutputError` where it cannot be written.
    """
    stats = found.stats
    return write_experiment(
        "curve.html.jinja",
        found,
        words=stats["words"],
        growth=growth(
            found.plan.sizes,
            [Line.of(size, one) for size, one in stats["sizes"].items()],
            "training images",
            "mean intersection over union",
        ),
    )
