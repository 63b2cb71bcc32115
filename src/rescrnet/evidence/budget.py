"""How long a method may train: the same time, or the same number of updates."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rescrnet.errors import UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """What one training may take; without either it goes on as long as the method's own settings say.

    Attributes:
        seconds: of wall-clock time.
        updates: steps of the optimiser.
    """

    seconds: float | None = None
    updates: int | None = None

    def too_small(self, name: str, needed: float, what: str) -> UsageError:
        """That ``name`` needs ``needed`` seconds for ``what``, which is the least that it can do."""
        return UsageError(
            "--budget",
            f"leaves {in_words(self.seconds or 0)} for a training, {name} takes {in_words(needed)} for {what}",
            "give more time, in a new folder, or fewer folds and seeds",
        )


def parse_time(text: str) -> float:
    """``"30m"``, ``"90s"``, ``"1.5h"``, ``"10"`` (minutes) → seconds. Raises :class:`UsageError` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([smh]?)(?:in|ec|r)?\s*", text.lower())
    if not found or float(found[1]) == 0:
        raise UsageError(f"--budget {text}", "is no time", "expected such as 30m, 90s or 2h")
    return float(found[1]) * _UNITS[found[2] or "m"]


def in_words(seconds: float) -> str:
    """``"45.2 s"``, ``"12 min"``, ``"1.5 h"``."""
    if seconds < 100:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.1f} s".replace(".0 s", " s")
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
