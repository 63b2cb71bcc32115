"""The run folder: all of a run on disk, enough to use, repeat or resume it."""

from __future__ import annotations

import contextlib
import csv
import io
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AwareDatetime, BeforeValidator, ConfigDict, PositiveInt
from torch import Tensor

from rescrnet.atomic import PARTIAL, check_free, write_atomically
from rescrnet.classes import ClassEntry
from rescrnet.config import Config, resolve
from rescrnet.errors import ModelError, OutputError, UsageError
from rescrnet.locks import WITHIN
from rescrnet.model import LAST
from rescrnet.model_folder import BEST
from rescrnet.records import Record
from rescrnet.tensors import read_tensors, write_tensors
from rescrnet.training.hardware import Hardware
from rescrnet.validation import Validation, parse_validation
from rescrnet.wording import as_text

Row = dict[str, float]
"""A line of the history: an epoch. In a run with a budget its ``progress`` is how much of the run is done, to 1, and
``steps`` how many it had, for the last epoch is as long as what was left."""


def _parsed(value: Any) -> Any:
    """Earlier versions kept the text that was given."""
    return parse_validation(value) if isinstance(value, str) else value


_MOST = 1e30  # of any number in a history; NaN is not less either
COLUMNS = ("epoch", "loss", "val_loss", "val_tanimoto", "seconds")
PROGRESS, STEPS = "progress", "steps"


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


def _row(line: Mapping[str, str]) -> Row:
    of_budget = (name for name in (PROGRESS, STEPS) if line.get(name))  # earlier versions wrote no steps
    return {name: float(line[name]) for name in (*COLUMNS, *of_budget)}


@dataclass(frozen=True)
class RunFolder:
    """``config.yaml``, ``run.json``, ``history.csv``, the models, and the state that resuming needs."""

    path: Path

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "run.json").is_file()

    def check_free(self) -> None:
        """Raise :class:`OutputError` where no run can begin. One that was killed while it began is no obstacle."""
        if self.exists:
            raise OutputError(
                self.path,
                "already holds files",
                "choose a new folder, or remove it first; --resume continues it",
            )
        if not self._was_begun():
            check_free(self.path)

    def _was_begun(self) -> bool:
        """Whether all that lies here is what :meth:`create` leaves when it is killed."""
        config = self.path / "config.yaml"
        begun = {".config.yaml" + PARTIAL, ".run.json" + PARTIAL, config.name, WITHIN}
        if not self.path.is_dir() or not {path.name for path in self.path.iterdir()} <= begun:
            return False
        try:  # somebody may keep a configuration of his own here
            text = config.read_text(encoding="utf-8") if config.is_file() else ""
            return not text or self.read_config().to_yaml() == text
        except (OSError, ValueError, UsageError):
            return False

    def create(self, config: Config, record: RunRecord) -> None:
        """Make the folder with the resolved configuration and the record of the run; all of that, or nothing."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(self.path, f"cannot be made ({error.strerror})") from None
        try:
            self._write_text("config.yaml", config.to_yaml())
            self.write_record(record)
        except BaseException:
            self._remove()
            raise

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json``."""
        self._write_text("run.json", record.model_dump_json(indent=2) + "\n")

    def close(self, record: RunRecord) -> None:
        """Record how a run ended; one that ended before it had a model leaves nothing of its own."""
        if any(path.is_file() for path in (self.path / LAST, self.path / BEST, self.state)):
            self.write_record(record.model_copy(update={"epochs": len(self.read_history())}))
            return
        self._remove()

    def _remove(self) -> None:
        for name in ("run.json", "config.yaml"):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds something of somebody's
            self.path.rmdir()

    def read_record(self) -> RunRecord:
        """Read ``run.json``. Raises :class:`ModelError` where this is no run folder."""
        if self._was_begun():
            raise ModelError(
                self.path,
                "is no run folder, nothing of a run is in it yet, no run.json",
                "begin one with train, without --resume",
            )
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
        of_budget = tuple(name for name in (PROGRESS, STEPS) if any(name in row for row in rows))
        writer = csv.DictWriter(text, COLUMNS + of_budget, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._write_text("history.csv", text.getvalue())

    def read_history(self) -> list[Row]:
        """Read ``history.csv``; no rows where there is none yet."""
        path = self.path / "history.csv"
        if not path.is_file():
            return []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [_row(line) for line in csv.DictReader(file)]
            known = all(abs(value) < _MOST for row in rows for name, value in row.items() if name != "val_loss")
            if not known or [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
                raise ValueError
        except (OSError, ValueError, TypeError, KeyError, csv.Error):
            raise ModelError(
                path, "is damaged, it does not list the epochs with their numbers", "restore it from a copy"
            ) from None
        whole = ("epoch", STEPS)
        return [{name: int(value) if name in whole else value for name, value in row.items()} for row in rows]

    def save_state(self, epoch: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep what continuing after ``epoch`` needs."""
        write_tensors(self.state, tensors, {"epoch": str(epoch)})

    def load_state(self) -> tuple[int, dict[str, Tensor]]:
        """The last completed epoch and its tensors; epoch 0 and none where no epoch was completed."""
        if not self.state.is_file():
            return 0, {}
        header, tensors = read_tensors(self.state, frozenset({"epoch"}))
        epoch = header.get("epoch", "")
        if not re.fullmatch("[0-9]{1,9}", epoch):
            raise ModelError(self.state, "is damaged, it does not say of which epoch it is", "restore it from a copy")
        return int(epoch), tensors

    @property
    def state(self) -> Path:
        """What resuming needs."""
        return self.path / "state.safetensors"

    def _write_text(self, name: str, text: str) -> None:
        write_atomically(self.path / name, lambda partial: partial.write_text(text, encoding="utf-8"))
