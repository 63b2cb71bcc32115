"""Several trainings that differ in their seed alone, whose models predict as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from rescrnet.atomic import check_free, write_atomically
from rescrnet.checking.check import load_dataset
from rescrnet.config import DEFAULT_PRESET, Config, resolve
from rescrnet.datasets.dataset import Dataset
from rescrnet.ensemble import Ensemble
from rescrnet.errors import ModelError, OutputError, UsageError
from rescrnet.inference.budget import available_bytes
from rescrnet.inference.plan import whole_bytes
from rescrnet.locks import locked
from rescrnet.model import SegmentationModel, load
from rescrnet.model_folder import MEMBERS, MembersRecord, read_members
from rescrnet.objects.fit import fit_settings
from rescrnet.records import Record
from rescrnet.scoring.calibration import fit_temperature, labelled_pixels
from rescrnet.tensors import digest
from rescrnet.training.budget import BudgetTooSmallError
from rescrnet.training.folder import RunFolder
from rescrnet.training.hardware import Hardware
from rescrnet.training.progress import ProgressReporter
from rescrnet.training.train import check_same_dataset, declared_in, resume, train
from rescrnet.wording import as_text, count, one_line

SEEDS = "seeds.json"


class SeedsRecord(Record):
    """What ``seeds.json`` keeps, so that resuming needs nothing else."""

    config: Config
    """Of all members; each has its own seed, and its share of the budget."""
    seeds: list[int]
    val: str | None = None
    """Which images validate, as it was asked for."""
    start: str | None = None
    """The model file that all go on from, and a digest of its weights."""
    start_digest: str | None = None


def train_seeds(
    data: str | Path | Dataset,
    out: str | Path,
    config: Config | str = DEFAULT_PRESET,
    *,
    seeds: int | Sequence[int],
    val: str | None = None,
    start: str | Path | None = None,
    hardware: Hardware | None = None,
    progress: ProgressReporter | None = None,
    member: Callable[[str, int, int], object] = lambda name, number, of: None,
) -> SegmentationModel:
    """Train one model for each seed, one after the other, into run folders within a new folder, which is one model.

    Afterwards one temperature is fitted to the mean of their probabilities on the validation images, and how objects
    are told apart on the training images; both are kept in ``members.json``.

    Args:
        data: the dataset folder, or a dataset in memory.
        out: a new folder: ``seed-S`` for each seed, and ``members.json``. An interrupted call is continued by
            :func:`resume_seeds`.
        config: a preset's name, or a configuration. A budget is that of all members, in equal shares.
        seeds: so many, from the configuration's seed on, or a list of them.
        val: see :func:`rescrnet.train`.
        start: a model file or run folder that every member goes on from.
        hardware: what to train on, of one machine.
        progress: hears how each member goes; a progress bar on standard error where left out.
        member: called with the name of each member before it trains, its number from 1, and how many there are.

    Raises:
        RescrnetError: the data, the configuration, the hardware or the folder is at fault; one line with the remedy.
    """
    config = resolve(config) if isinstance(config, str) else config
    chosen = _chosen(seeds, config)
    out = Path(out)
    training = config.training
    if training.budget is not None:
        training = training.model_copy(update={"budget": training.budget / len(chosen)})
    with locked(out):
        if (out / SEEDS).is_file():
            raise OutputError(
                out, "already holds files", "choose a new folder, or remove it first; --resume continues it"
            )
        if not _was_begun(out):
            check_free(out)
        dataset = _read(data, val, config)
        begun = load(start) if start is not None else None
        record = SeedsRecord(
            config=config.model_copy(update={"training": training}),
            seeds=chosen,
            val=val,
            start=None if start is None else as_text(str(Path(start).resolve())),
            start_digest=None if begun is None else _digest(begun),
        )
        members = _Members(out, record, dataset, begun, hardware, progress, member)
        members.begin()
        return members.run()


def resume_seeds(
    data: str | Path | Dataset,
    out: str | Path,
    *,
    hardware: Hardware | None = None,
    progress: ProgressReporter | None = None,
    member: Callable[[str, int, int], object] = lambda name, number, of: None,
) -> SegmentationModel:
    """Continue what :func:`train_seeds` began: with the member that was interrupted, then those that are missing."""
    out = Path(out)
    record = read_seeds(out)
    with locked(out):
        begun = None if record.start is None else load(record.start)
        if begun is not None and _digest(begun) != record.start_digest:
            raise ModelError(record.start, f"is not the model that {out} was begun from", "restore it")
        dataset = _read(data, record.val, record.config)
        members = _Members(out, record, dataset, begun, hardware, progress, member)
        members.check_same()
        return members.run()


def has_seeds(out: Path) -> bool:
    """Whether ``out`` is a folder of :func:`train_seeds`."""
    return (out / SEEDS).is_file()


def read_seeds(out: Path) -> SeedsRecord:
    """Read ``seeds.json``. Raises :class:`ModelError` where it is missing or damaged."""
    try:
        return SeedsRecord.model_validate_json((out / SEEDS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(out, f"has no {SEEDS}", "expected a folder of train --seeds") from None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ModelError(out / SEEDS, f"is damaged ({one_line(str(error))[:100]})", "restore it from a copy") from None


class _Members:
    """The trainings of one folder."""

    def __init__(
        self,
        out: Path,
        record: SeedsRecord,
        dataset: Dataset,
        start: SegmentationModel | None,
        hardware: Hardware | None,
        progress: ProgressReporter | None,
        heard: Callable[[str, int, int], object],
    ) -> None:
        self._out, self._record, self._dataset, self._start = out, record, dataset, start
        self._hardware, self._progress, self._heard = hardware or Hardware(), progress, heard
        if self._hardware.nodes > 1:
            raise UsageError("--seeds", "members are trained on one machine", "leave --nodes out")
        self._names = [f"seed-{seed}" for seed in record.seeds]

    def begin(self) -> None:
        """Say what the folder is to become; the last file makes it one that can be resumed."""
        self._out.mkdir(parents=True, exist_ok=True)
        MembersRecord(members=self._names, finished=False).write(self._out)
        text = self._record.model_dump_json(indent=1) + "\n"
        write_atomically(self._out / SEEDS, lambda partial: partial.write_text(text, encoding="utf-8"))

    def check_same(self) -> None:
        """Raise :class:`DataError` where the dataset is not that of the members that are there."""
        for run in self._runs:
            if run.exists:
                check_same_dataset(self._dataset, run)

    def run(self) -> SegmentationModel:
        """Train what is missing, then fit what all members share."""
        try:
            for number, (run, seed) in enumerate(zip(self._runs, self._record.seeds, strict=True), start=1):
                if run.exists and run.read_record().status == "finished":
                    continue
                self._heard(run.path.name, number, len(self._names))
                self._train(run, seed)
        except BaseException:
            if not any(run.path.exists() for run in self._runs):  # there is nothing to resume
                for name in (SEEDS, MEMBERS):
                    (self._out / name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # it holds something of somebody's
                    self._out.rmdir()
            raise
        if (self._out / MEMBERS).is_file() and (known := read_members(self._out)).finished:
            return self._ensemble(known)
        record = self._fitted()
        record.write(self._out)
        return self._ensemble(record)

    @property
    def _runs(self) -> list[RunFolder]:
        return [RunFolder(self._out / name) for name in self._names]

    def _train(self, run: RunFolder, seed: int) -> None:
        hardware, progress, data = self._hardware, self._progress, self._dataset
        if run.exists:
            resume(data, run.path, hardware=hardware, progress=progress)
            return
        config, val = self._config(seed), self._record.val
        try:
            train(data, run.path, config, val=val, start=self._start, hardware=hardware, progress=progress)
        except BudgetTooSmallError as error:
            of, share = len(self._names), config.training.budget
            found = f"leaves {share:.2g} minutes to each of {count(of, 'member')}, which {error.found}"
            raise BudgetTooSmallError("training.budget", found, f"{error.remedy} minutes for each") from None

    def _config(self, seed: int) -> Config:
        training = self._record.config.training.model_copy(update={"seed": seed})
        return self._record.config.model_copy(update={"training": training})

    def _ensemble(self, record: MembersRecord) -> Ensemble:
        members = [load(self._out / name) for name in self._names]
        return Ensemble(members, temperature=record.temperature, objects=record.objects)

    def _fitted(self) -> MembersRecord:
        """The members with their temperature, and settings of objects fitted to their mean."""
        record = MembersRecord(members=self._names)
        model = self._ensemble(record)
        some = [one for one in self._dataset.val if 2 * whole_bytes(model, one.mask.shape) < available_bytes()]
        if some:
            temperature = fit_temperature(
                labelled_pixels(model.predict_normalised(one.image), one.mask) for one in some
            )
            fitted_on = f"{count(len(some), 'validation image')} of {self._dataset.folder.name}"
            record = record.model_copy(update={"temperature": temperature, "fitted_on": as_text(fitted_on)})
        objects = fit_settings(self._ensemble(record), self._dataset.train)
        return record.model_copy(update={"objects": objects})


def seeds_from(config: Config, number: int) -> list[int]:
    """So many seeds, from the configuration's on. Raises :class:`UsageError` for none."""
    if number < 1:
        raise UsageError(f"--seeds {number}", "trains nothing", "expected at least 1")
    return [config.training.seed + index for index in range(number)]


def _chosen(seeds: int | Sequence[int], config: Config) -> list[int]:
    if isinstance(seeds, int):
        return seeds_from(config, seeds)
    chosen = list(seeds)
    if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0:
        raise UsageError(
            f"--seeds {','.join(map(str, chosen))}", "is no list of different seeds", "expected such as 0,1,2"
        )
    return chosen


def _read(data: str | Path | Dataset, val: str | None, config: Config) -> Dataset:
    return data if isinstance(data, Dataset) else load_dataset(data, val, declared=declared_in(config))


def _was_begun(out: Path) -> bool:
    """Whether all that lies in ``out`` is the beginning of such a folder, left by a process that was killed."""
    return out.is_dir() and {path.name for path in out.iterdir() if not path.name.startswith(".")} == {MEMBERS}


def _digest(model: SegmentationModel) -> str:
    return digest(model.network.state_dict(), {})
