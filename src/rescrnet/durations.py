"""Durations as people write them."""

from __future__ import annotations

import math
import re

from rescrnet.errors import UsageError

_MINUTES = {"s": 1 / 60, "m": 1.0, "h": 60.0, "": 1.0}


def parse_minutes(text: str, option: str) -> float:
    """``90s``, ``5m``, ``1.5h`` or ``5``, which are minutes, in minutes; more than 0.

    Raises :class:`UsageError` that names ``option``.
    """
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*([smh]?)(?:in|ec)?\s*", text.lower())
    minutes = float(match[1]) * _MINUTES[match[2]] if match else math.nan
    if not minutes > 0:
        raise UsageError(f"{option} {text}", "is no duration", "expected 90s, 5m or 1h, for example")
    return minutes
