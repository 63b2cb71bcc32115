"""The training loop: epochs of augmented steps, each followed by validation and saving."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from rescrnet.config import Config
from rescrnet.errors import ModelError, RescrnetError
from rescrnet.model import LAST, SegmentationModel
from rescrnet.model_folder import BEST
from rescrnet.nn.losses import LOSSES
from rescrnet.nn.statistics import predict_logits
from rescrnet.scoring.counts import Counts
from rescrnet.training.augment import class_indices
from rescrnet.training.batches import BatchSampler, TrainingTensors
from rescrnet.training.folder import PROGRESS, STEPS, Row, RunFolder
from rescrnet.training.hardware import threads_for
from rescrnet.training.optimizer import MOMENTS, SCHEDULES, optimizers
from rescrnet.training.progress import ProgressReporter
from rescrnet.training.recalibrate import recalibrate, remember_training_alone
from rescrnet.wording import count, one_line


@dataclass
class Trainer:
    """Trains a model into a run folder.

    Attributes:
        fabric: devices, precision and processes.
        model: what is trained; ends with the last weights as they are saved.
        train: images to train on.
        val: images to validate on.
        config: the resolved configuration.
        folder: where everything goes; written by the first process alone.
        progress: hears how it goes.
        max_time: stop before an epoch that would end later than this, seconds.
        begun: when the run began, as :func:`time.monotonic` has it; what reading the data took counts in a budget.
    """

    fabric: Fabric
    model: SegmentationModel
    train: TrainingTensors
    val: TrainingTensors
    config: Config
    folder: RunFolder
    progress: ProgressReporter
    max_time: float | None = None
    begun: float = field(default_factory=time.monotonic)
    history: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = self.config.training
        self._batches = BatchSampler(self.train, self.config, self.fabric.global_rank, self.fabric.world_size)
        self._loss = LOSSES[settings.loss]
        # A copy of its own: spawned processes are handed one network in memory that they share.
        network = copy.deepcopy(self.model.network)
        by_name = optimizers(network, settings.optimizer, settings.learning_rate)
        self._network = network
        # The averaged weights are validated and saved; without averaging they are the trained ones themselves.
        self._averaged = copy.deepcopy(network).to(self.fabric.device) if settings.ema_decay else network
        self._wrapped, *wrapped = self.fabric.setup(network, *by_name.values())
        self._optimizers = dict(zip(by_name, wrapped, strict=True))
        self.model.network = self._averaged
        self.model.to(self.fabric.device)

    def resume(self) -> None:
        """Continue after the last completed epoch in the folder."""
        epoch, tensors = self.folder.load_state()
        rows = self.folder.read_history()
        if len(rows) < epoch:
            raise ModelError(
                self.folder.path / "history.csv",
                f"lists {count(len(rows), 'epoch')}, but {self.folder.state.name} is of epoch {epoch}",
                "restore it from a copy",
            )
        self.history = rows[:epoch]
        if not epoch:
            return
        try:
            self._load(tensors)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ModelError(
                self.folder.state,
                f"does not fit the configuration of the run ({one_line(error)[:200]})",
                "restore both from a copy",
            ) from None

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        prefixes = ("network.", "averaged.", *(f"{name}." for name in self._optimizers))
        if foreign := [name for name in tensors if not name.startswith(prefixes)]:
            raise ValueError(f"unknown tensor {foreign[0]}")
        self._network.load_state_dict(_part(tensors, "network."))
        self._averaged.load_state_dict(_part(tensors, "averaged.") or _part(tensors, "network."))
        for name, optimizer in self._optimizers.items():
            state = optimizer.state_dict()
            state["state"] = {
                index: {key: tensors[f"{name}.{index}.{key}"] for key in MOMENTS[name]}
                for index in range(len(state["param_groups"][0]["params"]))
            }
            optimizer.load_state_dict(state)

    def run(self) -> None:
        """Train to the end of the last epoch, of the patience or of the time; Ctrl-C leaves the last epoch's state."""
        height, width = self._batches.crop_size
        pixels = self._batches.size // self.fabric.world_size * height * width
        with threads_for(self._network, self.fabric.device, pixels):
            self._run()

    def _run(self) -> None:
        settings = self.config.training
        started = time.monotonic()
        earlier = sum(row["seconds"] for row in self.history)
        self.progress.begin(settings.epochs, settings.steps_per_epoch, len(self.history))
        try:
            while True:
                left, steps = self._to_come(earlier)
                if left < 1:
                    break
                longest = max((row["seconds"] for row in self.history), default=0.0) * steps / settings.steps_per_epoch
                late = self.max_time is not None and time.monotonic() - started + longest > self.max_time
                if self._patience_is_over() or (late and self.history):
                    break
                self.progress.planned(len(self.history) + left, left * steps)
                self._epoch(len(self.history) + 1, left, steps)
        except KeyboardInterrupt:
            if not self.history:
                self._save_models(self._validated_row(0, float("nan"), 0.0))
            raise
        finally:
            self.progress.end()

    @property
    def _done(self) -> float:
        """How much of the run is done, from 0 to 1."""
        if self.config.training.budget is None or not self.history:
            return len(self.history) / self.config.training.epochs
        return self.history[-1][PROGRESS]

    def _to_come(self, earlier: float) -> tuple[int, int]:
        """How many epochs are to come, and how many steps the next of them has; ``earlier`` seconds were spent before
        this process began.

        In a budget the last epoch is as long as what is left of it.
        """
        settings = self.config.training
        steps = settings.steps_per_epoch
        if settings.budget is None or not self.history:
            return settings.epochs - len(self.history), steps
        if self._done >= 1:
            return 0, steps
        pace = float(np.median([row["seconds"] for row in self.history[-5:]]))
        left = (60 * settings.budget - earlier - (time.monotonic() - self.begun)) / pace
        if left < 2:
            steps = max(1, int(steps * left))
        together: tuple[int, int] = self.fabric.broadcast((max(1, int(left)), steps))
        return together  # all processes must come to the same end

    def _epoch(self, epoch: int, left: int, steps: int) -> None:
        """Train an epoch of ``steps``, the first of those that are ``left``."""
        started, done = time.monotonic(), self._done
        end = epoch / self.config.training.epochs if self.config.training.budget is None else done + (1 - done) / left
        # Seeded anew, so that an epoch is the same whether the run came here in one go or was resumed.
        torch.manual_seed(int(np.random.SeedSequence((self.config.training.seed, epoch)).generate_state(1)[0]))
        losses = [
            self._step(epoch, step, batch, done + (end - done) * (step + 0.5) / steps)
            for step, batch in enumerate(self._batches_of(epoch, steps))
        ]
        row = self._validated_row(epoch, float(np.mean(losses)), started)
        if self.config.training.budget is not None:
            row |= {PROGRESS: round(end, 9), STEPS: steps}
        self._save_models(row)
        self.history.append(row)
        if self.fabric.is_global_zero:
            self.folder.write_history(self.history)
            self.folder.save_state(epoch, dict(self._state()))
        self.progress.epoch(row, self._is_best(row))

    def _batches_of(self, epoch: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Of every step; each is drawn while the one before is trained on."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(self._batches.training, epoch, 0)
            for step in range(1, steps):
                batch = ahead.result()
                ahead = pool.submit(self._batches.training, epoch, step)
                yield batch
            yield ahead.result()

    def _step(self, epoch: int, step: int, batch: tuple[Tensor, Tensor], done: float) -> float:
        """Train a step, in whose middle so much of the run is ``done``."""
        settings = self.config.training
        if self.config.network.image_statistics:
            remember_training_alone(self._network, (epoch - 1) * settings.steps_per_epoch + step)
        self._wrapped.train()
        for group in (group for optimizer in self._optimizers.values() for group in optimizer.param_groups):
            group["lr"] = settings.learning_rate * SCHEDULES[settings.schedule](done)
        images, masks = self.fabric.to_device(batch)
        loss = self._loss_of(self._wrapped(images), masks)
        value = torch.as_tensor(self.fabric.all_reduce(loss.detach())).item()
        if not np.isfinite(value):
            raise RescrnetError(
                "training",
                f"the loss became {value} in epoch {epoch}",
                "lower training.learning_rate, or use float32",
            )
        for optimizer in self._optimizers.values():
            optimizer.zero_grad()
        self.fabric.backward(loss)
        for optimizer in self._optimizers.values():
            optimizer.step()
        self._average(((epoch - 1) * settings.steps_per_epoch) + step)
        self.progress.step(epoch, value)
        return value

    def _loss_of(self, logits: Tensor, masks: Tensor) -> Tensor:
        return self._loss(logits.float().softmax(1), masks, weight_mode=self.config.training.weight_mode)

    @torch.no_grad()
    def _average(self, step: int) -> None:
        if self._averaged is self._network:
            return
        # Early on a shorter memory, or the average would hold on to the weights of the start.
        decay = min(self.config.training.ema_decay, (1 + step) / (10 + step))
        for average, weight in zip(self._averaged.parameters(), self._network.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)

    def _validated_row(self, epoch: int, loss: float, started: float) -> Row:
        self._update_statistics()
        val_loss, counts = self._validate()
        return {
            "epoch": epoch,
            "loss": loss,
            "val_loss": val_loss,
            "val_tanimoto": counts.pooled()["tanimoto"] or 0.0,
            "seconds": round(time.monotonic() - started, 3),
        }

    def _update_statistics(self) -> None:
        """Give the weights that are validated and saved batch-norm statistics: recomputed, or those of training."""
        many = self.config.calibration_batches
        if many:
            batches = (self._batches.calibration(index).to(self.fabric.device) for index in range(many))
            recalibrate(self._averaged, batches)
        elif self._averaged is not self._network:
            for average, trained in zip(self._averaged.buffers(), self._network.buffers(), strict=True):
                average.copy_(trained)

    @torch.no_grad()
    def _validate(self) -> tuple[float, Counts]:
        """Mean loss over the validation images, and their counts pooled."""
        self._averaged.eval()
        losses, counts = [], Counts.none(len(self.model.classes))
        data = self.val.centre(self.config.data.validation_size)
        for image, mask in zip(data.images, data.masks, strict=True):
            x = image[None].to(self.fabric.device, memory_format=torch.channels_last)
            with self.fabric.autocast():
                logits = predict_logits(self._averaged, x)
            losses.append(float(self._loss_of(logits, mask[None].to(self.fabric.device))))
            probabilities = logits[0].float().softmax(0).cpu().numpy()
            counts = counts + Counts.of(probabilities, class_indices(mask))
        return float(np.mean(losses)), counts

    def _save_models(self, row: Row) -> None:
        if not self.fabric.is_global_zero:
            return
        card = self.model.card
        if card.trained:
            validated = {key: row[key] for key in ("epoch", "val_loss", "val_tanimoto")}
            card = card.model_copy(update={"provenance": card.trained.model_copy(update=validated)})
        model = SegmentationModel(self._averaged, card)
        model.save(self.folder.path / LAST)
        if self._is_best(row):
            model.save(self.folder.path / BEST)

    def _is_best(self, row: Row) -> bool:
        return all(row["val_loss"] < other["val_loss"] for other in self.history if other["epoch"] < row["epoch"])

    def _patience_is_over(self) -> bool:
        patience = self.config.training.patience
        if patience is None or not self.history:
            return False
        best = min(self.history, key=lambda row: row["val_loss"])
        return len(self.history) - best["epoch"] >= patience

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        modules: list[tuple[str, nn.Module]] = [("network.", self._network)]
        if self._averaged is not self._network:
            modules.append(("averaged.", self._averaged))
        for prefix, module in modules:
            yield from ((prefix + name, tensor) for name, tensor in module.state_dict().items())
        for name, optimizer in self._optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                yield from ((f"{name}.{index}.{key}", tensor) for key, tensor in moments.items())


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
