"""The result of a check as one HTML file, with a contact sheet of the images and their masks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from rescrnet.atomic import write_atomically
from rescrnet.checking.check import Checked
from rescrnet.checking.findings import Finding, Severity, printable
from rescrnet.checking.survey import Item, Survey
from rescrnet.checking.tables import class_rows, image_rows
from rescrnet.checking.terminal import summary
from rescrnet.classes import IGNORE
from rescrnet.display import overlay, to_display
from rescrnet.errors import DataError
from rescrnet.images.origins import files_of
from rescrnet.images.whole import read_with_alpha
from rescrnet.intensity import normalise_image
from rescrnet.reporting.figures import Picture, picture, shrunk
from rescrnet.reporting.page import render

MOST_CARDS = 24
_LONGEST = 640  # pixels of a picture


@dataclass(frozen=True)
class Card:
    """An image in the contact sheet."""

    name: str
    part: str
    findings: list[str]
    pictures: list[Picture]


def write_page(checked: Checked, path: Path, expected: str = "") -> None:
    """Write the page; a former one is replaced when the new one is complete.

    Args:
        checked: the dataset and its findings.
        path: the page to write.
        expected: what training will take, in words.

    Raises:
        OutputError: the page cannot be written.
    """
    survey = checked.survey
    now = datetime.now(UTC)
    html = render(
        "check.html.jinja",
        name=printable(survey.folder.resolve().name),
        prefix=f"{printable(survey.folder)}/",
        layout=survey.layout,
        written=f"{now.day} {now:%B %Y}",
        verdict=summary(checked)[:1].upper() + summary(checked)[1:] + ".",
        expected=expected,
        train=len(survey.split.train),
        val=len(survey.split.val),
        numbers={severity.name: sum(f.severity is severity for f in checked.findings) for severity in Severity},
        findings=checked.findings,
        cards=[_card(survey, item, found) for item, found in _worst_first(checked)[:MOST_CARDS]],
        total=survey.total,
        classes=class_rows(survey),
        images=image_rows(survey),
    )
    write_atomically(path, lambda partial: partial.write_text(html, encoding="utf-8"))


def _worst_first(checked: Checked) -> list[tuple[Item, list[Finding]]]:
    """Every image with the errors and warnings that name one of its files; the worst first, then the others."""
    by_file: dict[str, list[Finding]] = defaultdict(list)
    for finding in checked.findings:
        if finding.severity is not Severity.info:
            for file in finding.files:
                by_file[file].append(finding)
    items = []
    for item in checked.survey.items:
        origins = (item.pair.image, *item.pair.masks.values(), *(mask.file for mask in item.masks))
        names = {printable(name) for origin in origins for name in (origin, *files_of(origin))}
        found = {id(finding): finding for name in names for finding in by_file.get(name, [])}
        items.append((item, sorted(found.values(), key=lambda finding: (-finding.severity, finding.check.name))))
    return sorted(items, key=lambda pair: tuple(-finding.severity for finding in pair[1]) or (1,))


def _card(survey: Survey, item: Item, findings: Sequence[Finding]) -> Card:
    part = {"train": "training", "val": "validation"}[item.part]
    words = [finding.check.name.replace("-", " ") for finding in findings]
    return Card(printable(item.pair.stem), part, words, _pictures(survey, item))


def _pictures(survey: Survey, item: Item) -> list[Picture]:
    try:
        array, alpha = read_with_alpha(item.pair.image, palette=True)
    except DataError:
        return []
    unit = np.nan_to_num(normalise_image(array, alpha=alpha), posinf=0, neginf=0)
    unit = unit[..., :1] if unit.shape[-1] == 2 else unit
    image = shrunk(Image.fromarray(to_display(unit)), _LONGEST, Image.Resampling.BOX)
    shown = [picture("Image", image, "JPEG" if max(image.size) > 400 else "PNG")]
    if survey.table and not item.mask_faults and item.masks:
        try:
            mask = Image.fromarray(survey.table.decode(item.pair.masks))
        except DataError:
            return shown
        indices = np.asarray(mask.resize(image.size, Image.Resampling.NEAREST))
        # Unlabelled pixels stay as they are.
        colours = [entry.color for entry in survey.table.classes]
        known = np.where(indices == IGNORE, 0, indices).astype(np.uint8)
        over = overlay(np.asarray(image, dtype=np.float32) / np.float32(255), known, colours)
        over = np.where((indices == IGNORE)[..., None], np.asarray(image), over).astype(np.uint8)
        shown.append(picture("With its mask", Image.fromarray(over), "JPEG" if max(image.size) > 400 else "PNG"))
    return shown
