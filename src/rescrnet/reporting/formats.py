"""How numbers, dates and folders look in a page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path


def score(value: float | None) -> str:
    """Three decimals, or a dash where there is no score, None or NaN."""
    return "–" if value is None or value != value else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share with one decimal, or a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}%"


def pixels(number: int) -> str:
    """A number with its digits in threes, as 104 800."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def date(moment: datetime) -> str:
    """``25 November 2026``."""
    return f"{moment.day} {moment:%B %Y}"


def short(path: Path) -> str:
    """The last two parts of a path: ``data`` and ``run`` alone would not tell one from another."""
    return "/".join(path.relative_to(path.anchor).parts[-2:])


def between(found: Mapping[str, float]) -> str:
    """``0.740 to 0.820``, the interval of a score, or a dash where there is none."""
    return "–" if found["low"] != found["low"] else f"{found['low']:.3f} to {found['high']:.3f}"
