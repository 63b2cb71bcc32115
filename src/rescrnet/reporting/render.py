"""Pages from their templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rescrnet.reporting.formats import between, date, percent, pixels, score, short
from rescrnet.wording import count, printable


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
