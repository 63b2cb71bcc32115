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
from rescrnet.checking.findings import Finding, Severity
from rescrnet.checking.tables import class_rows, image_rows
from rescrnet.checking.terminal import summary
from rescrnet.classes import IGNORE
from rescrnet.datasets.read import Example, Reading
from rescrnet.display import overlay, to_display
from rescrnet.errors import DataError
from rescrnet.images.whole import files_of, read_image
from rescrnet.reporting.figures import Picture, picture, shrunk
from rescrnet.reporting.render import render
from rescrnet.wording import printable

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
    reading = checked.reading
    html = render(
        "check.html.jinja",
        name=printable(reading.folder.resolve().name),
        prefix=f"{printable(reading.folder)}/",
        layout=reading.layout,
        written=datetime.now(UTC),
        verdict=summary(checked),
        expected=expected,
        train=len(reading.split.train),
        val=len(reading.split.val),
        numbers={severity.name: sum(f.severity is severity for f in checked.findings) for severity in Severity},
        findings=checked.findings,
        cards=[_card(reading, example, findings) for example, findings in _worst_first(checked)[:MOST_CARDS]],
        total=reading.total,
        classes=class_rows(reading),
        images=image_rows(reading),
    )
    write_atomically(path, lambda partial: partial.write_text(html, encoding="utf-8"), shared=True)


def _worst_first(checked: Checked) -> list[tuple[Example, list[Finding]]]:
    """Every image with the errors and warnings that name one of its files; the worst first, then the others."""
    by_file: dict[str, list[Finding]] = defaultdict(list)
    for finding in checked.findings:
        if finding.severity is not Severity.info:
            for file in finding.files:
                by_file[file].append(finding)
    examples = []
    for example in checked.reading.examples:
        origins = (example.pair.image, *example.pair.masks.values(), *(mask.file for mask in example.masks))
        names = {printable(name) for origin in origins for name in (origin, *files_of(origin))}
        found = {id(finding): finding for name in names for finding in by_file.get(name, [])}
        examples.append((example, sorted(found.values(), key=lambda finding: (-finding.severity, finding.check.name))))
    return sorted(examples, key=lambda pair: tuple(-finding.severity for finding in pair[1]) or (1,))


def _card(reading: Reading, example: Example, findings: Sequence[Finding]) -> Card:
    part = {"train": "training", "val": "validation"}[example.part]
    words = [finding.check.name.replace("-", " ") for finding in findings]
    return Card(printable(example.pair.stem), part, words, _pictures(reading, example))


def _pictures(reading: Reading, example: Example) -> list[Picture]:
    try:
        unit = read_image(example.pair.image) if example.pixels is None else example.pixels
    except DataError:
        return []
    unit = np.nan_to_num(unit, posinf=0, neginf=0)
    unit = unit[..., :1] if unit.shape[-1] == 2 else unit
    image = shrunk(Image.fromarray(to_display(unit)), _LONGEST, Image.Resampling.BOX)
    shown = [picture("Image", image, "JPEG" if max(image.size) > 400 else "PNG")]
    if reading.table and example.mask_is_sound:
        try:
            mask = Image.fromarray(reading.table.decode(example.pair.masks))
        except DataError:
            return shown
        indices = np.asarray(mask.resize(image.size, Image.Resampling.NEAREST))
        # Unlabelled pixels stay as they are.
        colours = [entry.color for entry in reading.table.classes]
        known = np.where(indices == IGNORE, 0, indices).astype(np.uint8)
        over = overlay(np.asarray(image, dtype=np.float32) / np.float32(255), known, colours)
        over = np.where((indices == IGNORE)[..., None], np.asarray(image), over).astype(np.uint8)
        shown.append(picture("With its mask", Image.fromarray(over), "JPEG" if max(image.size) > 400 else "PNG"))
    return shown
