"""What a user can mend: one family of exceptions, each a single line with its remedy.

The command line prints the message alone and exits with ``exit_code``. Library callers catch
:class:`RescrnetError`, or the built-in type that each class also derives from.
"""


class RescrnetError(Exception):
    """Base of every error that a user can mend."""

    exit_code = 1


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
