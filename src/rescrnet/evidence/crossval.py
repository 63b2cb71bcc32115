"""Cross-validation: every image is scored by models that never saw it, nor another image of its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.config import DEFAULT_PRESET, Config, resolve
from rescrnet.evidence.experiment import carry_out, facts_of, planned
from rescrnet.evidence.folds import Labelled, divide, read_labelled
from rescrnet.evidence.members import write_members
from rescrnet.evidence.methods import find_methods
from rescrnet.evidence.outcome import (
    keep_probabilities,
    read_out_of_fold,
    statistics_of,
    write_json,
    write_out_of_fold,
    write_text,
)
from rescrnet.evidence.plan import Plan, fix_plan
from rescrnet.evidence.progress import ExperimentBar, ExperimentProgress
from rescrnet.evidence.results import Table, ledger_csv, to_csv
from rescrnet.evidence.units import Result, Unit
from rescrnet.evidence.words import crossval_words
from rescrnet.locks import locked
from rescrnet.model import load
from rescrnet.training.seeds import seeds_from
from rescrnet.training.train import declared_in


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation.

    Attributes:
        out: its folder.
        plan: what was done.
        labelled: the images.
        table: all scores.
        stats: what ``stats.json`` holds.
    """

    out: Path
    plan: Plan
    labelled: Labelled
    table: Table
    stats: dict[str, Any]

    def probabilities(self) -> dict[str, NDArray[np.float32]]:
        """Of every image, averaged over the seeds: (classes, Y, X) float32 by stem."""
        return {stem: probabilities for stem, (probabilities, _) in read_out_of_fold(self.out).items()}


def crossval(
    data: str | Path,
    out: str | Path,
    config: Config | str = DEFAULT_PRESET,
    *,
    folds: int = 4,
    seeds: int = 3,
    seconds: float | None = None,
    margin: float = 0.01,
    resume: bool = False,
    progress: ExperimentProgress | None = None,
) -> CrossValidation:
    """Score a configuration on all labelled images of a dataset by cross-validation.

    Folds keep groups (animals, stacks, larger images, copies) whole. Each fold is predicted by ``seeds`` models trained
    on all other folds; no epoch is chosen, the last weights count, so that no image serves two ends.

    Args:
        data: the dataset folder; its own split plays no part.
        out: a new folder: ``plan.json``, ``fold-K/seed-S`` (run folders), ``scores.csv``, ``stats.json``,
            ``ledger.csv``, ``out-of-fold``, ``members.json`` (the folder is a model, the mean of all its models).
        config: a preset's name, or a configuration.
        folds: how many, at least 2.
        seeds: how many trainings of each fold, from the configuration's seed on.
        seconds: of training, all trainings together; each gets an equal share. Without it each trains the
            configuration's epochs.
        margin: a difference of mean IoU that does not matter.
        resume: go on with what an interrupted call left in ``out``.
        progress: hears how it goes; a progress bar on standard error where left out.

    Raises:
        RescrnetError: the data, the folds, the budget or the folder is at fault; one line with the remedy.
    """
    config = resolve(config) if isinstance(config, str) else config
    out, data = Path(out), Path(data)
    numbers = seeds_from(config, seeds)
    architecture = config.network.architecture
    methods = find_methods([architecture])
    labelled = read_labelled(data, declared_in(config))
    of_image = divide(labelled.groups, folds, data)
    plan = planned(
        "crossval",
        labelled,
        of_image,
        methods,
        config,
        seeds=numbers,
        margin=margin,
        seconds=None if seconds is None else seconds / (folds * seeds),
    )
    with locked(out):
        plan = fix_plan(plan, out, resume=resume)
        units = units_of(plan, out, architecture)
        places = {image.stem: number for number, image in enumerate(plan.images)}
        results = carry_out(
            labelled,
            plan,
            methods,
            config,
            units,
            progress=progress or ExperimentBar(),
            seen=partial(keep_probabilities, places),
        )
        write_out_of_fold(out, labelled.samples, units, of_image)
        return _concluded(out, plan, labelled, results, config, units)


def units_of(plan: Plan, out: Path, method: str) -> list[Unit]:
    """All trainings, every fold once before any fold a second time."""
    return [
        Unit(method, fold, seed, out / f"fold-{fold}" / f"seed-{seed}")
        for seed in plan.seeds
        for fold in range(1, plan.folds + 1)
    ]


def _concluded(
    out: Path, plan: Plan, labelled: Labelled, results: Sequence[Result], config: Config, units: Sequence[Unit]
) -> CrossValidation:
    table = Table(plan.classes, labelled.groups, plan.fold_of(), results)
    stats = {
        **facts_of(plan, labelled),
        **statistics_of(table),
        "calibration": write_members(out, load(units[0].folder), units, labelled.samples, plan.fold_of()),
    }
    stats["words"] = crossval_words(plan, stats, config)
    write_text(out / "scores.csv", to_csv({"": table}))
    write_text(out / "ledger.csv", ledger_csv(results))
    write_json(out / "stats.json", stats)
    return CrossValidation(out, plan, labelled, table, stats)
