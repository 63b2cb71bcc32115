"""Epochs for the minutes that there are."""

from __future__ import annotations

import time

import torch

from rescrnet.config import Config
from rescrnet.datasets.dataset import Dataset, Sample
from rescrnet.errors import UsageError
from rescrnet.training.estimate import measure

_EPOCHS = 30  # in a budget, where validating takes little
_VALIDATION = 0.1  # of the time at most, if there is time enough for an epoch of that length
_FEWEST = 8  # epochs, if that leaves a step to each


class BudgetTooSmallError(UsageError):
    """Not one epoch fits into the time."""


def planned(config: Config, dataset: Dataset, begun: float, device: torch.device | str = "cpu") -> Config:
    """``config`` with the epochs and steps that fit into its budget on this machine, from one measured step.

    The plan is a start: the trainer keeps to the time itself. Without a budget nothing changes.

    Args:
        config: of the run.
        dataset: what it trains on.
        begun: when the run began, as :func:`time.monotonic` has it.
        device: what is trained on.

    Raises:
        BudgetTooSmallError: not one epoch fits.
    """
    settings = config.training
    if settings.budget is None:
        return config
    train, val = ([_pixels(sample, config) for sample in part] for part in (dataset.train, dataset.val))
    # The measuring draws weights; the run must not depend on whether it was measured.
    with torch.random.fork_rng():
        pace = measure(config, dataset.channels, len(dataset.classes), train, val, device)
    left = 60 * settings.budget - (time.monotonic() - begun)
    if left < pace.step + pace.validation:
        needed = (60 * settings.budget - left + 2 * (pace.step + pace.validation)) / 60
        raise BudgetTooSmallError(
            f"training.budget {settings.budget:g} minutes",
            "is over before the first epoch would end on this machine",
            f"give at least {max(0.1, needed):.1f}",
        )
    epoch = min(max(left / _EPOCHS, pace.validation / _VALIDATION), left / _FEWEST)
    steps = max(1, round((epoch - pace.validation) / pace.step))
    epochs = max(1, round(left / (steps * pace.step + pace.validation)))
    training = settings.model_copy(update={"epochs": epochs, "steps_per_epoch": steps})
    return config.model_copy(update={"training": training})


def _pixels(sample: Sample, config: Config) -> int:
    height, width = config.data.resize or sample.mask.shape
    return int(height * width)
