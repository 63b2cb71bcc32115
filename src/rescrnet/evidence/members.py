"""The models of a cross-validation as one model: one temperature, fitted on what they predicted of images unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.datasets.dataset import Sample
from rescrnet.ensemble import tempered
from rescrnet.evidence.outcome import out_of_fold_of
from rescrnet.evidence.units import Unit
from rescrnet.model import SegmentationModel
from rescrnet.model_folder import MembersRecord
from rescrnet.objects.fit import fit_settings
from rescrnet.scoring.calibration import Pixels, fit_temperature, labelled_pixels, log_loss
from rescrnet.wording import count


def write_members(
    out: Path, model: SegmentationModel, units: Sequence[Unit], samples: Sequence[Sample], folds: Mapping[str, int]
) -> dict[str, Any]:
    """Write ``members.json``, which makes the folder of a cross-validation a model.

    The temperature is kept where it helps images that it was not fitted to: it is fitted without each fold in turn, and
    the log loss of that fold compared. How objects are told apart is fitted on the same predictions.

    Args:
        out: the folder.
        model: one of its models.
        units: all trainings.
        samples: all images.
        folds: of each image, by stem.

    Returns:
        What ``stats.json`` says of it.
    """
    pixels = {sample.stem: labelled_pixels(*out_of_fold_of(out, number)) for number, sample in enumerate(samples)}
    described = fitted(pixels, folds)
    temperature = described["temperature"]
    numbers = {sample.stem: number for number, sample in enumerate(samples)}

    def predicted_of(sample: Sample) -> NDArray[np.float32]:
        return tempered(out_of_fold_of(out, numbers[sample.stem])[0], temperature)

    MembersRecord(
        members=[unit.folder.relative_to(out).as_posix() for unit in units],
        temperature=temperature,
        fitted_on=f"out-of-fold predictions of {count(len(samples), 'image')}",
        objects=fit_settings(model, samples, predicted_of),
    ).write(out)
    return described


def fitted(pixels: Mapping[str, Pixels], folds: Mapping[str, int]) -> dict[str, Any]:
    """The temperature for all images, or 1, and the log loss of images that none was fitted to, without and with it."""
    others: dict[str, float] = {}
    for fold in sorted(set(folds.values())):
        temperature = fit_temperature([one for stem, one in pixels.items() if folds[stem] != fold])
        others |= {stem: temperature for stem in pixels if folds[stem] == fold}
    plain = log_loss(pixels.values(), [1.0] * len(pixels))
    with_others = log_loss(pixels.values(), [others[stem] for stem in pixels])
    return {
        "temperature": fit_temperature(pixels.values()) if with_others < plain else 1.0,
        "log_loss": plain,
        "log_loss_with_temperature": with_others,
    }
