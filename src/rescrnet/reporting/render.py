"""Pages from their templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rescrnet.reporting.formats import date, percent, pixels, score, short
from rescrnet.wording import count


def render(template: str, **values: Any) -> str:
    """A page from its template."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, date=date, percent=percent, pixels=pixels, score=score, short=short)
    return environment.get_template(template).render(**values)
