"""How long a method may train: the same time, or the same number of updates."""

from __future__ import annotations

from dataclasses import dataclass

from rescrnet.errors import UsageError


@dataclass(frozen=True)
class Budget:
    """What one training may take; without either it goes on as long as the method's own settings say.

    Attributes:
        seconds: of wall-clock time.
        updates: steps of the optimiser.
    """

    seconds: float | None = None
    updates: int | None = None

    def too_small(self, name: str, needed: float | None, what: str) -> UsageError:
        """That ``name`` needs ``needed`` seconds, where that is known, for ``what``, which is the least it can do."""
        takes = "longer" if needed is None else in_words(needed)
        return UsageError(
            "--budget",
            f"leaves {in_words(self.seconds or 0)} for a training, {name} takes {takes} for {what}",
            "give more time, in a new folder, or fewer folds and seeds",
        )


def in_words(seconds: float) -> str:
    """``"45.2 s"``, ``"12 min"``, ``"1.5 h"``."""
    if seconds < 100:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.1f} s".replace(".0 s", " s")
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
