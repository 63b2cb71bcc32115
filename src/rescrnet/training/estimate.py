"""How long a training will take on this machine and how much memory: a step is measured, the rest multiplied."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import torch

from rescrnet.config import Config, ResCRNetConfig
from rescrnet.nn.build import build_network
from rescrnet.nn.losses import LOSSES
from rescrnet.training.hardware import threads_for
from rescrnet.wording import count


@dataclass(frozen=True)
class Estimate:
    """What a training is expected to take.

    Attributes:
        seconds: of the whole run.
        memory: the most memory in use at one time, bytes; None where the system does not tell.
        step: measured seconds of a training step.
        preset: the configuration it holds for.
        epochs: how many epochs that is.
        square: side of the squares of pixels that the network's blocks compute on.
        rival: another network that may do better on data like these; None where none is known to.
    """

    seconds: float
    memory: int | None
    step: float
    preset: str
    epochs: int
    square: int = 1
    rival: str | None = None

    def __str__(self) -> str:
        minutes = self.seconds / 60
        duration = count(max(1, round(minutes)), "minute") if minutes < 120 else f"{minutes / 60:.1f} hours"
        memory = f"{self.memory / 2**30:.1f} GB of memory" if self.memory else "an unknown amount of memory"
        rival = (
            f"on outlines alone, such as membranes, --network {self.rival} may score higher: compare --methods "
            f"res-cr-net,{self.rival} tells"
        )
        coarse = f"squares of {self.square}×{self.square} pixels, which is fine enough for these masks"
        return (
            f"training with the {self.preset} preset ({self.epochs} epochs): about {duration} and {memory} on this "
            f"machine's processor, from one measured step of {self.step:.2f} s"
            f"{f', on {coarse}' if self.square > 2 else ''}; train --budget 2m or 10m takes less or more"
            f"{f'; {rival}' if self.rival else ''}"
        )


@dataclass(frozen=True)
class Pace:
    """What was measured on a machine, seconds.

    Attributes:
        step: of a training step, the whole batch.
        validation: of what follows an epoch: recalibrating and validating.
    """

    step: float
    validation: float


def estimate(config: Config, channels: int, classes: int, train_pixels: list[int], val_pixels: list[int]) -> Estimate:
    """Measure one training step and one prediction on noise, and estimate a run of ``config`` on the CPU.

    Args:
        config: the run's configuration.
        channels: of the images.
        classes: how many.
        train_pixels: pixels of every training image.
        val_pixels: pixels of every validation image.
    """
    settings = config.training
    pace = measure(config, channels, classes, train_pixels, val_pixels)
    seconds = settings.epochs * (settings.steps_per_epoch * pace.step + pace.validation)
    held = (sum(train_pixels) + sum(val_pixels)) * 4 * (2 * channels + classes)  # images twice, masks one-hot
    peak = _peak_memory()
    batch = settings.batch_size or len(train_pixels)
    memory = None if peak is None else peak + held + (batch - 1) * max(0, peak - _BARE)
    square = config.network.space_to_depth if isinstance(config.network, ResCRNetConfig) else 1
    return Estimate(seconds, memory, pace.step, config.preset, settings.epochs, square)


def measure(
    config: Config,
    channels: int,
    classes: int,
    train_pixels: list[int],
    val_pixels: list[int],
    device: torch.device | str = "cpu",
) -> Pace:
    """How long a step and a validation of a run take on this machine; the arguments are those of :func:`estimate`."""
    settings = config.training
    side = config.data.patch_size or max(1, round(max(train_pixels) ** 0.5))
    batch = settings.batch_size or len(train_pixels)
    network = build_network(channels, classes, config.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with threads_for(network, torch.device(device), batch * side**2):
        _step(network, config, channels, classes, 64)  # allocates what every later step finds ready
        _step(network, config, channels, classes, side)
        started = time.perf_counter()
        _step(network, config, channels, classes, side)
        step = (time.perf_counter() - started) * batch  # one crop was measured, and time is proportional to them
        started = time.perf_counter()
        with torch.no_grad():
            float(network.eval()(torch.rand(1, channels, side, side, device=device)).sum())
        per_pixel = (time.perf_counter() - started) / side**2
    largest = config.data.validation_size
    validated = sum(min(pixels, largest**2) if largest else pixels for pixels in val_pixels)
    return Pace(step, per_pixel * (validated + config.calibration_batches * batch * side**2))


_BARE = 220 << 20  # of a process that has imported PyTorch and done nothing, bytes; measured with version 2.13


def _step(network: torch.nn.Module, config: Config, channels: int, classes: int, side: int) -> None:
    device = next(network.parameters()).device
    images = torch.rand(1, channels, side, side, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(classes, (1, side, side), device=device)
    masks = torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()
    probabilities = network.train()(images).softmax(1)
    loss = LOSSES[config.training.loss](probabilities, masks, weight_mode=config.training.weight_mode)
    torch.autograd.backward(loss)
    network.zero_grad()
    float(loss.detach())  # waits for a GPU


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
