"""How the score grows with the number of training images, and whether more of them would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rescrnet.config import DEFAULT_PRESET, Config, resolve
from rescrnet.datasets.dataset import Dataset
from rescrnet.errors import UsageError
from rescrnet.evidence.experiment import carry_out, facts_of, planned
from rescrnet.evidence.folds import Labelled, divide, read_labelled
from rescrnet.evidence.methods import find_methods
from rescrnet.evidence.outcome import described, write_json, write_text
from rescrnet.evidence.plan import Plan, fix_plan
from rescrnet.evidence.progress import ExperimentBar, ExperimentProgress
from rescrnet.evidence.results import Table, ledger_csv, to_csv
from rescrnet.evidence.statistics import Interval, interval
from rescrnet.evidence.units import Result, Unit
from rescrnet.evidence.words import curve_words
from rescrnet.locks import locked
from rescrnet.training.seeds import seeds_from
from rescrnet.training.train import declared_in

Answer = Literal["yes", "no", "cannot tell"]
MORE = 5
"""Images, of which is said whether they would help."""
_LAST = 3  # sizes whose growth is continued


@dataclass(frozen=True)
class LearningCurve:
    """A finished learning curve.

    Attributes:
        out: its folder.
        plan: what was done.
        tables: all scores, by the number of training images.
        stats: what ``stats.json`` holds.
    """

    out: Path
    plan: Plan
    tables: dict[int, Table]
    stats: dict[str, Any]


def curve(
    data: str | Path,
    out: str | Path,
    config: Config | str = DEFAULT_PRESET,
    *,
    sizes: Sequence[int] = (),
    folds: int = 4,
    seeds: int = 2,
    seconds: float | None = None,
    margin: float = 0.01,
    resume: bool = False,
    progress: ExperimentProgress | None = None,
) -> LearningCurve:
    """Train on 2, 4, 6, … images, test on the same folds each time, and say whether more images would help.

    Args:
        data: the dataset folder; its own split plays no part.
        out: a new folder: ``plan.json``, ``images-N/fold-K/seed-S``, ``scores.csv``, ``stats.json``, ``ledger.csv``.
        config: a preset's name, or a configuration.
        sizes: numbers of training images; 2, 4, 6, … up to what the folds leave, where left out.
        folds: how many, at least 2.
        seeds: how many trainings of each fold and size; each draws other images, a larger size those of the smaller.
        seconds: of training, all trainings together; each gets an equal share.
        margin: a gain of mean IoU that is not worth five more images.
        resume: go on with what an interrupted call left in ``out``.
        progress: hears how it goes; a progress bar on standard error where left out.

    Raises:
        RescrnetError: the data, the sizes, the folds, the budget or the folder is at fault; one line with the remedy.
    """
    config = resolve(config) if isinstance(config, str) else config
    out, data = Path(out), Path(data)
    numbers = seeds_from(config, seeds)
    architecture = config.network.architecture
    methods = find_methods([architecture])
    labelled = read_labelled(data, declared_in(config))
    of_image = divide(labelled.groups, folds, data)
    chosen = _sizes(sizes, of_image)
    plan = planned(
        "curve",
        labelled,
        of_image,
        methods,
        config,
        seeds=numbers,
        margin=margin,
        sizes=chosen,
        seconds=None if seconds is None else seconds / (folds * seeds * len(chosen)),
    )
    with locked(out):
        plan = fix_plan(plan, out, resume=resume)
        units = [
            Unit(architecture, fold, seed, out / f"images-{size}" / f"fold-{fold}" / f"seed-{seed}", size)
            for seed in plan.seeds
            for size in plan.sizes
            for fold in range(1, plan.folds + 1)
        ]
        results = carry_out(
            labelled,
            plan,
            methods,
            config,
            units,
            progress=progress or ExperimentBar(),
            training_set=lambda unit: drawn(labelled, plan, unit),
        )
        return _concluded(out, plan, labelled, results)


def _sizes(asked: Sequence[int], folds: Mapping[str, int]) -> list[int]:
    """The numbers of training images, in order. Raises :class:`UsageError` where the folds leave fewer."""
    tested = list(folds.values())
    most = len(tested) - max(tested.count(fold) for fold in set(tested))
    if not asked:
        even = list(range(2, most + 1, 2))
        asked = [*even, most] if even and even[-1] != most else even or [most]
    if wrong := [size for size in asked if not 1 <= size <= most]:
        raise UsageError(
            f"--sizes {wrong[0]}", f"the folds leave {most} images to train on", f"expected between 1 and {most}"
        )
    return sorted(set(asked))


def drawn(labelled: Labelled, plan: Plan, unit: Unit) -> Dataset:
    """The first images, as many as the unit's size, of a random order of all images of other folds.

    The order follows from seed and fold alone, so that each size adds to the smaller one.
    """
    folds = plan.fold_of()
    stems = [stem for stem, fold in folds.items() if fold != unit.fold]
    order = np.random.default_rng((unit.seed, unit.fold)).permutation(len(stems))
    return labelled.part(stems[place] for place in order[: unit.size])


def growth(
    sizes: Sequence[int], values: Mapping[int, Mapping[str, float]], folds: Mapping[str, int], more: int = MORE
) -> Interval:
    """What ``more`` images would add to the mean score, if it goes on as over the last sizes.

    Scores grow about evenly with the logarithm of the number of images, while they are few. A line is fitted to each
    image's scores over the logarithm of the last three sizes, and continued; the images' gains are then averaged, with
    an interval in which a whole fold counts once: its images were predicted by the same models, whose luck they share.
    """
    last = list(sizes)[-_LAST:]
    x = np.log2(last)
    step = float(np.log2((last[-1] + more) / last[-1]))
    stems = list(values[last[-1]])
    y = np.array([[values[size][stem] for stem in stems] for size in last])
    centred = x - x.mean()
    slopes = (centred[:, None] * y).sum(0) / np.square(centred).sum()
    return interval(slopes * step, [str(folds[stem]) for stem in stems], bounds=(-1.0, 1.0))


def answer(gain: Interval, margin: float) -> Answer:
    """Whether more images would help: *yes* where the gain is surely above 0 and likely worth it, *no* where it is
    surely below the margin.
    """
    if not gain.known:
        return "cannot tell"
    if gain.high < margin:
        return "no"
    return "yes" if gain.low > 0 and gain.mean >= margin else "cannot tell"


def _concluded(out: Path, plan: Plan, labelled: Labelled, results: Sequence[Result]) -> LearningCurve:
    folds = plan.fold_of()
    tables = {
        size: Table(plan.classes, labelled.groups, folds, [r for r in results if r.unit.size == size])
        for size in plan.sizes
    }
    values = {size: table.values(plan.metric) for size, table in tables.items()}
    gain = _gain(plan, values)
    stats = {
        **facts_of(plan, labelled),
        "margin": plan.margin,
        "sizes": {
            str(size): {
                **described(table.summary(plan.metric), values[size]),
                "between_seeds": table.between_seeds(plan.metric),
            }
            for size, table in tables.items()
        },
        "more_images": {"number": MORE, **described(gain), "answer": answer(gain, plan.margin)},
    }
    stats["words"] = curve_words(plan, stats)
    write_text(out / "scores.csv", to_csv({str(size): table for size, table in tables.items()}, "training_images"))
    write_text(out / "ledger.csv", ledger_csv(results))
    write_json(out / "stats.json", stats)
    return LearningCurve(out, plan, tables, stats)


def _gain(plan: Plan, values: Mapping[int, Mapping[str, float]]) -> Interval:
    if len(plan.sizes) < 2:
        nothing = float("nan")
        return Interval(nothing, nothing, nothing, 0, 0)
    return growth(plan.sizes, values, plan.fold_of())
