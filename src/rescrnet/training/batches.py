"""What a training step sees. Every crop follows from (seed, epoch, step, place in the batch) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from rescrnet.config import AugmentationConfig, Config
from rescrnet.datasets.dataset import Sample
from rescrnet.errors import DataError
from rescrnet.model import SegmentationModel
from rescrnet.training.augment import augmented_batch, one_hot
from rescrnet.wording import size as text_of_size

_CALIBRATION = 2**31  # the stream of the batches that recalibrate; an epoch never reaches it


@dataclass(frozen=True)
class TrainingTensors:
    """Images and one-hot masks as the network reads them: (C, H, W) and (classes, H, W) float32.

    ``black`` (C, 1, 1) is what no light is scaled to; None where nobody knows.
    """

    images: list[Tensor]
    masks: list[Tensor]
    black: Tensor | None = None

    @classmethod
    def of(cls, samples: Sequence[Sample], model: SegmentationModel) -> TrainingTensors:
        """Scale the intensities of ``samples``, and resize them where the model does.

        Raises :class:`DataError` where a mask has no labelled pixel left after resizing.
        """
        images = [model.tensor(sample.image)[0] for sample in samples]
        masks = [one_hot(sample.mask, len(model.classes)) for sample in samples]
        if size := model.card.resize:
            images = [F.interpolate(x[None], size, mode="bilinear", antialias=True)[0] for x in images]
            masks = [F.interpolate(x[None], size, mode="nearest-exact")[0] for x in masks]
            for sample, mask in zip(samples, masks, strict=True):
                if not mask.any():
                    raise DataError(
                        sample.stem,
                        f"no labelled pixel is left after resizing to {text_of_size(size)}",
                        "label more, or leave data.resize out",
                    )
        return cls(images, masks, model.tensor(np.zeros((1, 1, model.card.in_channels), np.float32))[0])

    def centre(self, side: int | None) -> TrainingTensors:
        """The central squares of ``side`` pixels of larger images; all of the others.

        Where that square is not labelled whole, it is the square that has the most labelled pixels.
        """
        if side is None:
            return self
        places = [_square(mask.sum(0), side) for mask in self.masks]
        images, masks = (
            [x[:, top : top + side, left : left + side] for x, (top, left) in zip(stack, places, strict=True)]
            for stack in (self.images, self.masks)
        )
        return TrainingTensors(images, masks, self.black)


def _square(labelled: Tensor, side: int) -> tuple[int, int]:
    """Top and left of the square of ``side`` with the most labelled pixels (H, W), the central one before others."""
    middle = (max(0, (labelled.shape[0] - side) // 2), max(0, (labelled.shape[1] - side) // 2))
    most = labelled[middle[0] : middle[0] + side, middle[1] : middle[1] + side].sum()
    if most == min(side, labelled.shape[0]) * min(side, labelled.shape[1]):
        return middle
    total = F.pad(labelled.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    height, width = (min(side, n) for n in labelled.shape)
    counts = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    if counts.max() <= most:
        return middle
    top, left = divmod(int(counts.argmax()), counts.shape[1])
    return top, left


@dataclass(frozen=True)
class BatchSampler:
    """Augmented training batches, shared out evenly among processes.

    A batch is the same, crop by crop, however many processes share it.
    """

    data: TrainingTensors
    config: Config
    rank: int = 0
    processes: int = 1

    @property
    def size(self) -> int:
        """Crops in a batch, all processes together."""
        return self.config.training.batch_size or len(self.data.images)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of what is cut from an image: the patch, or the largest image."""
        side = self.config.data.patch_size
        shapes = [image.shape for image in self.data.images]
        return (side, side) if side else (max(s[1] for s in shapes), max(s[2] for s in shapes))

    def training(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """This process's share of the batch of a step: images (n, C, H, W), one-hot masks (n, classes, H, W)."""
        return self._draw(epoch, step, range(self.rank, self.size, self.processes))

    def calibration(self, index: int) -> Tensor:
        """The whole of a batch that serves the batch-norm statistics only: images (N, C, H, W)."""
        settings = self.config.augmentation
        if settings.upright:  # as prediction sees them
            settings = AugmentationConfig(upright=1, flip=settings.flip)
        return self._draw(_CALIBRATION, index, range(self.size), settings)[0]

    def _draw(
        self, epoch: int, step: int, places: Sequence[int], settings: AugmentationConfig | None = None
    ) -> tuple[Tensor, Tensor]:
        seed, images = self.config.training.seed, len(self.data.images)
        chosen = []
        for place in places:
            # Images come in shuffled rounds, so that each comes equally often.
            turn, position = divmod(step * self.size + place, images)
            chosen.append(int(np.random.default_rng((seed, epoch, turn)).permutation(images)[position]))
        rngs = [np.random.default_rng((seed, epoch, step, place)) for place in places]
        return augmented_batch(
            [self.data.images[i] for i in chosen],
            [self.data.masks[i] for i in chosen],
            self.crop_size,
            settings or self.config.augmentation,
            rngs,
            self.data.black,
        )
