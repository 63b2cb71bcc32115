"""Where the arrays of an image that is worked on in tiles lie: in memory, or in a folder that is resumed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rescrnet.images.npy import RawArray
from rescrnet.inference.journal import Journal


class Scratch(Protocol):
    """Arrays by name, and which steps are done."""

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of zeros, or what was written to it before; read and written by region."""

    def done(self, step: str) -> bool:
        """Whether a step is done."""

    def record(self, step: str, state: NDArray[Any]) -> None:
        """Say that a step is done, and keep ``state``."""

    def state(self, step: str) -> NDArray[Any]:
        """What was kept of a step."""


@dataclass(frozen=True)
class InMemory:
    """Scratch for images that fit."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    states: dict[str, NDArray[Any]] = field(default_factory=dict)

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """See :class:`Scratch`."""
        return self.arrays.setdefault(name, np.zeros(shape, dtype))

    def done(self, step: str) -> bool:
        """See :class:`Scratch`."""
        return step in self.states

    def record(self, step: str, state: NDArray[Any]) -> None:
        """See :class:`Scratch`."""
        self.states[step] = state

    def state(self, step: str) -> NDArray[Any]:
        """See :class:`Scratch`."""
        return self.states[step]


@dataclass(frozen=True)
class OnDisk:
    """Scratch in the folder of a journal, which outlives an interruption."""

    journal: Journal

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """See :class:`Scratch`."""
        file = self.journal.folder / f"{name}.npy"
        return RawArray.open(file) if file.exists() else RawArray.create(file, shape, dtype)

    def done(self, step: str) -> bool:
        """See :class:`Scratch`."""
        return self.journal.done(step)

    def record(self, step: str, state: NDArray[Any]) -> None:
        """See :class:`Scratch`."""
        self.journal.record(step, state)

    def state(self, step: str) -> NDArray[Any]:
        """See :class:`Scratch`."""
        return self.journal.state(step)
