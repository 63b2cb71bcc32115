"""What a prediction may use: memory, a scratch folder, and what does the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rescrnet.inference.budget import default_budget, resident_bytes
from rescrnet.inference.stream import Stream, Task, Tiling


class Executor(Protocol):
    """What does the tasks of a phase: this process, or a cluster."""

    def run(self, stream: Stream, tasks: list[Task]) -> Iterator[Task]:
        """Do ``tasks``, each after those that it needs, and yield each when it is done."""


class Sequential:
    """One task after the other, in order, in this process."""

    def run(self, stream: Stream, tasks: list[Task]) -> Iterator[Task]:
        """Do ``tasks`` and yield each when it is done."""
        for task in tasks:
            stream.run(task)
            yield task


@dataclass(frozen=True)
class Resources:
    """What a prediction may use.

    Attributes:
        memory: resident bytes of each process that computes, all in all; by default half of what is free.
        program: how much of it the program itself takes.
        scratch: folder for what does not fit into memory, and from which an interrupted prediction is resumed; none for
            a temporary one, which does not outlive the prediction.
        executor: what does the work; by default this process.
        tiling: how to stream every image; by default as fits the memory, and only what does not fit.
    """

    memory: int = field(default_factory=default_budget)
    program: int = field(default_factory=resident_bytes)
    scratch: Path | None = None
    executor: Executor = field(default_factory=Sequential)
    tiling: Tiling | None = None
