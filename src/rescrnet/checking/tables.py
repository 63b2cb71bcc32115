"""What was read of a dataset as rows of text: for the terminal, for the page and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from rescrnet.checking.check import Checked
from rescrnet.datasets.read import Example, Reading, shares
from rescrnet.images.whole import Page
from rescrnet.wording import channels, count, printable


@dataclass(frozen=True)
class ImageRow:
    """An image in the table."""

    name: str
    part: str
    size: tuple[int, int] | None
    type: str
    channels: int | None
    pixel_size: tuple[float, float] | None
    mask: str
    shares: list[float]
    parts: list[int]


@dataclass(frozen=True)
class ClassRow:
    """A class in the table: the values that mean it, its share of all labelled pixels, and its connected parts."""

    name: str
    values: str
    share: float
    parts: int
    masks: int
    colour: str


def image_rows(reading: Reading) -> list[ImageRow]:
    """A row for each image that was opened."""
    return [_image_row(example) for example in reading.examples]


def _image_row(example: Example) -> ImageRow:
    image, classes = example.image, example.classes
    place = example.pair.image.index if isinstance(example.pair.image, Page) else None
    page = f" (page {place + 1})" if place is not None else ""
    types = sorted({mask.type for mask in example.masks})
    return ImageRow(
        name=printable(example.image_file.name) + page,
        part=example.part,
        size=image.size if image else None,
        type=image.type if image else "–",
        channels=image.channels if image else None,
        pixel_size=image.pixel_size if image else None,
        mask=", ".join(types) or "–",
        shares=[float(share) for share in shares([classes])] if classes else [],
        parts=classes.parts.tolist() if classes else [],
    )


def class_rows(reading: Reading) -> list[ClassRow]:
    """A row for each class, as far as the masks are understood."""
    facts = [facts for _, facts in reading.labelled]
    if not reading.table or not facts:
        return []
    parts = np.sum([one.parts for one in facts], axis=0)
    seen = np.sum([one.pixels > 0 for one in facts], axis=0)
    values = {name: value for value, name, _ in reading.table.rows()}
    return [
        ClassRow(entry.name, values.get(entry.name, "–"), float(share), int(number), int(masks), entry.color)
        for entry, share, number, masks in zip(reading.table.classes, shares(facts), parts, seen, strict=True)
    ]


def in_one_line(reading: Reading) -> str:
    """What the dataset is, in one line."""
    train, val = len(reading.split.train), len(reading.split.val)
    images = f"{count(train, 'image')} to train on, {val} to validate"
    kinds = Counter(channels(facts.channels) for _, facts in reading.images)
    return f"{printable(reading.folder)}: {reading.layout}; {images}" + "".join(f", {kind}" for kind in kinds)


def to_dict(checked: Checked) -> dict[str, Any]:
    """What ``--json`` prints."""
    reading = checked.reading
    return {
        "dataset": printable(reading.folder),
        "layout": reading.layout,
        "train": len(reading.split.train),
        "val": len(reading.split.val),
        "images": [vars(row) for row in image_rows(reading)],
        "classes": [vars(row) for row in class_rows(reading)],
        "findings": [finding.to_dict() for finding in checked.findings],
    }
