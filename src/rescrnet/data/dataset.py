"""A labelled dataset in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rescrnet.data.declared import declared
from rescrnet.data.encodings import mask_table
from rescrnet.data.images import match_channels, read_image
from rescrnet.data.layouts import Pair, find_pairs, split_off
from rescrnet.data.masks import ClassEntry, DatasetFile, MaskTable, size_of
from rescrnet.errors import DataError


@dataclass(frozen=True)
class Sample:
    """An image, YXC float32 in the unit range of its file type, and its mask, YX uint8 class indices."""

    stem: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class Dataset:
    """The samples of a dataset folder.

    Attributes:
        folder: where it was read from.
        train: samples to train on.
        val: samples to validate on.
        table: how the masks were read; ``table.classes`` are the classes.
    """

    folder: Path
    train: list[Sample]
    val: list[Sample]
    table: MaskTable

    @property
    def classes(self) -> list[ClassEntry]:
        """The classes in the order of their indices."""
        return self.table.classes

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return int(self.train[0].image.shape[-1])


def load_dataset(
    folder: str | Path,
    val: str | None = None,
    *,
    classes: Sequence[ClassEntry] | None = None,
    channels: int | None = None,
) -> Dataset:
    """Read a dataset folder (see :func:`~rescrnet.data.layouts.find_pairs`), check it whole, and pair it.

    Args:
        folder: the dataset.
        val: how to split off validation images, where the layout does not (see
            :func:`~rescrnet.data.layouts.split_off`).
        classes: the classes of a trained model that is to be scored. They decode the masks where the folder has no
            ``dataset.yaml`` of its own, the images stay as the folder splits them, and need not show every class.
        channels: the channels a trained model expects; without it, those of the images.

    Raises:
        DataError: something about the files is wrong; one line with the file, the finding and the remedy.
        UsageError: ``val`` does not fit.
    """
    folder = Path(folder)
    split = find_pairs(folder)
    if classes is None:
        split = split_off(split, val)
    pairs = [*split.train, *split.val]
    own = declared(folder)
    if own and classes and [entry.name for entry in own.classes] != [entry.name for entry in classes]:
        raise DataError(
            f"{folder / 'dataset.yaml'}: names the classes {_names(own.classes)}, the model {_names(classes)}; "
            "expected the same names in the same order"
        )
    description = own or (DatasetFile(classes=list(classes)) if classes else None)
    table = mask_table([pair.masks for pair in pairs], description, folder)
    samples = _read_samples(pairs, table, channels)
    train, validation = samples[: len(split.train)], samples[len(split.train) :]
    if classes is None:
        if not (own and own.allow_single_class):
            _check_single_class(pairs, samples, table)
        _check_presence(folder, table, train, validation)
    return Dataset(folder, train, validation, table)


def _names(classes: Sequence[ClassEntry]) -> str:
    return ", ".join(entry.name for entry in classes)


def _read_samples(pairs: Sequence[Pair], table: MaskTable, channels: int | None) -> list[Sample]:
    images = [read_image(pair.image) for pair in pairs]
    channels = channels or min(image.shape[-1] for image in images)
    samples = []
    for pair, image in zip(pairs, images, strict=True):
        image, mask = match_channels(image, channels, pair.image), table.decode(pair.masks)
        if mask.shape != image.shape[:2]:
            first = next(iter(pair.masks.values()))
            raise DataError(
                f"{first}: is {size_of(mask)} but its image {pair.image} is {size_of(image)}; expected one size"
            )
        samples.append(Sample(pair.stem, image, mask))
    return samples


def _check_single_class(pairs: Sequence[Pair], samples: Sequence[Sample], table: MaskTable) -> None:
    for pair, sample in zip(pairs, samples, strict=True):
        if sample.mask.min() == sample.mask.max():
            name = table.classes[int(sample.mask[0, 0])].name
            raise DataError(
                f"{next(iter(pair.masks.values()))}: the mask holds one class only, '{name}'; remove the image, or, "
                "if that is meant, write dataset.yaml with 'allow_single_class: true' and the classes"
            )


def _check_presence(folder: Path, table: MaskTable, train: Sequence[Sample], val: Sequence[Sample]) -> None:
    trained = {int(index) for sample in train for index in np.unique(sample.mask)}
    for sample in val:
        extra = {int(index) for index in np.unique(sample.mask)} - trained
        if extra:
            raise DataError(
                f"{folder}: class '{table.classes[min(extra)].name}' is in the validation mask '{sample.stem}' but in "
                "no training mask; expected every class among the training images; split otherwise with --val"
            )
    missing = set(range(len(table.classes))) - trained
    if missing:
        raise DataError(
            f"{folder}: class '{table.classes[min(missing)].name}' is in no mask; remove it from dataset.yaml"
        )
