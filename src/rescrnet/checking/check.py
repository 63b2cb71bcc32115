"""Judge a dataset: run all checks over what was read of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rescrnet.checking import checks
from rescrnet.checking.findings import CHECKS, Finding, Severity
from rescrnet.datasets.dataset import Dataset
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.read import Reading, read_dataset
from rescrnet.errors import DataError

__all__ = ["CHECKS", "MOST", "Checked", "check", "checks", "judge", "load_dataset"]  # importing the checks enters them

MOST = 500
"""Of more images than this, as many are opened, evenly spread over all."""


@dataclass(frozen=True)
class Checked:
    """A dataset that was judged.

    Attributes:
        reading: what was read of it.
        findings: what the checks found, errors first.
    """

    reading: Reading
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """What training refuses."""
        return [finding for finding in self.findings if finding.severity is Severity.error]

    def require(self) -> Dataset:
        """The dataset, ready for use. Raises :class:`DataError` with the first error, where there is one."""
        if self.errors:
            error, others = self.errors[0].fault.error, len(self.errors) - 1
            more = f" ({others} more: see rescrnet check)" if others else ""
            raise DataError(error.subject, error.found, f"{error.remedy}{more}")
        warnings = [str(finding) for finding in self.findings if finding.severity is Severity.warning]
        return self.reading.collect(warnings)


def check(
    folder: str | Path, val: str | None = None, *, declared: Mapping[str, Any] | None = None, most: int = MOST
) -> Checked:
    """Look a dataset over before anything is trained on it.

    Args:
        folder: the dataset, in any layout that training takes.
        val: how to split off validation images, as in training.
        declared: keys of ``dataset.yaml`` that go before what is said there, such as ``instance_boundary``.
        most: how many images to open, evenly spread over all where there are more.

    Returns:
        What was read of the dataset (``reading``), and what was found (``findings``, the worst first; ``errors``, what
        training refuses).

    Raises:
        DataError: there is no such folder.
        UsageError: ``val`` does not fit the dataset.
    """
    return judge(read_dataset(folder, val, declared=declared, most=most, keep=False))


def load_dataset(folder: str | Path, val: str | None = None, *, declared: Mapping[str, Any] | None = None) -> Dataset:
    """A dataset to train on: read whole, and judged by all checks.

    Arguments and errors are those of :func:`check`; besides, :class:`DataError` is raised with the first error that a
    check finds.
    """
    return judge(read_dataset(folder, val, declared=declared)).require()


def judge(reading: Reading, *, essential: bool = False) -> Checked:
    """Run all checks over what was read of a dataset, or only those without which it cannot be used at all."""
    findings = [
        Finding(one, fault)
        for one in CHECKS.values()
        if one.essential or not essential
        for fault in _gathered(one.find(reading))
    ]
    return Checked(reading, sorted(findings, key=lambda finding: -finding.severity))


def _gathered(faults: Iterable[Fault]) -> list[Fault]:
    """Faults of one check, those that say the same of several files made one."""
    alike: dict[tuple[Any, ...], Fault] = {}
    for fault in faults:
        key = (fault.found, fault.remedy, fault.named, fault.place)
        first = alike.setdefault(key, fault)
        if first is not fault:
            alike[key] = replace(first, files=tuple(dict.fromkeys((*first.files, *fault.files))))
    return list(alike.values())
