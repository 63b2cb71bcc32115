"""The work of an experiment: one training and its test, again and again; what is done is not done twice."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.atomic import write_atomically
from rescrnet.config import Config
from rescrnet.datasets.dataset import Dataset, Sample
from rescrnet.errors import OutputError
from rescrnet.evidence.budget import Budget
from rescrnet.evidence.ledger import measured
from rescrnet.evidence.methods import Method, Task, predict
from rescrnet.scoring.image_scores import ImageScores

DONE = "unit.json"
"""In the folder of a unit, written last: its scores, and what it cost."""


@dataclass(frozen=True)
class Unit:
    """A training and its test.

    Attributes:
        method: name.
        fold: that is tested.
        seed: of the training.
        size: how many images to train on; 0 for all of the other folds.
        folder: where it is done.
    """

    method: str
    fold: int
    seed: int
    folder: Path
    size: int = 0

    @property
    def done(self) -> bool:
        """Whether it was done before."""
        return (self.folder / DONE).is_file()


@dataclass(frozen=True)
class Result:
    """What a unit gave.

    Attributes:
        unit: which one.
        scores: of every image that it tested, by stem.
        trained: how many images it trained on.
        cost: seconds, cpu_seconds, peak_memory, parameters, updates, predict_seconds.
    """

    unit: Unit
    scores: dict[str, ImageScores]
    trained: int
    cost: dict[str, float | None]


Seen = Callable[[Sample, NDArray[np.float32]], None]


def run_unit(
    unit: Unit,
    method: Method,
    train: Dataset,
    test: Sequence[Sample],
    budget: Budget,
    config: Config,
    *,
    heard: Callable[[float], None],
    seen: Seen | None = None,
) -> Result:
    """Train on ``train``, predict and score ``test``, and write what came of it; or read it where it was done.

    ``seen`` is shown every image with its probabilities, before the unit counts as done.
    """
    if unit.done:
        return read_result(unit)
    unit.folder.mkdir(parents=True, exist_ok=True)
    with measured() as cost:
        fitted = method.fit(Task(train, unit.seed, budget, config, unit.folder, heard))
    scores = {}
    with measured() as testing:
        for sample in test:
            probabilities = predict(method, fitted, sample.image, len(train.classes))
            scores[sample.stem] = ImageScores.of(probabilities, sample.mask)
            if seen:
                seen(sample, probabilities)
    paid = {
        **asdict(cost),
        "predict_seconds": testing.seconds,
        "parameters": fitted.parameters,
        "updates": fitted.updates,
    }
    result = Result(unit, scores, len(train.train), paid)
    _write(result)
    return result


def _write(result: Result) -> None:
    values = {
        "method": result.unit.method,
        "fold": result.unit.fold,
        "seed": result.unit.seed,
        "size": result.unit.size,
        "trained": result.trained,
        "cost": result.cost,
        "scores": {stem: asdict(scores) for stem, scores in result.scores.items()},
    }
    text = json.dumps(without_nan(values), indent=1, ensure_ascii=True) + "\n"
    write_atomically(result.unit.folder / DONE, lambda partial: partial.write_text(text, encoding="utf-8"))


def read_result(unit: Unit) -> Result:
    """What a unit gave. Raises :class:`OutputError` where its file is damaged."""
    file = unit.folder / DONE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if [values[key] for key in ("method", "fold", "seed", "size")] != [
            unit.method,
            unit.fold,
            unit.seed,
            unit.size,
        ]:
            raise ValueError
        scores = {
            stem: ImageScores(_with_nan(one["image"]), [_with_nan(each) for each in one["classes"]])
            for stem, one in values["scores"].items()
        }
        return Result(unit, scores, int(values["trained"]), values["cost"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OutputError(file, "is damaged", "remove its folder, and --resume does that part anew") from None


def without_nan(value: Any) -> Any:
    """``value`` as JSON can hold it: None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def _with_nan(scores: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float("nan") if value is None else float(value) for key, value in scores.items()}
