"""What an unfinished prediction has done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Marks:
    """Which tasks are done, and the small array that each of them left.

    Args:
        folder: holds one NumPy file a task; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def done(self) -> set[str]:
        """The names of the tasks that are done."""
        return {path.stem for path in self.folder.iterdir() if path.suffix == ".npy"}

    def get(self, name: str) -> NDArray[Any]:
        """What the task left."""
        left: NDArray[Any] = np.load(self.folder / f"{name}.npy")
        return left

    def put(self, name: str, left: NDArray[Any]) -> None:
        """Mark a task as done."""
        partial = self.folder / f"{name}.{os.getpid()}.partial"
        with partial.open("wb") as file:
            np.save(file, left)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / f"{name}.npy")

    def clear(self) -> None:
        """Nothing is done."""
        for path in self.folder.iterdir():
            path.unlink()
