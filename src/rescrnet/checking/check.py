"""Run all checks over a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rescrnet.checking import checks
from rescrnet.checking.findings import CHECKS, Finding, Severity
from rescrnet.checking.survey import MOST, Survey, survey
from rescrnet.datasets.dataset import load_dataset
from rescrnet.errors import DataError

__all__ = ["CHECKS", "Checked", "check_dataset", "checks"]  # importing the checks enters them


@dataclass(frozen=True)
class Checked:
    """A dataset that was looked over, and what was found, the worst first."""

    survey: Survey
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """What training refuses."""
        return [finding for finding in self.findings if finding.severity is Severity.error]


def check_dataset(
    folder: Path, val: str | None = None, most: int = MOST, said: Mapping[str, Any] | None = None
) -> Checked:
    """Look a dataset over, and see whether training would read it; see :func:`~rescrnet.checking.survey.survey`."""
    said = said or {}
    seen = survey(folder, val, most, said)
    checked = Checked(seen, find(seen))
    if not checked.errors and len(seen.items) == seen.total:
        try:
            load_dataset(folder, val, ignore=said.get("ignore"), instances=said.get("instance_boundary"))
        except DataError as error:
            seen.faults["loading"] = str(error)
            return Checked(seen, find(seen))
    return checked


def warnings_of(folder: Path, val: str | None = None, said: Mapping[str, Any] | None = None) -> list[Finding]:
    """The warnings about a dataset that training has read; arguments as in :func:`~rescrnet.checking.survey.survey`.

    Raises :class:`DataError` with the first error, where there is one.
    """
    seen = survey(folder, val, said=said)
    checked = Checked(seen, find(seen))
    if checked.errors:
        more = f" ({len(checked.errors) - 1} more: see rescrnet check)" if len(checked.errors) > 1 else ""
        raise DataError(f"{checked.errors[0]}{more}")
    return [finding for finding in checked.findings if finding.severity is Severity.warning]


def find(seen: Survey) -> list[Finding]:
    """All findings, errors first, otherwise in the order of the checks."""
    findings = [Finding(one, f.files, f.reason, f.remedy) for one in CHECKS.values() for f in one.look(seen)]
    return sorted(findings, key=lambda finding: -finding.severity)
