"""Several methods on the same folds, seeds and budget, and what can be said of their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rescrnet.config import DEFAULT_PRESET, Config, resolve
from rescrnet.errors import UsageError
from rescrnet.evidence.experiment import carry_out, facts_of, planned
from rescrnet.evidence.folds import Labelled, divide, read_labelled
from rescrnet.evidence.methods import Method, find_methods
from rescrnet.evidence.outcome import described, statistics_of, write_json, write_text
from rescrnet.evidence.plan import Plan, fix_plan
from rescrnet.evidence.progress import ExperimentBar, ExperimentProgress
from rescrnet.evidence.results import BOUNDS, Table, ledger_csv, to_csv
from rescrnet.evidence.statistics import Difference, corrected_difference, decide, holm, interval, share_tested
from rescrnet.evidence.units import Result, Unit
from rescrnet.evidence.words import compare_words
from rescrnet.locks import locked
from rescrnet.training.seeds import seeds_from
from rescrnet.training.train import declared_in

_MINUTES = 10.0  # for each training, where nothing else is said


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        out: its folder.
        plan: what was done.
        labelled: the images.
        tables: all scores, by method; the first is what the others are compared with.
        stats: what ``stats.json`` holds.
    """

    out: Path
    plan: Plan
    labelled: Labelled
    tables: dict[str, Table]
    stats: dict[str, Any]


def compare(
    data: str | Path,
    out: str | Path,
    methods: Sequence[str] = ("res-cr-net", "forest"),
    config: Config | str = DEFAULT_PRESET,
    *,
    folds: int = 4,
    seeds: int = 2,
    seconds: float | None = None,
    updates: int | None = None,
    margin: float = 0.01,
    resume: bool = False,
    progress: ExperimentProgress | None = None,
) -> Comparison:
    """Train several methods on the same folds with the same seeds, and decide what their scores can decide.

    Args:
        data: the dataset folder; its own split plays no part.
        out: a new folder: ``plan.json``, ``METHOD/fold-K/seed-S``, ``scores.csv``, ``stats.json``, ``ledger.csv``.
        methods: names, or ``my_file.py:function`` for a method of the user's own; the first is what the others are
            compared with.
        config: the settings of Res-CR-Net and the U-Nets; others have their own.
        folds: how many, at least 2.
        seeds: how many trainings of each fold and method.
        seconds: of wall-clock time for each training; ten minutes where neither is given.
        updates: steps of the optimiser for each training instead; methods without such steps train as they always do.
        margin: a difference of mean IoU that does not matter.
        resume: go on with what an interrupted call left in ``out``.
        progress: hears how it goes; a progress bar on standard error where left out.

    Raises:
        RescrnetError: the data, the methods, the budget or the folder is at fault; one line with the remedy.
    """
    config = resolve(config) if isinstance(config, str) else config
    out, data = Path(out), Path(data)
    if seconds is not None and updates is not None:
        raise UsageError("--budget, --updates", "are both given", "give the one that all methods are to share")
    numbers = seeds_from(config, seeds)
    chosen = find_methods(methods)
    if len(chosen) < 2:
        raise UsageError("--methods", "names one method", "expected at least two, the first is what others are held to")
    labelled = read_labelled(data, declared_in(config))
    of_image = divide(labelled.groups, folds, data)
    plan = planned(
        "compare",
        labelled,
        of_image,
        chosen,
        config,
        seeds=numbers,
        margin=margin,
        seconds=None if updates is not None else _MINUTES * 60 if seconds is None else seconds,
        updates=updates,
    )
    with locked(out):
        plan = fix_plan(plan, out, resume=resume)
        units = units_of(plan, out, chosen)
        results = carry_out(labelled, plan, chosen, config, units, progress=progress or ExperimentBar())
        return _concluded(out, plan, labelled, results)


def units_of(plan: Plan, out: Path, methods: Mapping[str, Method]) -> list[Unit]:
    """All trainings: the methods take turns, so that a slow hour of the machine meets all of them alike."""
    return [
        Unit(name, fold, seed, out / name / f"fold-{fold}" / f"seed-{seed}")
        for seed in plan.seeds
        for fold in range(1, plan.folds + 1)
        for name in methods
    ]


def fold_differences(table: Table, reference: Table, metric: str) -> list[float]:
    """How much more ``table`` scores than ``reference`` in each fold, its images and seeds averaged."""
    own, other = table.values(metric), reference.values(metric)
    of_fold: dict[int, list[float]] = {}
    for stem, value in own.items():
        of_fold.setdefault(table.folds[stem], []).append(value - other[stem])
    return [float(np.nanmean(of_fold[fold])) for fold in sorted(of_fold)]


def _concluded(out: Path, plan: Plan, labelled: Labelled, results: Sequence[Result]) -> Comparison:
    names = list(plan.methods)
    tables = {
        name: Table(plan.classes, labelled.groups, plan.fold_of(), [r for r in results if r.unit.method == name])
        for name in names
    }
    stats = {
        **facts_of(plan, labelled),
        "reference": names[0],
        "margin": plan.margin,
        "methods": {name: {**statistics_of(table), "cost": _costs(table.results)} for name, table in tables.items()},
        "differences": _differences(plan, tables),
    }
    stats["words"] = compare_words(plan, stats)
    write_text(out / "scores.csv", to_csv(tables, "method"))
    write_text(out / "ledger.csv", ledger_csv(results))
    write_json(out / "stats.json", stats)
    return Comparison(out, plan, labelled, tables, stats)


def _differences(plan: Plan, tables: Mapping[str, Table]) -> dict[str, Any]:
    """Of each method but the first: how it differs from that one, and what may be said of it."""
    first, *others = tables
    tested: dict[str, Difference] = {}
    described_images: dict[str, dict[str, Any]] = {}
    for name in others:
        folds = fold_differences(tables[name], tables[first], plan.metric)
        tested[name] = corrected_difference(
            folds, share_tested(plan.folds), margin=plan.margin, images=len(plan.images)
        )
        own, other = tables[name].values(plan.metric), tables[first].values(plan.metric)
        values = {stem: own[stem] - other[stem] for stem in own}
        groups = [tables[name].groups[stem] for stem in values]
        least, most = BOUNDS[plan.metric]
        found = interval(list(values.values()), groups, bounds=(least - most, most - least))
        described_images[name] = {**described(found, values), "folds": folds}
    verdicts = decide(tested, margin=plan.margin)
    adjusted = dict(zip(tested, holm([one.p_different for one in tested.values()]), strict=True))
    return {
        name: {
            **asdict(difference),
            "p_holm": adjusted[name],
            "verdict": verdicts[name],
            "images_differences": described_images[name],
        }
        for name, difference in tested.items()
    }


def _costs(results: Sequence[Result]) -> dict[str, float | None]:
    """The mean of what trainings cost; None where it is not known of all of them."""
    keys = ("seconds", "cpu_seconds", "peak_memory", "parameters", "updates", "predict_seconds")
    found: dict[str, float | None] = {}
    for key in keys:
        values = [value for result in results if (value := result.cost.get(key)) is not None]
        found[key] = float(np.mean(values)) if len(values) == len(results) else None
    return found
