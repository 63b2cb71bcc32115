"""A labelled dataset in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE, ClassEntry, MaskValues
from rescrnet.datasets.layouts import Pair, Split, find_pairs, groups_in, split_off
from rescrnet.datasets.splits import on_both_sides
from rescrnet.errors import DataError
from rescrnet.images.whole import read_image
from rescrnet.intensity import match_channels
from rescrnet.masks.declared import DatasetFile, declared
from rescrnet.masks.infer import mask_table
from rescrnet.masks.reader import size_of
from rescrnet.masks.table import MaskTable


@dataclass(frozen=True)
class Sample:
    """An image, YXC float32 normalised to [0, 1] by the range of its file type, and its mask, YX uint8 class indices.

    Unlabelled pixels of the mask are :data:`~rescrnet.classes.IGNORE`.
    """

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
        blank: the stems of images that are left out because no pixel of theirs is labelled.
        leaking: what images were taken from that both train and validate.
        warnings: what checks found, for the person who trains on it.
    """

    folder: Path
    train: list[Sample]
    val: list[Sample]
    table: MaskTable
    blank: tuple[str, ...] = ()
    leaking: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

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
    def channels(self) -> int:
        """Channels of every image."""
        return int(self.train[0].image.shape[-1])


def load_dataset(
    folder: str | Path,
    val: str | None = None,
    *,
    classes: Sequence[ClassEntry] | None = None,
    channels: int | None = None,
    ignore: MaskValues | None = None,
    instances: int | None = None,
) -> Dataset:
    """Read a dataset folder (see :func:`~rescrnet.datasets.layouts.find_pairs`), check it whole, and pair it.

    Args:
        folder: the dataset.
        val: how to split off validation images, where the layout does not (see
            :func:`~rescrnet.datasets.layouts.split_off`).
        classes: the classes of a trained model that is to be scored. They decode the masks where the folder has no
            ``dataset.yaml`` of its own, the images stay as the folder splits them, and need not show every class.
        channels: the channels a trained model expects; without it, those of the images.
        ignore: the values of unlabelled pixels, and
        instances: the width of the boundary of numbered objects, both as in ``dataset.yaml``. They go before what is
            said there, but with ``classes`` after it.

    Raises:
        DataError: something about the files is wrong; one line with the file, the finding and the remedy.
        UsageError: ``val`` does not fit.
    """
    folder = Path(folder)
    split = find_pairs(folder)
    description = _description(folder, classes, ignore, instances)
    if classes is None:
        split = split_off(split, val, description)
    pairs = [*split.train, *split.val]
    table = mask_table([pair.masks for pair in pairs], description, folder)
    samples = _read_samples(pairs, table, channels)
    train, validation = (_with_labels(part) for part in (samples[: len(split.train)], samples[len(split.train) :]))
    if classes is None:
        if not description.allow_single_class:
            _check_single_class(pairs, samples, table)
        _check_presence(folder, split, table, train, validation)
    blank = tuple(sample.stem for sample in samples if not _has_labels(sample))
    groups = groups_in(pairs, description)
    return Dataset(
        folder, train, validation, table, blank, tuple(on_both_sides(groups, {pair.stem for pair in split.val}))
    )


def _description(
    folder: Path, classes: Sequence[ClassEntry] | None, ignore: MaskValues | None, instances: int | None
) -> DatasetFile:
    """What the dataset says of itself, with what the caller says of it."""
    own = declared(folder) or DatasetFile()
    given: dict[str, Any] = {"ignore": ignore or None, "instance_boundary": instances}
    given = {key: value for key, value in given.items() if value is not None}
    if classes is None:
        return own.model_copy(update=given)
    if own.classes and [entry.name for entry in own.classes] != [entry.name for entry in classes]:
        raise DataError(
            f"{folder / 'dataset.yaml'}: names the classes {_names(own.classes)}, the model {_names(classes)}; "
            "expected the same names in the same order"
        )
    said = {key: getattr(own, key) for key in own.model_fields_set}
    return DatasetFile().model_copy(update={"classes": list(classes), **given, **said})


def _has_labels(sample: Sample) -> bool:
    return bool((sample.mask != IGNORE).any())


def _with_labels(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if _has_labels(sample)]


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
        # A sparsely painted mask may well show one class only.
        if sample.mask.min() == sample.mask.max() != IGNORE:
            name = table.classes[int(sample.mask[0, 0])].name
            raise DataError(
                f"{next(iter(pair.masks.values()))}: the mask holds one class only, '{name}'; remove the image, or, "
                "if that is meant, write dataset.yaml with 'allow_single_class: true' and the classes"
            )


def _classes_in(samples: Sequence[Sample]) -> set[int]:
    return {int(index) for sample in samples for index in np.unique(sample.mask)} - {IGNORE}


def _check_presence(
    folder: Path, split: Split, table: MaskTable, train: Sequence[Sample], val: Sequence[Sample]
) -> None:
    for kind, pairs, samples in (("training", split.train, train), ("validation", split.val, val)):
        if not samples:
            raise DataError(
                f"{next(iter(pairs[0].masks.values()))}: no pixel is labelled, nor in another {kind} mask; "
                "label some, or split otherwise with --val"
            )
    trained = _classes_in(train)
    for sample in val:
        extra = _classes_in([sample]) - trained
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
