"""What an experiment leaves for people and programs: tables, ``stats.json``, probabilities of images not trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.atomic import write_atomically
from rescrnet.datasets.dataset import Sample
from rescrnet.errors import OutputError
from rescrnet.evidence.results import Table
from rescrnet.evidence.statistics import Interval
from rescrnet.evidence.units import Unit, without_nan
from rescrnet.scoring.image_scores import OF_CLASSES, OF_IMAGES

OUT_OF_FOLD, INDEX = "out-of-fold", "index.json"


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole; a former one is replaced."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON; what is no finite number is null."""
    write_text(path, json.dumps(without_nan(values), indent=1) + "\n")


def described(one: Interval, values: Mapping[str, float] | None = None) -> dict[str, Any]:
    """An interval as ``stats.json`` has it, with the single values."""
    found = {"mean": one.mean, "low": one.low, "high": one.high, "images": one.values, "groups": one.groups}
    return found if values is None else {**found, "values": dict(values)}


def statistics_of(table: Table) -> dict[str, Any]:
    """Every score with its interval and single values, of images and of classes."""
    return {
        "scores": {
            key: {**described(table.summary(key), table.values(key)), "between_seeds": table.between_seeds(key)}
            for key in OF_IMAGES
        },
        "classes": {
            name: {key: described(table.summary(key, index), table.values(key, index)) for key in OF_CLASSES}
            for index, name in enumerate(table.classes)
        },
    }


def keep_probabilities(
    numbers: Mapping[str, int], unit: Unit, sample: Sample, probabilities: NDArray[np.float32]
) -> None:
    """Keep what a unit predicts of an image, until the mean over the seeds is made."""
    folder = unit.folder / OUT_OF_FOLD
    folder.mkdir(exist_ok=True)
    _save(folder / f"{numbers[sample.stem]}.npz", probabilities=probabilities.astype(np.float16))


def write_out_of_fold(out: Path, samples: Sequence[Sample], units: Sequence[Unit], folds: Mapping[str, int]) -> None:
    """Write the mean over the seeds of what was predicted of every image by models that never saw it.

    ``out-of-fold/N.npz`` holds ``probabilities`` (classes, Y, X) float16 and ``mask`` (Y, X) uint8 class indices, 255
    unlabelled; ``index.json`` says which image each file is of, and which fold tested it. What each seed predicted is
    in the folder of the same name in its run folder.
    """
    folder = out / OUT_OF_FOLD
    folder.mkdir(exist_ok=True)
    index = []
    for number, sample in enumerate(samples):
        name = f"{number}.npz"
        parts = [unit.folder / OUT_OF_FOLD / name for unit in units if unit.fold == folds[sample.stem]]
        mean = np.mean([_load(part, "probabilities").astype(np.float32) for part in parts], axis=0)
        _save(folder / name, probabilities=mean.astype(np.float16), mask=sample.mask)
        index.append({"image": sample.stem, "file": name, "fold": folds[sample.stem]})
    write_text(folder / INDEX, json.dumps(index, indent=1) + "\n")


def out_of_fold_of(out: Path, number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Probabilities (classes, Y, X) float32 and mask (Y, X) uint8 of one image, by its number in the plan."""
    file = out / OUT_OF_FOLD / f"{number}.npz"
    return _load(file, "probabilities").astype(np.float32), _load(file, "mask").astype(np.uint8)


def read_out_of_fold(out: Path) -> dict[str, tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Probabilities (classes, Y, X) float32 and masks (Y, X) uint8 of every image, predicted by models that did not
    train on it: what a temperature is fitted on.

    Raises :class:`OutputError` where ``out`` is no folder of a finished ``crossval``.
    """
    folder = out / OUT_OF_FOLD
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        files = {one["image"]: folder / one["file"] for one in index}
    except FileNotFoundError:
        raise OutputError(
            out, f"holds no {OUT_OF_FOLD}/{INDEX}", "expected the folder of a finished crossval"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputError(
            folder / INDEX, "is damaged", "crossval --resume writes it again once it is removed"
        ) from None
    return {
        stem: (_load(file, "probabilities").astype(np.float32), _load(file, "mask").astype(np.uint8))
        for stem, file in files.items()
    }


def _save(path: Path, **arrays: NDArray[Any]) -> None:
    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # by its name NumPy would add a suffix
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, write, durable=False)


def _load(path: Path, key: str) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            array: NDArray[Any] = file[key]
            return array
    except (OSError, ValueError, KeyError, EOFError, RuntimeError) as error:
        raise OutputError(
            path,
            f"is missing or damaged ({type(error).__name__})",
            "remove its unit's folder, and --resume does it anew",
        ) from None
