"""Carries a plan out: unit after unit, those that are done left as they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.config import Config
from rescrnet.datasets.dataset import Dataset, Sample
from rescrnet.errors import RescrnetWarning
from rescrnet.evidence.budget import Budget
from rescrnet.evidence.folds import Labelled, digest
from rescrnet.evidence.methods import Method
from rescrnet.evidence.plan import Kind, Plan, PlannedImage
from rescrnet.evidence.progress import ExperimentProgress
from rescrnet.evidence.units import Result, Unit, run_unit

Seen = Callable[[Unit, Sample, NDArray[np.float32]], None]
TrainingSet = Callable[[Unit], Dataset]


def planned(
    kind: Kind,
    labelled: Labelled,
    folds: Mapping[str, int],
    methods: Mapping[str, Method],
    config: Config,
    **limits: Any,
) -> Plan:
    """The plan of an experiment.

    Args:
        kind: of it.
        labelled: all images.
        folds: that tests each image, by stem, from 1.
        methods: by name.
        config: the settings of our own networks.
        **limits: ``seeds``, ``margin``, ``seconds``, ``updates`` and ``sizes``, as :class:`Plan` has them.
    """
    images = [
        PlannedImage(
            stem=sample.stem, group=labelled.groups[sample.stem], fold=folds[sample.stem], sha256=digest(sample)
        )
        for sample in labelled.samples
    ]
    return Plan(
        kind=kind,
        dataset=str(labelled.dataset.folder.resolve()),
        classes=[entry.name for entry in labelled.dataset.classes],
        images=images,
        folds=max(folds.values()),
        methods={name: method.identity for name, method in methods.items()},
        settings=config.model_dump(mode="json"),
        **limits,
    )


def facts_of(plan: Plan, labelled: Labelled) -> dict[str, Any]:
    """What ``stats.json`` says of a plan."""
    return {
        "kind": plan.kind,
        "plan": plan.sha256,
        "images": len(plan.images),
        "groups": len(set(labelled.groups.values())),
        "folds": plan.folds,
        "seeds": plan.seeds,
    }


def other_folds(labelled: Labelled, plan: Plan, unit: Unit) -> Dataset:
    """What a unit trains on: all images of the folds that it does not test."""
    folds = plan.fold_of()
    return labelled.part(stem for stem, fold in folds.items() if fold != unit.fold)


def carry_out(
    labelled: Labelled,
    plan: Plan,
    methods: Mapping[str, Method],
    config: Config,
    units: Sequence[Unit],
    *,
    progress: ExperimentProgress,
    training_set: TrainingSet | None = None,
    seen: Seen | None = None,
) -> list[Result]:
    """Do all units of a plan that are not done yet, and return the results of all of them.

    Args:
        labelled: the images.
        plan: which images are in which fold, and what a training may take.
        methods: by name.
        config: the settings of our own networks.
        units: in the order in which to do them.
        progress: hears how it goes.
        training_set: what a unit trains on; all images that it does not test where left out.
        seen: is shown the unit, the image and its probabilities.
    """
    folds = plan.fold_of()
    training_set = training_set or partial(other_folds, labelled, plan)
    progress.begin(len(units), sum(unit.done for unit in units))
    results = []
    try:
        for unit in units:
            was_done = unit.done
            if not was_done:
                progress.unit(unit)
            test = [sample for sample in labelled.samples if folds[sample.stem] == unit.fold]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RescrnetWarning)  # of single images; what matters is said before
                result = run_unit(
                    unit,
                    methods[unit.method],
                    training_set(unit),
                    test,
                    Budget(plan.seconds, plan.updates),
                    config,
                    heard=progress.share,
                    seen=partial(seen, unit) if seen else None,
                )
            results.append(result)
            if not was_done:
                scores = [scores.image[plan.metric] for scores in result.scores.values()]
                progress.result(result, float(np.nanmean(scores)))
    finally:
        progress.end()
    return results
