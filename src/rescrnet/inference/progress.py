"""How far a prediction is, and the time left: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS = 60.0  # between two lines
_PERIOD = 1800.0  # from which the time left is estimated, seconds: a task can take minutes


@contextmanager
def progress(total: float, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[float], None]]:
    """Show progress towards ``total`` on standard error; yields ``advance(amount)``."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(total, console, clock).advance
        return
    columns = (TextColumn("predicting"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, speed_estimate_period=_PERIOD) as bar:
        task = bar.add_task("", total=total)
        yield lambda more: bar.advance(task, more)


class _Lines:
    """A line a minute."""

    def __init__(self, total: float, console: Console, clock: Callable[[], float]) -> None:
        self._total, self._console, self._clock = total, console, clock
        self._done, self._resumed = 0.0, 0.0
        self._started = self._last = clock()

    def advance(self, more: float) -> None:
        """Count, and print a line where the last one is a while ago."""
        now = self._clock()
        self._done += more
        if now - self._started < 1:
            self._resumed = self._done  # what an interrupted run had done says nothing about the speed
        if now - self._last < _SECONDS or self._done <= self._resumed:
            return
        self._last = now
        left = (now - self._started) * (self._total - self._done) / (self._done - self._resumed)
        minutes = f"{left / 60:.0f} min" if left < 5400 else f"{left / 3600:.1f} h"
        self._console.print(f"{100 * self._done / self._total:.1f} % predicted, about {minutes} left", highlight=False)
