"""What a check finds, and the list of all checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rescrnet.checking.survey import Survey


class Severity(IntEnum):
    """How much a finding matters: training refuses an error, shows a warning, and passes over what is worth knowing."""

    info = 0
    warning = 1
    error = 2


@dataclass(frozen=True)
class Found:
    """One thing that a check found.

    Attributes:
        files: the files or folders concerned, the most telling first; names fit to be printed.
        reason: what was found.
        remedy: what to do about it.
    """

    files: tuple[str, ...]
    reason: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """A check: a name, how much its findings matter, what it looks for, and whether ``--fix`` mends it."""

    name: str
    severity: Severity
    explanation: str
    mended: bool
    look: Callable[[Survey], Iterable[Found]]


@dataclass(frozen=True)
class Finding:
    """What a check found, with the check itself."""

    check: Check
    files: tuple[str, ...]
    reason: str
    remedy: str

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return self.check.severity

    def __str__(self) -> str:
        more = f" (and {len(self.files) - 1} more)" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}: {self.reason}; {self.remedy}"

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        return {
            "check": self.check.name,
            "severity": self.severity.name,
            "files": list(self.files),
            "reason": self.reason,
            "remedy": self.remedy,
            "mended_by_fix": self.check.mended,
        }


CHECKS: dict[str, Check] = {}
"""All checks by name, in the order in which they are documented."""


def check(
    severity: Severity, *, mended: bool = False
) -> Callable[[Callable[[Survey], Iterator[Found]]], Callable[[Survey], Iterator[Found]]]:
    """Enter a function among the checks, under its name with hyphens; its docstring is the explanation."""

    def enter(look: Callable[[Survey], Iterator[Found]]) -> Callable[[Survey], Iterator[Found]]:
        name = look.__name__.replace("_", "-")
        CHECKS[name] = Check(name, severity, " ".join(inspect.getdoc(look).split()), mended, look)  # type: ignore[union-attr]
        return look

    return enter


def printable(name: object) -> str:
    """A file's name with the bytes that are no UTF-8, and control characters, written out, so that it can be shown."""
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
