"""Lines for the terminal, in which it finds nothing to obey."""

from __future__ import annotations

from rescrnet.wording import printable

INTERRUPTED = 130
"""The exit code that a shell reports of a program that Ctrl-C stopped."""


def echo(message: object, *, err: bool = False) -> None:
    """Print a line on standard output, or on standard error; control characters of names are shown, not sent."""
    import typer

    typer.echo(printable(message, keep="\n"), err=err)
