"""The run folder: all of a run on disk, enough to use, repeat or resume it."""

from __future__ import annotations

import contextlib
import csv
import io
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AwareDatetime, BeforeValidator, ConfigDict, PositiveInt
from safetensors.torch import save_file
from torch import Tensor

from rescrnet.atomic import write_atomically
from rescrnet.classes import ClassEntry
from rescrnet.config import Config, resolve
from rescrnet.errors import ModelError, OutputError
from rescrnet.model import BEST, LAST, read_safetensors
from rescrnet.records import Record
from rescrnet.training.hardware import Hardware
from rescrnet.validation import Validation, parse_validation
from rescrnet.wording import as_text

Row = dict[str, float]
"""A line of the history: an epoch."""


def _parsed(value: Any) -> Any:
    """Earlier versions kept the text that was given."""
    return parse_validation(value) if isinstance(value, str) else value


COLUMNS = ("epoch", "loss", "val_loss", "val_tanimoto", "seconds")


class RunDataset(Record):
    """The dataset of a run, as it was read."""

    RENAMED = {"val_argument": "validation"}

    folder: str
    """Absolute."""
    validation: Annotated[Validation | None, BeforeValidator(_parsed)] = None
    """Which images were asked to validate; None where the dataset had the say."""
    train: list[str]
    val: list[str]
    channels: PositiveInt
    classes: list[ClassEntry]
    table: list[tuple[str, str, float]] = []
    """Value in the masks, class, share of the pixels; also of unlabelled pixels."""
    notes: list[str] = []


class Environment(Record):
    """Versions and machine. The versions of other packages are kept by the names of these."""

    model_config = ConfigDict(extra="allow")

    python: str
    rescrnet: str
    platform: str
    threads: int
    command: list[str]
    started: AwareDatetime

    @classmethod
    def here(cls) -> Environment:
        """Of this process, now."""
        packages = ("rescrnet", "torch", "numpy", "lightning-fabric", "scipy", "pillow", "tifffile")
        versions: dict[str, Any] = {name: version(name) for name in packages}
        return cls(
            python=platform.python_version(),
            platform=platform.platform(),
            threads=torch.get_num_threads(),
            command=[as_text(part) for part in (Path(sys.argv[0]).name, *sys.argv[1:])],
            started=datetime.now(UTC).replace(microsecond=0),
            **versions,
        )


class RunRecord(Record):
    """What ``run.json`` says of a run."""

    status: Literal["running", "stopped", "finished"]
    dataset: RunDataset
    hardware: Hardware
    environment: Environment
    epochs: int = 0
    """How many were completed."""


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml``, ``run.json``, ``history.csv``, the models, and the state that resuming needs."""

    path: Path

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "run.json").is_file()

    def create(self, config: Config, record: RunRecord) -> None:
        """Make the folder with the resolved configuration and the record of the run."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(self.path, f"cannot be made ({error.strerror})") from None
        self._write_text("config.yaml", config.to_yaml())
        self.write_record(record)

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json``."""
        self._write_text("run.json", record.model_dump_json(indent=2) + "\n")

    def close(self, record: RunRecord) -> None:
        """Record how a run ended; one that ended before it had a model leaves nothing of its own."""
        if any(path.is_file() for path in (self.path / LAST, self.path / BEST, self._state)):
            self.write_record(record.model_copy(update={"epochs": len(self.read_history())}))
            return
        for name in ("config.yaml", "run.json"):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something of somebody's
            self.path.rmdir()

    def read_record(self) -> RunRecord:
        """Read ``run.json``. Raises :class:`ModelError` where this is no run folder."""
        try:
            return RunRecord.model_validate_json((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ModelError(
                self.path, "is no run folder, it has no readable run.json", "expected one of train"
            ) from None

    def read_config(self) -> Config:
        """Read ``config.yaml``."""
        return resolve("custom", self.path / "config.yaml")

    def write_history(self, rows: list[Row]) -> None:
        """Write ``history.csv``."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._write_text("history.csv", text.getvalue())

    def read_history(self) -> list[Row]:
        """Read ``history.csv``; no rows where there is none yet."""
        path = self.path / "history.csv"
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        return [{**row, "epoch": int(row["epoch"])} for row in rows]

    def save_state(self, epoch: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep what continuing after ``epoch`` needs."""
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_atomically(self._state, lambda partial: save_file(kept, partial, {"epoch": str(epoch)}))

    def load_state(self) -> tuple[int, dict[str, Tensor]]:
        """The last completed epoch and its tensors; epoch 0 and none where no epoch was completed."""
        if not self._state.is_file():
            return 0, {}
        header, tensors = read_safetensors(self._state)
        return int(header["epoch"]), tensors

    @property
    def _state(self) -> Path:
        return self.path / "state.safetensors"

    def _write_text(self, name: str, text: str) -> None:
        write_atomically(self.path / name, lambda partial: partial.write_text(text, encoding="utf-8"))
