"""Shows how an experiment goes: a bar with the time left in a terminal, a line for each training elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from rescrnet.evidence.budget import in_words
from rescrnet.evidence.units import Result, Unit
from rescrnet.wording import printable


class ExperimentProgress:
    """Hears how an experiment goes. This one does nothing about it."""

    def begin(self, units: int, done: int) -> None:
        """There are ``units``, of which ``done`` were done before."""

    def unit(self, unit: Unit) -> None:
        """A unit begins."""

    def share(self, share: float) -> None:
        """The share of its training that is done."""

    def result(self, result: Result, score: float) -> None:
        """A unit is done, its images score ``score`` on average."""

    def end(self) -> None:
        """All units are done, or it was interrupted."""


class ExperimentBar(ExperimentProgress):
    """A bar over all units, with the time that is left by those that are done."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.fields[what]}"),
            BarColumn(),
            TextColumn("{task.fields[number]}/{task.fields[units]}  {task.fields[left]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def begin(self, units: int, done: int) -> None:
        """Start the bar."""
        self._units, self._before, self._done = units, done, 0
        self._started = time.monotonic()
        self._task = self._bar.add_task("", total=units, completed=done, what="", number=done, units=units, left="")
        self._bar.start()

    def unit(self, unit: Unit) -> None:
        """Say what begins."""
        size = f" of {unit.size} images" if unit.size else ""
        self._what = f"{unit.method}{size}, fold {unit.fold}, seed {unit.seed}"
        self._bar.update(self._task, what=printable(self._what))

    def share(self, share: float) -> None:
        """Move the bar within a unit."""
        done = self._done + share
        self._bar.update(self._task, completed=self._before + done, left=self._left(done))

    def result(self, result: Result, score: float) -> None:
        """Move the bar, or print a line."""
        self._done += 1
        number = self._before + self._done
        left = self._left(self._done)
        self._bar.update(self._task, completed=number, number=number, left=left)
        if not self._console.is_terminal:
            seconds = in_words(float(result.cost["seconds"] or 0))
            line = f"{number}/{self._units}  {self._what}: mean IoU {score:.3f}, {seconds}  {left}"
            self._console.print(printable(line), highlight=False, soft_wrap=True, markup=False, emoji=False)

    def end(self) -> None:
        """Stop the bar."""
        self._bar.stop()

    def _left(self, done: float) -> str:
        if done < 0.05:
            return ""
        left = (time.monotonic() - self._started) / done * (self._units - self._before - done)
        return f"about {in_words(left)} left" if left >= 1 else ""
