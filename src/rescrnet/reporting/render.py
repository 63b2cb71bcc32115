"""Pages from their templates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rescrnet.atomic import write_atomically
from rescrnet.reporting.formats import between, date, percent, pixels, score, short
from rescrnet.wording import as_text, count, printable


def render(template: str, **values: Any) -> str:
    """A page from its template."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        between=between, count=count, date=date, percent=percent, pixels=pixels, score=score, short=short
    )
    return environment.get_template(template).render(**values)


def _shown(value: Any) -> Any:
    """A text without control characters and those that turn text around; what is markup already is ours."""
    return printable(value, keep="\n\t") if isinstance(value, str | Path) and not isinstance(value, Markup) else value


def write_experiment(template: str, found: Any, **values: Any) -> Path:
    """Write ``report.html`` beside the results of an experiment; a former one is replaced.

    ``found`` has the ``out`` folder, the ``plan`` and the ``stats``; ``values`` are what the template wants besides.
    Raises :class:`OutputError` where it cannot be written.
    """
    html = render(
        template,
        plan=found.plan,
        dataset=Path(found.plan.dataset),
        out=found.out.resolve(),
        written=datetime.now(UTC),
        stats=found.stats,
        **values,
    )
    path: Path = found.out / "report.html"
    write_atomically(path, lambda partial: partial.write_text(as_text(html), encoding="utf-8"))
    return path
