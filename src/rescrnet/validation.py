"""Which images validate: read from text once, and kept as what it means."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from rescrnet.records import Record


class Fraction(Record):
    """A share of the images, the last ones by name."""

    fraction: float = Field(gt=0, lt=1)

    def __str__(self) -> str:
        return str(self.fraction)


class Names(Record):
    """The images of these names, without suffix."""

    names: list[str]

    def __str__(self) -> str:
        return ",".join(self.names)


class Folder(Record):
    """All images of another folder."""

    folder: Path
    """Absolute: a run may be resumed and reported from elsewhere."""

    def __str__(self) -> str:
        return str(self.folder)


Validation = Fraction | Names | Folder
"""The text of each is what :func:`parse_validation` reads back."""


def parse_validation(text: str) -> Validation:
    """``"0.25"``, names ``"03,04"``, or a folder: one that is there, or any absolute path.

    An image may be named like a number. What is no fraction between 0 and 1 is taken for a name; whether there is an
    image of that name, and whether there is one that is named like the fraction, the dataset must tell.
    """
    path = Path(text)
    if text and (path.is_absolute() or path.is_dir()):
        return Folder(folder=path.resolve())
    try:
        return Fraction(fraction=float(text))
    except ValueError:
        return Names(names=split_names(text))


def split_names(text: str) -> list[str]:
    """Names separated by commas; those in the brackets of a name, ``slide [x=0,y=512]``, do not separate."""
    return [name.strip() for name in re.split(r",(?![^\[(]*[\])])", text)]
