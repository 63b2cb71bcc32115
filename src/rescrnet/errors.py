"""What a user can fix: one family of exceptions, each a single line with its remedy.

The command line prints the message alone and exits with ``exit_code``. Library callers catch
:class:`RescrnetError`, or the built-in type that each class also derives from.
"""

from __future__ import annotations

from typing import Self


class RescrnetError(Exception):
    """Base of every error that a user can fix; its text is ``subject: found; remedy``.

    Args:
        subject: the file, folder or argument at fault.
        found: what was found there.
        remedy: what was expected, and what to do.
    """

    exit_code = 1

    def __init__(self, subject: object, found: str = "", remedy: str = "") -> None:
        self.args = (subject, found, remedy)  # from which it is made again in another process
        self.subject, self.found, self.remedy = subject, found, remedy

    def __str__(self) -> str:
        text = f"{self.subject}: {self.found}" if self.found else str(self.subject)
        return f"{text}; {self.remedy}" if self.remedy else text

    def about(self, subject: object) -> Self:
        """The same error about another file, folder or argument."""
        return type(self)(subject, self.found, self.remedy)


class RescrnetWarning(UserWarning):
    """Something that a user should look at; the result is there nevertheless."""


class DataError(RescrnetError, ValueError):
    """An image, a mask or a data folder is not what it must be."""


class ModelError(RescrnetError, ValueError):
    """A model file or run folder is damaged, foreign, or does not fit the data."""


class OutputError(RescrnetError, OSError):
    """A result cannot be written where it was asked for."""


class UsageError(RescrnetError, ValueError):
    """An argument, a configuration key or a preset is wrong."""

    exit_code = 2
