"""Res-CR-Net and the comparators as methods: trained by the program's own training, with one recipe for all."""

from __future__ import annotations

from typing import get_args

from rescrnet.config import Comparator, Config, ResCRNetConfig, UNetConfig, resolve, validate
from rescrnet.errors import UsageError
from rescrnet.evidence.budget import Budget
from rescrnet.evidence.methods import Fitted, Task
from rescrnet.model import LAST, SegmentationModel, load
from rescrnet.model_folder import BEST
from rescrnet.training.budget import BudgetTooSmallError
from rescrnet.training.folder import STEPS, Row, RunFolder
from rescrnet.training.progress import ProgressReporter
from rescrnet.training.train import resume, train


def fit_network(task: Task, architecture: str) -> Fitted:
    """Train into the run folder of the task, or continue the run there; the last weights count, no epoch is chosen."""
    config = config_of(task.config, architecture, task.seed, task.budget)
    run = RunFolder(task.folder)
    watch = _Watch(task, config)
    try:
        if run.exists:
            model = resume(task.dataset, run.path, progress=watch)
        else:
            model = train(task.dataset, run.path, config, progress=watch)
    except BudgetTooSmallError:
        raise task.budget.too_small(architecture, None, "one epoch") from None
    history = run.read_history()
    last = _keep_last(model, run)
    parameters = sum(weights.numel() for weights in last.network.parameters())
    steps = run.read_config().training.steps_per_epoch
    return Fitted(last.predict_normalised, parameters, int(sum(row.get(STEPS, steps) for row in history)))


def config_of(config: Config, architecture: str, seed: int, budget: Budget) -> Config:
    """The configuration of one training: the recipe of ``config``, with the network, the seed and the budget.

    This is the one place that turns a budget into settings of the training.
    """
    settings = config.training.model_copy(update={"seed": seed})
    if budget.updates is not None:
        steps = settings.steps_per_epoch
        if budget.updates % steps:
            raise UsageError(
                f"--updates {budget.updates}",
                f"an epoch has {steps}",
                f"expected a multiple of {steps}, or another --set training.steps_per_epoch",
            )
        settings = settings.model_copy(update={"epochs": budget.updates // steps, "patience": None})
    elif budget.seconds is not None:
        settings = settings.model_copy(update={"budget": budget.seconds / 60, "patience": None})
    values = config.model_dump()
    if config.network.architecture != architecture:
        known = UNetConfig.model_fields if architecture in get_args(Comparator) else ResCRNetConfig.model_fields
        shared = {key: value for key, value in values["network"].items() if key in known}
        values["network"] = {**shared, "architecture": architecture}
        settings = settings.model_copy(update={"start": "none"})  # it was learnt for other blocks
    return validate(Config, {**values, "training": settings.model_dump()}, f"method '{architecture}'")


def default_config() -> Config:
    """The recipe that is used where none is given."""
    return resolve()


def _keep_last(model: SegmentationModel, run: RunFolder) -> SegmentationModel:
    """Make the last weights the model of the run: which epoch is best, only test images could tell, or fewer to train
    on. How objects are told apart stays.
    """
    last = load(run.path / LAST)
    last.card = last.card.model_copy(update={"objects": model.card.objects})
    last.save(run.path / BEST)
    return last


class _Watch(ProgressReporter):
    """Passes on how far a training is."""

    def __init__(self, task: Task, config: Config) -> None:
        self._task, self._config = task, config
        self._spent, self._steps, self._epochs = 0.0, 0, 1

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """See :class:`ProgressReporter`."""
        self._epochs, self._steps = epochs, done * steps

    def step(self, epoch: int, loss: float) -> None:
        """See :class:`ProgressReporter`."""
        self._steps += 1
        if self._task.budget.seconds is None:
            self._task.heard(self._steps / (self._epochs * self._config.training.steps_per_epoch))

    def epoch(self, row: Row, best: bool) -> None:
        """See :class:`ProgressReporter`."""
        self._spent += row["seconds"]
        if self._task.budget.seconds is not None:
            self._task.heard(min(1.0, self._spent / self._task.budget.seconds))
