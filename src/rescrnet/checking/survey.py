"""A dataset looked over: its layout, its files, what its masks mean. Checks read this and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rescrnet.checking.facts import ClassFacts, ImageFacts, MaskFacts, look_at_classes, look_at_image, look_at_mask
from rescrnet.datasets.layouts import Contents, Pair, Split, look_through, split_off
from rescrnet.datasets.pairing import Problem
from rescrnet.errors import DataError
from rescrnet.images.origins import Origin, Page, count_pages, files_of
from rescrnet.masks.declared import DatasetFile, declared
from rescrnet.masks.files import read_labels
from rescrnet.masks.infer import mask_table
from rescrnet.masks.table import MaskTable

MOST = 500
"""Of more images than this, as many are opened, evenly spread over all."""
Part = Literal["train", "val"]


@dataclass
class Item:
    """An image with its mask, and what was seen of them.

    Attributes:
        pair: their files.
        part: whether it trains or validates.
        image: what was seen of the image; None where it cannot be read.
        masks: what was seen of the mask files that can be read.
        classes: what was seen of the classes; None where the values of the mask are not understood.
        image_fault: why the image cannot be read.
        mask_faults: why mask files cannot be used, by layer.
    """

    pair: Pair
    part: Part
    image: ImageFacts | None = None
    masks: list[MaskFacts] = field(default_factory=list)
    classes: ClassFacts | None = None
    image_fault: str = ""
    mask_faults: dict[str, str] = field(default_factory=dict)

    @property
    def image_file(self) -> Path:
        """The file of the image, or of its first channel."""
        return files_of(self.pair.image)[0]

    @property
    def usable(self) -> bool:
        """Whether image and mask can be read and have one size."""
        return bool(
            self.image and self.masks and not self.mask_faults and all(m.size == self.image.size for m in self.masks)
        )


@dataclass
class Survey:
    """All that the checks look at.

    Attributes:
        folder: the dataset.
        layout: how it is laid out.
        problems: what keeps files from being pairs.
        foreign: files that are no images.
        split: all pairs.
        items: the images that were opened; all of them, or some of very many.
        description: ``dataset.yaml`` or nnU-Net's ``dataset.json``.
        table: how the masks are read.
        own_validation: whether the layout itself says which images validate.
        faults: why the ``description``, the ``split`` or the ``masks`` as a whole cannot be understood, or the dataset
            not be read for training (``loading``).
    """

    folder: Path
    layout: str
    problems: list[Problem]
    foreign: list[Path]
    split: Split
    items: list[Item]
    description: DatasetFile = field(default_factory=DatasetFile)
    table: MaskTable | None = None
    own_validation: bool = False
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Pairs in the dataset."""
        return len(self.split.train) + len(self.split.val)

    @property
    def images(self) -> Iterator[tuple[Item, ImageFacts]]:
        """The images that can be read."""
        return ((item, item.image) for item in self.items if item.image)

    @property
    def masks(self) -> Iterator[tuple[Item, MaskFacts]]:
        """The mask files that can be read."""
        return ((item, mask) for item in self.items for mask in item.masks)

    @property
    def labelled(self) -> Iterator[tuple[Item, ClassFacts]]:
        """The images whose masks are understood."""
        return ((item, item.classes) for item in self.items if item.classes)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes in the order of their indices, as far as the masks are understood."""
        return [entry.name for entry in self.table.classes] if self.table else []


def survey(folder: Path, val: str | None = None, most: int = MOST, said: Mapping[str, Any] | None = None) -> Survey:
    """Look a dataset over. Whatever is wrong with its files is recorded, not raised.

    Args:
        folder: the dataset, in any layout.
        val: how to split off validation images, as in training.
        most: how many images to open.
        said: keys of ``dataset.yaml`` that go before what is said there.

    Raises:
        DataError: there is no such folder.
        UsageError: ``val`` does not fit the dataset.
    """
    found = look_through(folder)
    seen = Survey(folder, found.layout, found.problems, found.foreign, found.split, [])
    seen.own_validation = bool(found.split.val)
    _describe(seen, said or {})
    _split(seen, found, val)
    parts: list[tuple[Part, Pair]] = [("train", pair) for pair in seen.split.train]
    parts += [("val", pair) for pair in seen.split.val]
    if len(parts) > most:
        parts = [parts[place] for place in np.linspace(0, len(parts) - 1, most).round().astype(int)]
    seen.items = [_open(pair, part) for part, pair in parts]
    _understand(seen)
    return seen


def _describe(seen: Survey, said: Mapping[str, Any]) -> None:
    try:
        seen.description = (declared(seen.folder) or DatasetFile()).model_copy(update=said)
    except DataError as error:
        seen.faults["description"] = str(error)


def _split(seen: Survey, found: Contents, val: str | None) -> None:
    if not found.split.train:
        return
    try:
        seen.split = split_off(found.split, val, seen.description)
    except DataError as error:
        seen.faults["split"] = str(error)


def _open(pair: Pair, part: Part) -> Item:
    item = Item(pair, part)
    try:
        item.image = look_at_image(pair.image)
    except DataError as error:
        item.image_fault = str(error)
    for layer, origin in pair.masks.items():
        try:
            for page in _pages(origin):
                item.masks.append(look_at_mask(page))
                read_labels(page)
        except DataError as error:
            item.mask_faults[layer] = str(error)
    return item


def _pages(origin: Origin) -> list[Origin]:
    """The pages of a mask that has one for each class."""
    pages = count_pages(origin) if isinstance(origin, Path) else 1
    return [Page(origin, index) for index in range(pages)] if pages > 1 and isinstance(origin, Path) else [origin]


def _understand(seen: Survey) -> None:
    """Find out what the masks mean, and count their classes."""
    items = [item for item in seen.items if item.masks and not item.mask_faults]
    if not items or "description" in seen.faults:
        return
    try:
        seen.table = mask_table([item.pair.masks for item in items], seen.description, seen.folder)
    except DataError as error:
        seen.faults["masks"] = str(error)
        return
    for item in items:
        try:
            indices = seen.table.decode(item.pair.masks)
            item.classes = look_at_classes(indices, len(seen.table.classes))
        except DataError as error:
            item.mask_faults[""] = str(error)


def shares(classes: Sequence[ClassFacts]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Each class's share of all labelled pixels."""
    pixels = np.sum([facts.pixels for facts in classes], axis=0)
    return np.asarray(pixels / max(1, pixels.sum()), dtype=np.float64)
