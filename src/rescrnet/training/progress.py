"""Shows how a run goes: a bar in a terminal, a line an epoch elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rescrnet.datasets.dataset import Dataset
from rescrnet.training.folder import Row
from rescrnet.wording import channels, printable


class ProgressReporter:
    """Hears how a run goes. This one does nothing about it; others override what they want to hear."""

    def data(self, dataset: Dataset) -> None:
        """The dataset is read."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """A run of ``epochs`` of ``steps`` starts after the epoch ``done``; 0 starts a new one."""

    def planned(self, epochs: int, steps: int) -> None:
        """The run will end with epoch ``epochs``, after ``steps`` more; with a budget that changes on the way."""

    def step(self, epoch: int, loss: float) -> None:
        """A step of ``epoch`` is done."""

    def epoch(self, row: Row, best: bool) -> None:
        """An epoch is done."""

    def end(self) -> None:
        """The run ends."""


class ProgressBar(ProgressReporter):
    """A bar over all steps with the loss and the validation Tanimoto; where there is no terminal, a line an epoch."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  val Tanimoto {task.fields[tanimoto]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._epochs = 0

    def data(self, dataset: Dataset) -> None:
        """Print the class table."""
        table = Table()
        for column in ("value in the mask", "class", "share of pixels"):
            table.add_column(column, overflow="fold")
        for value, name, share in dataset.table.rows():
            table.add_row(Text(printable(value)), Text(printable(name)), f"{share:.1%}")
        self._console.print(
            f"{printable(dataset.folder)}: {len(dataset.train)} images to train on, {len(dataset.val)} to validate, "
            f"{channels(dataset.channels)}",
            highlight=False,
            soft_wrap=True,
            markup=False,
            emoji=False,
        )
        self._console.print(table)
        for note in dataset.notes:
            self._console.print(f"note: {printable(note)}", highlight=False, soft_wrap=True, markup=False, emoji=False)

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Start the bar."""
        self._epochs = epochs
        self._task = self._bar.add_task(
            "", total=epochs * steps, completed=done * steps, epoch=f"{done}/{epochs}", loss="–", tanimoto="–"
        )
        self._bar.start()

    def planned(self, epochs: int, steps: int) -> None:
        """Make the bar as long as the run."""
        self._epochs = epochs
        self._bar.update(self._task, total=self._bar.tasks[self._task].completed + steps)

    def step(self, epoch: int, loss: float) -> None:
        """Advance the bar."""
        self._bar.update(self._task, advance=1, epoch=f"{epoch}/{self._epochs}", loss=f"{loss:.3f}")

    def epoch(self, row: Row, best: bool) -> None:
        """Show the validation."""
        self._bar.update(self._task, tanimoto=f"{row['val_tanimoto']:.3f}")
        if not self._console.is_terminal:
            self._console.print(
                f"epoch {row['epoch']}/{self._epochs}  loss {row['loss']:.4f}  val loss {row['val_loss']:.4f}  "
                f"val Tanimoto {row['val_tanimoto']:.4f}  {row['seconds']:.0f} s{'  best' if best else ''}",
                highlight=False,
                soft_wrap=True,
            )

    def end(self) -> None:
        """Stop the bar."""
        self._bar.stop()
