"""What a check finds, and the list of all checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from rescrnet.datasets.faults import Fault
from rescrnet.datasets.read import Reading
from rescrnet.wording import printable

Find = Callable[[Reading], Iterator[Fault]]


class Severity(IntEnum):
    """How much a finding matters: training refuses an error, shows a warning, and passes over what is worth knowing."""

    info = 0
    warning = 1
    error = 2


@dataclass(frozen=True)
class Check:
    """A check of a dataset.

    Attributes:
        name: as findings and the documentation call it.
        severity: how much its findings matter.
        explanation: what it looks for.
        fixable: whether ``--fix`` sees to it.
        leaves_out: whether it does so by leaving the image out.
        essential: whether without it the dataset cannot be used at all; other errors only keep it from being trained
            on.
        find: the faults that it finds in a dataset.
    """

    name: str
    severity: Severity
    explanation: str
    fixable: bool
    leaves_out: bool
    essential: bool
    find: Callable[[Reading], Iterable[Fault]]


@dataclass(frozen=True)
class Finding:
    """What a check found, with the check itself."""

    check: Check
    fault: Fault

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return self.check.severity

    @property
    def files(self) -> tuple[str, ...]:
        """The files or folders concerned, the most telling first; names fit to be printed."""
        return tuple(map(printable, self.fault.files))

    @property
    def reason(self) -> str:
        """What was found, fit to be printed."""
        return printable(self.fault.found)

    @property
    def remedy(self) -> str:
        """What to do about it, fit to be printed."""
        return printable(self.fault.remedy)

    def __str__(self) -> str:
        return printable(self.fault)

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        return {
            "check": self.check.name,
            "severity": self.severity.name,
            "files": list(self.files),
            "reason": self.reason,
            "remedy": self.remedy,
            "fixable": self.check.fixable,
        }


CHECKS: dict[str, Check] = {}
"""All checks by name, in the order in which they are documented."""


def enter(
    name: str,
    severity: Severity,
    explanation: str,
    find: Find,
    *,
    fixable: bool = False,
    leaves_out: bool = False,
    essential: bool = False,
) -> None:
    """Enter a check; its explanation is its documentation."""
    CHECKS[name] = Check(name, severity, explanation, fixable or leaves_out, leaves_out, essential, find)


def finds(
    severity: Severity, *, fixable: bool = False, leaves_out: bool = False, essential: bool = False
) -> Callable[[Find], Find]:
    """Enter a function among the checks, under its name with hyphens; its docstring is the explanation."""

    def decorate(find: Find) -> Find:
        explanation = " ".join(inspect.getdoc(find).split())  # type: ignore[union-attr]
        name = find.__name__.replace("_", "-")
        enter(name, severity, explanation, find, fixable=fixable, leaves_out=leaves_out, essential=essential)
        return find

    return decorate


def faults(files: Iterable[object], found: str, remedy: str) -> Iterator[Fault]:
    """One fault of all ``files``, none where there are none. Which check reports it, the list of checks knows."""
    if concerned := tuple(files):
        yield Fault("", concerned, found, remedy)
