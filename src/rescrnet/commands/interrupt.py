"""Ctrl-C in work that can go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from rescrnet.terminal import INTERRUPTED, echo


@contextmanager
def stoppable(how_to_go_on: str) -> Iterator[None]:
    """Say after Ctrl-C that nothing is lost, and end the program as one that was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        echo(f"stopped; {how_to_go_on}", err=True)
        raise typer.Exit(INTERRUPTED) from None
