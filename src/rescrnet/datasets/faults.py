"""What is wrong with the files of a dataset: one type from where it is noticed to where it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rescrnet.errors import DataError, RescrnetError


@dataclass(frozen=True)
class Fault:
    """Something that a user should look at.

    Attributes:
        check: the name of the check that reports it.
        files: the files or folders concerned, the most telling first.
        found: what was found.
        remedy: what to do about it.
        named: how many of the files a single line names, joined by "and".
        place: where in the file, as ", line 3".
    """

    check: str
    files: tuple[Any, ...]
    found: str
    remedy: str
    named: int = 1
    place: str = ""

    @classmethod
    def of(cls, check: str, error: RescrnetError) -> Fault:
        """An error as the fault that ``check`` reports."""
        return cls(check, (error.subject,), error.found, error.remedy or "correct or remove it")

    @property
    def error(self) -> DataError:
        """The fault as an error: one line that names a file and says how many others have the same."""
        others = len(self.files) - self.named
        more = f" (and {others} more)" if others > 0 else ""
        subject = " and ".join(map(str, self.files[: self.named])) + self.place
        return DataError(subject, f"{self.found}{more}", self.remedy)

    def __str__(self) -> str:
        return str(self.error)
