"""What was seen of a dataset as rows of text: for the terminal, for the page and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from rescrnet.checking.check import Checked
from rescrnet.checking.findings import printable
from rescrnet.checking.survey import Item, Survey, shares
from rescrnet.images.origins import Page


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


def image_rows(survey: Survey) -> list[ImageRow]:
    """A row for each image that was opened."""
    return [_image_row(item) for item in survey.items]


def _image_row(item: Item) -> ImageRow:
    image, classes = item.image, item.classes
    page = f" (page {item.pair.image.index + 1})" if isinstance(item.pair.image, Page) else ""
    types = sorted({mask.type for mask in item.masks})
    return ImageRow(
        name=printable(item.image_file.name) + page,
        part=item.part,
        size=image.size if image else None,
        type=image.type if image else "–",
        channels=image.channels if image else None,
        pixel_size=image.pixel_size if image else None,
        mask=", ".join(types) or "–",
        shares=[float(share) for share in shares([classes])] if classes else [],
        parts=classes.parts.tolist() if classes else [],
    )


def class_rows(survey: Survey) -> list[ClassRow]:
    """A row for each class, as far as the masks are understood."""
    facts = [facts for _, facts in survey.labelled]
    if not survey.table or not facts:
        return []
    parts = np.sum([one.parts for one in facts], axis=0)
    seen = np.sum([one.pixels > 0 for one in facts], axis=0)
    values = {name: value for value, name, _ in survey.table.rows()}
    return [
        ClassRow(entry.name, values.get(entry.name, "–"), float(share), int(count), int(masks), entry.color)
        for entry, share, count, masks in zip(survey.table.classes, shares(facts), parts, seen, strict=True)
    ]


def in_one_line(survey: Survey) -> str:
    """What the dataset is, in one line."""
    train, val = len(survey.split.train), len(survey.split.val)
    images = f"{train} image{'s' * (train != 1)} to train on, {val} to validate"
    kinds = Counter(
        {1: "grey", 3: "RGB"}.get(facts.channels, f"{facts.channels} channels") for _, facts in survey.images
    )
    return f"{printable(survey.folder)}: {survey.layout}; {images}" + "".join(f", {kind}" for kind in kinds)


def to_dict(checked: Checked) -> dict[str, Any]:
    """What ``--json`` prints."""
    survey = checked.survey
    return {
        "dataset": printable(survey.folder),
        "layout": survey.layout,
        "train": len(survey.split.train),
        "val": len(survey.split.val),
        "images": [vars(row) for row in image_rows(survey)],
        "classes": [vars(row) for row in class_rows(survey)],
        "findings": [finding.to_dict() for finding in checked.findings],
    }
