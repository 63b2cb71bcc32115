"""What became of the cases of a part of the campaign."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_EXAMPLES = 12
LIMIT = float("inf")  # seconds a part


@dataclass
class Tally:
    """Cases, and the faults among them by kind."""

    part: str
    cases: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    skipped: str = ""
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def add(self, what: str, fault: str, text: str = "", ended: object = None) -> None:
        """Count a case; ``fault`` is empty where all was well."""
        self.cases += 1
        self.seconds = time.monotonic() - self.started
        if ended is not None:
            self.ended[str(ended)] += 1
        if fault:
            self.faults[fault] += 1
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{what}: {fault}: {text[-600:]}")

    @property
    def over(self) -> bool:
        """Whether the time for the part is up; what is left of it is left out."""
        return time.monotonic() - self.started > LIMIT

    def line(self) -> str:
        """A summary."""
        if self.skipped:
            return f"{self.part}: skipped, {self.skipped}"
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items())) or "no fault"
        return f"{self.part}: {self.cases} cases in {self.seconds:.0f} s: {found}"

    def to_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "part": self.part,
            "cases": self.cases,
            "faults": dict(self.faults),
            "exit_codes": dict(self.ended),
            "seconds": round(self.seconds, 1),
            "skipped": self.skipped,
            "examples": self.examples,
        }
