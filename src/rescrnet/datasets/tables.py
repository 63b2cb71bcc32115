"""A CSV table of images and masks, for data in any folder layout."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rescrnet.datasets.faults import Fault
from rescrnet.images.zarr_reader import is_zarr

_SPLITS: Mapping[str, Literal["train", "val"]] = {
    "": "train",
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
}


@dataclass(frozen=True)
class TableRow:
    """An image and its mask, the group it belongs to, and whether it trains or validates."""

    image: Path
    mask: Path
    group: str
    split: Literal["train", "val"]


def find_table(folder: Path) -> Path | None:
    """The first CSV file in ``folder`` that has columns ``image`` and ``mask``, or none."""
    for path in sorted(folder.glob("*.[cC][sS][vV]")):
        header, _ = _read(path)
        if {"image", "mask"} <= set(header):
            return path
    return None


def read_table(path: Path) -> tuple[list[TableRow], list[Fault]]:
    """The rows of a table with the columns ``image``, ``mask`` and, if wanted, ``group`` and ``split``.

    Paths are relative to the table, with slashes or backslashes. A ``split`` is ``train``, ``val``, or empty for
    training; rows for ``test`` are left out. What cannot be used is a fault.
    """
    header, lines = _read(path)
    rows: list[TableRow] = []
    faults: list[Fault] = []
    seen: dict[Path, int] = {}
    for number, line in enumerate(lines, start=2):
        cells = dict(zip(header, (cell.strip() for cell in line), strict=False))
        if not any(cells.values()) or cells.get("split", "").lower() == "test":
            continue
        wrong = _fault(path, cells, seen)
        if wrong:
            faults.append(Fault("table-row", (path,), *wrong, place=f", line {number}"))
            continue
        image = _file(path.parent, cells["image"])
        seen[image] = number
        split = _SPLITS[cells.get("split", "").lower()]
        rows.append(TableRow(image, _file(path.parent, cells["mask"]), cells.get("group", ""), split))
    return rows, faults


def _fault(path: Path, cells: Mapping[str, str], seen: Mapping[Path, int]) -> tuple[str, str] | None:
    """What is wrong with a row and what to do, or nothing."""
    for column in ("image", "mask"):
        name = cells.get(column, "")
        if not name:
            return f"names no {column}", "fill it in, or remove the line"
        try:
            there = "\0" not in name and _is_there(_file(path.parent, name))
        except OSError:  # too long for a name
            there = False
        if not there:
            return (
                f"there is no file '{name}'",
                f"expected {'an' if column == 'image' else 'a'} {column} relative to the table",
            )
    if (split := cells.get("split", "").lower()) not in _SPLITS:
        return f"split '{split}' is unknown", "expected train, val or test"
    if line := seen.get(_file(path.parent, cells["image"])):
        return f"'{cells['image']}' is in line {line} too", "list each image once"
    return None


def _file(folder: Path, name: str) -> Path:
    """The file of a name, which Windows may have written with backslashes, or another system with other umlauts."""
    forms = [name, *(unicodedata.normalize(form, name.replace("\\", "/")) for form in ("NFC", "NFD"))]
    files = [folder / form for form in (*forms, name.replace("\\", "/"))]
    return next((file for file in files if _is_there(file)), files[0])


def _is_there(file: Path) -> bool:
    return file.is_file() or is_zarr(file)


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape").replace("\0", "")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(text.splitlines(), delimiter=delimiter))
    except csv.Error:  # a cell beyond the size that a name can have
        return [], []
    return [cell.strip().lower() for cell in lines[0]] if lines else [], lines[1:]
