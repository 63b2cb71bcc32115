"""A labelled dataset in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import ClassEntry
from rescrnet.masks.table import MaskTable


@dataclass(frozen=True)
class Sample:
    """An image, YXC float32 normalised to [0, 1] by the range of its file type, and its mask, YX uint8 class indices.

    Unlabelled pixels of the mask are :data:`~rescrnet.classes.IGNORE`. ``pixel_size`` is that of the image, down and
    across in micrometres, where it is known. Where masks number objects, ``numbers`` reads them: YX int32, 0 for none.
    """

    stem: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    pixel_size: tuple[float, float] | None = None
    numbers: Callable[[], NDArray[np.int32]] | None = None


@dataclass(frozen=True)
class Dataset:
    """The samples of a dataset folder.

    Attributes:
        folder: where it was read from.
        train: samples to train on.
        val: samples to validate on.
        table: how the masks were read; ``table.classes`` are the classes.
        blank: the stems of images that are left out because no pixel of theirs is labelled.
        leaking: what images were taken from that both train and validate.
        warnings: what checks found, for the person who trains on it.
        axes: that are declared of files that do not say theirs.
    """

    folder: Path
    train: list[Sample]
    val: list[Sample]
    table: MaskTable
    blank: tuple[str, ...] = ()
    leaking: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    axes: str = ""

    @property
    def notes(self) -> list[str]:
        """What a person should know about how the dataset was read."""
        blank = [f"without a labelled pixel and left out: {', '.join(self.blank)}"] if self.blank else []
        leaking = [f"both in training and in validation, whose scores it flatters: {', '.join(self.leaking)}"]
        return [*self.table.notes(), *blank, *(leaking if self.leaking else []), *self.warnings]

    @property
    def classes(self) -> list[ClassEntry]:
        """The classes in the order of their indices."""
        return self.table.classes

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """The median of the training images, down and across in micrometres, where any is known."""
        known = [sample.pixel_size for sample in self.train if sample.pixel_size]
        if not known:
            return None
        down, across = np.median(known, axis=0)
        return float(down), float(across)

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return int((self.train or self.val)[0].image.shape[-1])
