"""The table from the codes in masks to classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import IGNORE, ClassEntry
from rescrnet.errors import DataError
from rescrnet.images.whole import Origin
from rescrnet.masks.edges import settle_edges
from rescrnet.masks.files import STRAYS
from rescrnet.masks.reader import UNLABELLED, MaskReader

FEW_CODES = 1 << 14  # such codes are counted and looked up in places, a tenth of the time of sorting
STRAY_CODE = 1e-4  # a code with a smaller share of all pixels may be a stray value, given to the nearest class


@dataclass(frozen=True)
class MaskTable:
    """The table from codes to classes, and how it came to be.

    Attributes:
        reader: reads the files.
        classes: the classes in the order of their indices.
        counts: pixels of every code in the dataset it was made for.
        antialiased: whether codes of no class are the edges between classes, and go to the one next to them.
        ignore: the values of unlabelled pixels, declared or inferred.
        remarks: what else a person should know about how the masks were read.
    """

    reader: MaskReader
    classes: list[ClassEntry]
    counts: Mapping[int, int]
    antialiased: bool = False
    ignore: tuple[int | str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def indices(self) -> dict[int, int]:
        """Code → class index, for the codes that the classes name."""
        named = [(self.reader.code_of(value), place) for place, e in enumerate(self.classes) for value in e.values]
        return {code: place for code, place in named if code is not None}

    def codes_of(self, entry: ClassEntry) -> list[int]:
        """The codes that a class names."""
        return [code for value in entry.values if (code := self.reader.code_of(value)) is not None]

    @property
    def strays(self) -> dict[int, int]:
        """Pixels of the codes that no class names."""
        return {code: n for code, n in labelled(self.counts).items() if code not in self.indices}

    def check(self, where: Path) -> None:
        """Raise :class:`DataError` with values, counts and remedy where too much of the masks is in no class."""
        total = sum(labelled(self.counts).values())
        strays = self.strays
        if not total:
            raise DataError(
                where,
                f"no pixel of the masks is labelled, all are {self._unlabelled()}",
                f"label some, or correct 'ignore' in {where / 'dataset.yaml'}",
            )
        if self.antialiased:
            return
        if sum(strays.values()) > STRAYS * total or any(n >= STRAY_CODE * total for n in strays.values()):
            raise DataError(
                where,
                f"the masks hold values that belong to no class: {self.list_values(strays)}",
                f"correct the masks, or list every value in {where / 'dataset.yaml'}",
            )

    def list_values(self, counts: Mapping[int, int], most: int = 8) -> str:
        """``value × count`` of the most frequent codes, for messages."""
        ranked = Counter(counts).most_common(most)
        more = f" and {len(counts) - most} more" if len(counts) > most else ""
        return ", ".join(f"{self.reader.value_of(code)} ({n} pixels)" for code, n in ranked) + more

    def decode(self, files: Mapping[str, Origin]) -> NDArray[np.uint8]:
        """The mask of one image as class indices, YX uint8; stray codes go to the nearest class.

        Unlabelled pixels are :data:`IGNORE`.
        """
        codes = self.reader.codes(files)
        if self.antialiased:
            codes = settle_edges(codes, list(self.indices), self.reader.points)
        if codes.size > 0 and int(codes.max()) < FEW_CODES:
            present = np.flatnonzero(np.bincount((codes - np.int16(UNLABELLED)).ravel())) + UNLABELLED
            classes = np.zeros(int(present[-1]) - UNLABELLED + 1, np.uint8)
            classes[present - UNLABELLED] = [self._index(int(code)) for code in present]
            return np.asarray(classes[codes - np.int16(UNLABELLED)])
        present, inverse = np.unique(codes, return_inverse=True)
        nearest = np.array([self._index(int(code)) for code in present], dtype=np.uint8)
        return nearest[inverse].reshape(codes.shape)

    def _index(self, code: int) -> int:
        indices = self.indices
        if code == UNLABELLED:
            return IGNORE
        if code in indices:
            return indices[code]
        known = np.array(list(indices))
        distance = np.abs(self.reader.points(known) - self.reader.points(np.array([code]))).sum(-1)
        return indices[int(known[distance.argmin()])]

    def _unlabelled(self) -> str:
        return ", ".join(map(str, self.ignore)) or "transparent, NaN or -1"

    def notes(self) -> list[str]:
        """What else a person should know about how the masks were read."""
        strays = self.strays
        if not strays:
            return [*self.remarks]
        how = (
            "at antialiased edges were given to the class next to them"
            if self.antialiased
            else ("were given to the nearest class")
        )
        return [*self.remarks, f"stray values {how}: {self.list_values(strays)}"]

    def rows(self) -> list[tuple[str, str, float]]:
        """The class table: values in the mask, class, share of pixels; unlabelled pixels last, where there are any."""
        total = sum(self.counts.values())
        pixels = Counter[int]()
        for code, n in self.counts.items():
            pixels[self._index(code)] += n
        values: dict[int, list[str]] = {}
        for code, place in self.indices.items():
            if self.counts.get(code):
                values.setdefault(place, []).append(str(self.reader.value_of(code)))
        rows = [
            (", ".join(values.get(place, ["–"])), entry.name, pixels[place] / total)
            for place, entry in enumerate(self.classes)
        ]
        return [*rows, (self._unlabelled(), "unlabelled", pixels[IGNORE] / total)] if pixels[IGNORE] else rows


def labelled(counts: Mapping[int, int]) -> dict[int, int]:
    """Pixels of every code but that of unlabelled pixels."""
    return {code: n for code, n in counts.items() if code != UNLABELLED}


def pool(counts: Iterable[Mapping[int, int]]) -> Counter[int]:
    """Counts of several masks together."""
    return sum((Counter(one) for one in counts), Counter[int]())
