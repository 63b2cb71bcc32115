"""A dataset folder, read once: its layout, its files, what its masks mean. Whatever is wrong is kept as a fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE, ClassEntry
from rescrnet.datasets.dataset import Dataset, Sample
from rescrnet.datasets.facts import ClassFacts, ImageFacts, MaskFacts, class_facts, image_facts, mask_facts
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.grouping import on_both_sides
from rescrnet.datasets.layouts import Pair, Split, look_through, with_numbered_objects
from rescrnet.datasets.legends import Legend, find_legend
from rescrnet.datasets.splitting import groups_in, split_off
from rescrnet.errors import DataError
from rescrnet.images.whole import Objects, Outlines, files_of, read_pixels
from rescrnet.intensity import match_channels, normalise_image
from rescrnet.masks.declared import DatasetFile, declared_in
from rescrnet.masks.infer import mask_table
from rescrnet.masks.instances import width_in_pixels
from rescrnet.masks.stored import MaskFiles
from rescrnet.masks.table import MaskTable

Part = Literal["train", "val"]

MOST_COMPARED = 100  # images; to compare each with each, all are held in memory at once
MOST_PIXELS = 100_000_000


@dataclass
class Example:
    """An image with its mask, and what was noticed when they were read.

    Attributes:
        pair: their files.
        part: whether it trains or validates.
        image: facts about the image; None where it cannot be read.
        masks: facts about the mask files that can be read.
        classes: facts about the classes; None where the values of the mask are not understood.
        faults: why the image or a mask file cannot be used.
        pixels: the image, YXC float32 normalised to [0, 1], where it is kept.
        indices: the mask, YX uint8 class indices, where it is kept.
    """

    pair: Pair
    part: Part
    image: ImageFacts | None = None
    masks: list[MaskFacts] = field(default_factory=list)
    classes: ClassFacts | None = None
    faults: list[Fault] = field(default_factory=list)
    pixels: NDArray[np.float32] | None = field(default=None, repr=False)
    indices: NDArray[np.uint8] | None = field(default=None, repr=False)

    @property
    def image_file(self) -> Path:
        """The file of the image, or of its first channel."""
        return files_of(self.pair.image)[0]

    @property
    def mask_is_sound(self) -> bool:
        """Whether every file of the mask can be used."""
        return bool(self.masks) and all(fault.check != "unreadable-mask" for fault in self.faults)

    @property
    def usable(self) -> bool:
        """Whether image and mask can be read and have one size."""
        return bool(self.image and self.mask_is_sound and all(m.size == self.image.size for m in self.masks))


@dataclass
class Reading:
    """A dataset folder as it was read.

    Attributes:
        folder: where it was read from.
        layout: how it is laid out.
        faults: what is wrong with it as a whole, or with files that are in no example.
        foreign: files that are no images.
        split: all pairs.
        examples: the pairs that were read; all of them, or some of very many.
        description: what its masks mean, as it and the caller say.
        legend: what else lies beside the masks and may say it.
        table: how the masks are read; None where they are not understood.
        own_validation: whether the layout itself says which images validate.
        groups: what each image was taken from, by its stem.
        channels: that every image must have; 0 for those of the images.
    """

    folder: Path
    layout: str
    faults: list[Fault]
    foreign: list[Path]
    split: Split
    examples: list[Example]
    description: DatasetFile = field(default_factory=DatasetFile)
    legend: Legend | None = None
    table: MaskTable | None = None
    own_validation: bool = False
    groups: Mapping[str, str] = field(default_factory=dict)
    channels: int = 0

    @property
    def total(self) -> int:
        """Pairs in the dataset."""
        return len(self.split.train) + len(self.split.val)

    @property
    def images(self) -> Iterator[tuple[Example, ImageFacts]]:
        """The images that can be read."""
        return ((example, example.image) for example in self.examples if example.image)

    @property
    def masks(self) -> Iterator[tuple[Example, MaskFacts]]:
        """The mask files that can be read."""
        return ((example, mask) for example in self.examples for mask in example.masks)

    @property
    def labelled(self) -> Iterator[tuple[Example, ClassFacts]]:
        """The images whose masks are understood."""
        return ((example, example.classes) for example in self.examples if example.classes)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes in the order of their indices, as far as the masks are understood."""
        return [entry.name for entry in self.table.classes] if self.table else []

    def collect(self, warnings: Sequence[str] = ()) -> Dataset:
        """The reading for use; call once the checks found no error. What is kept is handed over, not copied.

        Raises :class:`DataError` where an image has other channels than it must.
        """
        if self.table is None:
            raise ValueError("the masks are not understood, and the checks would have said so")
        images = {e.pair.stem: e.pixels for e in self.examples if e.pixels is not None}
        channels = self.channels or min((image.shape[-1] for image in images.values()), default=0)
        samples: dict[Part, list[Sample]] = {"train": [], "val": []}
        blank = []
        for example in self.examples:
            if example.pixels is not None and example.indices is not None:
                image = match_channels(example.pixels, channels, example.pair.image)
                size = self.description.pixel_size or (example.image and example.image.pixel_size)
                numbers = (
                    partial(self.table.reader.numbers, example.pair.masks) if self.table.reader.instances else None
                )
                sample = Sample(example.pair.stem, image, example.indices, size or None, numbers)
                if (sample.mask != IGNORE).any():
                    samples[example.part].append(sample)
                else:
                    blank.append(sample.stem)
                example.pixels = example.indices = None
        leaking = on_both_sides(self.groups, {pair.stem for pair in self.split.val})
        return Dataset(
            self.folder,
            samples["train"],
            samples["val"],
            self.table,
            tuple(blank),
            tuple(leaking),
            tuple(warnings),
            self.description.axes,
        )


def read_dataset(
    folder: str | Path,
    val: str | None = None,
    *,
    declared: Mapping[str, Any] | None = None,
    trained: DatasetFile | None = None,
    channels: int | None = None,
    most: int | None = None,
    keep: bool = True,
) -> Reading:
    """Read a reading folder in one pass; each of its files is decoded once. What is wrong is recorded, not raised.

    Understood without being told are the layouts of :func:`~rescrnet.datasets.layouts.look_through`.

    Args:
        folder: the dataset.
        val: how to split off validation images, where the layout does not (see
            :func:`~rescrnet.datasets.splitting.split_off`).
        declared: keys of ``dataset.yaml`` that go before what is said there.
        trained: what a trained model knows of its masks, for a reading that is to be scored: it decodes the masks where
            the folder has no ``dataset.yaml`` of its own, and the images stay as the folder splits them.
        channels: the channels of every sample; without it, those of the images.
        most: how many images to open, evenly spread, of more than that; none for all of them.
        keep: hold images and masks for use; otherwise only as many images as checks compare with each other.

    Raises:
        DataError: there is no such folder.
        UsageError: ``val`` does not fit the dataset.
    """
    folder = Path(folder)
    contents = look_through(folder, trained.axes if trained else "")
    reading = Reading(folder, contents.layout, list(contents.faults), contents.foreign, contents.split, [])
    reading.own_validation, reading.channels = bool(contents.split.val), channels or 0
    _describe(reading, declared or {}, trained, contents.root)
    reading.legend = _legend(reading, contents.root, trained)
    if trained is None:
        _split(reading, val)
    if reading.description.instance_boundary:
        reading.split = with_numbered_objects(reading.split)
    parts: list[tuple[Part, Pair]] = [("train", pair) for pair in reading.split.train]
    parts += [("val", pair) for pair in reading.split.val]
    if most is not None and len(parts) > most:
        parts = [parts[place] for place in np.linspace(0, len(parts) - 1, most).round().astype(int)]
    holding = keep or len(parts) <= MOST_COMPARED
    for part, pair in parts:
        reading.examples.append(_read(pair, part, keep_pixels=holding))
        if not keep and holding and _held(reading) > MOST_PIXELS:
            holding = False
            for example in reading.examples:
                example.pixels = None
    _understand(reading, keep=keep)
    return reading


def _describe(reading: Reading, declared: Mapping[str, Any], trained: DatasetFile | None, root: Path) -> None:
    try:
        own = declared_in(reading.folder) or declared_in(root) or DatasetFile()
    except DataError as error:
        reading.faults.append(Fault.of("description", error))
        own = DatasetFile()
    if trained is None:
        reading.description = own.model_copy(update=dict(declared))
        return
    if own.classes and [entry.name for entry in own.classes] != [entry.name for entry in trained.classes]:
        fault = f"names the classes {_names(own.classes)}, the model {_names(trained.classes)}"
        remedy = "expected the same names in the same order"
        reading.faults.append(Fault("description", (reading.folder / "dataset.yaml",), fault, remedy))
        own = DatasetFile()
    said = {key: getattr(own, key) for key in own.model_fields_set}
    reading.description = trained.model_copy(update=said)


def _legend(reading: Reading, root: Path, trained: DatasetFile | None) -> Legend | None:
    """What lies beside the masks, where nothing is declared, or where it names the classes of the trained model."""
    pairs = [*reading.split.train, *reading.split.val]
    if not pairs or reading.description.instance_boundary or (reading.description.classes and trained is None):
        return None
    beside = [files_of(origin)[0].parent for origin in pairs[0].masks.values()]
    legend = find_legend([*beside, root])
    if legend and trained and _names(legend.readings[0]) != _names(reading.description.classes):
        return None
    return legend


def _names(classes: Sequence[ClassEntry]) -> str:
    return ", ".join(entry.name for entry in classes)


def _split(reading: Reading, val: str | None) -> None:
    if not reading.split.train:
        return
    try:
        reading.split = split_off(reading.split, val, reading.description)
        pairs = [*reading.split.train, *reading.split.val]
        reading.groups = groups_in(pairs, reading.description)
    except DataError as error:
        reading.faults.append(Fault.of("only-image" if reading.total == 1 else "split", error))


def _held(reading: Reading) -> int:
    return sum(facts.size[0] * facts.size[1] for example, facts in reading.images if example.pixels is not None)


def _read(pair: Pair, part: Part, *, keep_pixels: bool) -> Example:
    example = Example(pair, part)
    try:
        pixels = read_pixels(pair.image)
        example.image = image_facts(pixels)
        if keep_pixels:
            example.pixels = normalise_image(pixels.colours, alpha=False)
    except DataError as error:
        example.faults.append(Fault.of("unreadable-image", error))
    for _, origin in pair.masks.origins:
        try:
            mask = read_pixels(origin, indices=True)
            example.masks.append(mask_facts(mask, origin))
            pair.masks.keep(origin, mask)
        except DataError as error:
            example.faults.append(Fault.of("unreadable-mask", error))
    return example


def _understand(reading: Reading, *, keep: bool) -> None:
    """Find out what the masks mean, and count their classes."""
    sound = [example for example in reading.examples if example.mask_is_sound]
    if not sound or any(fault.check == "description" for fault in reading.faults):
        return
    try:
        _settle_boundary(reading)
        reading.table = _table(reading, [example.pair.masks for example in sound])
    except DataError as error:
        reading.faults.append(Fault.of("many-values", error))
        return
    if any(isinstance(e.pair.masks.first, Objects) for e in sound) and not reading.description.instance_boundary:
        reading.table = _of_objects(reading.table)
    if any(isinstance(example.pair.masks.first, Outlines) for example in sound) and not reading.table.ignore:
        remark = "what is not outlined is background; 'ignore: background' in dataset.yaml leaves it unlabelled"
        reading.table = replace(reading.table, remarks=(*reading.table.remarks, remark))
    for example in sound:
        try:
            indices = reading.table.decode(example.pair.masks)
        except DataError as error:
            example.faults.append(Fault.of("unreadable-mask", error))
        else:
            example.classes = class_facts(indices, len(reading.table.classes))
            example.indices = indices if keep else None


def _settle_boundary(reading: Reading) -> None:
    """Say in pixels how wide the boundary of numbered objects is to be, where that is declared as a length."""
    width, declared = reading.description.instance_boundary, reading.description.pixel_size
    if isinstance(width, str):
        sizes = [declared] if declared else [facts.pixel_size for _, facts in reading.images if facts.pixel_size]
        pixels = width_in_pixels(width, sizes, reading.folder)
        reading.description = reading.description.model_copy(update={"instance_boundary": pixels})


def _of_objects(table: MaskTable) -> MaskTable:
    """The table of masks that have a file for each object, all of which are one class."""
    remark = "the objects, a file each, are one class; 'instance_boundary: 2' keeps touching ones apart"
    names = {"class 0": "background", "class 1": "object"}
    classes = [entry.model_copy(update={"name": names.get(entry.name, entry.name)}) for entry in table.classes]
    return replace(table, classes=classes, remarks=(*table.remarks, remark))


def _table(reading: Reading, masks: Sequence[MaskFiles]) -> MaskTable:
    """How the masks are read: as is declared, or as a legend beside them says if they hold what it says."""
    readings = reading.legend.readings if reading.legend else ()
    if reading.description.classes:  # of a trained model: the legend may mean other values by its names
        try:
            return mask_table(masks, reading.description, reading.folder)
        except DataError:
            if not readings:
                raise
    for classes in readings:
        try:
            description = reading.description.model_copy(update={"classes": classes})
            table = mask_table(masks, description, reading.folder)
        except DataError:
            continue
        there = [entry for entry in table.classes if any(table.counts.get(c) for c in table.codes_of(entry))]
        kept = there if len(there) > 1 and not reading.description.classes else table.classes
        remark = f"the classes are those of {reading.legend.file}" if reading.legend else ""
        reading.description = reading.description.model_copy(update={"classes": kept})
        return replace(table, classes=kept, remarks=(*table.remarks, remark))
    return mask_table(masks, reading.description, reading.folder)


def shares(classes: Sequence[ClassFacts]) -> NDArray[np.float64]:
    """Each class's share of all labelled pixels."""
    pixels = np.sum([facts.pixels for facts in classes], axis=0)
    return np.asarray(pixels / max(1, pixels.sum()), dtype=np.float64)
