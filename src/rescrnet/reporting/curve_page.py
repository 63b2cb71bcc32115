"""The page of a learning curve: what the number of labelled images is worth."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rescrnet.atomic import write_atomically
from rescrnet.evidence.curve import LearningCurve
from rescrnet.reporting.evidence_figures import Line, growth
from rescrnet.reporting.render import render
from rescrnet.wording import as_text


def write_page(found: LearningCurve) -> Path:
    """Write ``report.html`` beside the results, one file that needs no other; a former one is replaced.

    Raises :class:`OutputError` where it cannot be written.
    """
    stats = found.stats
    html = render(
        "curve.html.jinja",
        plan=found.plan,
        dataset=Path(found.plan.dataset),
        out=found.out.resolve(),
        written=datetime.now(UTC),
        stats=stats,
        words=stats["words"],
        growth=growth(
            found.plan.sizes,
            [Line.of(size, one) for size, one in stats["sizes"].items()],
            "training images",
            "mean intersection over union",
        ),
    )
    path = found.out / "report.html"
    write_atomically(path, lambda partial: partial.write_text(as_text(html), encoding="utf-8"))
    return path
