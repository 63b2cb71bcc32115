"""What files beside the masks say of them: our ``classes.json``, tables of classes of CVAT, LabelMe and Roboflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rescrnet.classes import ClassEntry


@dataclass(frozen=True)
class Legend:
    """The classes that a file names; masks may hold only some of them, or another encoding after all.

    Attributes:
        file: where they are named.
        readings: the classes as the masks may encode them, the likeliest first.
    """

    file: Path
    readings: tuple[list[ClassEntry], ...]


def find_legend(folders: Sequence[Path]) -> Legend | None:
    """The first legend in one of the folders; none where there is none, or it is not understood."""
    for folder in folders:
        for name, read in _FILES.items():
            file = folder / name
            try:
                readings = read(file.read_text(encoding="utf-8-sig")) if file.is_file() else ()
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # something else's file
            if readings:
                return Legend(file, readings)
    return None


def _own(text: str) -> tuple[list[ClassEntry], ...]:
    """What ``predict`` writes: index, name and colour of each class.

    Of two classes, the second may be 255 in the masks that the model was trained on, which lie beside predicted ones.
    """
    entries = sorted(json.loads(text), key=lambda entry: int(entry["index"]))
    colors = [str(entry.get("color") or entry.get("colour") or "") for entry in entries]
    indices = [
        ClassEntry(name=str(entry["name"]), value=int(entry["index"]), color=color)
        for entry, color in zip(entries, colors, strict=True)
    ]
    if len(indices) < 2:
        return ()
    if [entry.value for entry in indices] != [0, 1]:
        return (indices,)
    return indices, [indices[0], indices[1].model_copy(update={"value": [1, 255]})]


def _labelmap(text: str) -> tuple[list[ClassEntry], ...]:
    """Lines as ``nucleus:250,50,83::``, the colour of each class."""
    entries = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, color = line.split(":")[:2]
        red, green, blue = (int(part) for part in color.split(","))
        code = f"#{red:02x}{green:02x}{blue:02x}"
        entries.append(ClassEntry(name=name.strip(), value=code, color=code))
    return (entries,) if len(entries) > 1 else ()


def _names(text: str) -> tuple[list[ClassEntry], ...]:
    """The names of the indices 0, 1, … in lines, after ``__ignore__``, as ``labelme2voc`` writes them."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip() != "__ignore__"]
    entries = [ClassEntry(name=line.strip("_"), value=index) for index, line in enumerate(lines)]
    return (entries,) if len(entries) > 1 else ()


def _values(text: str) -> tuple[list[ClassEntry], ...]:
    """Lines as ``1, nucleus`` below ``Pixel Value, Class``, as Roboflow writes them."""
    head, *lines = [line for line in text.splitlines() if line.strip()]
    if head.replace(" ", "").lower() != "pixelvalue,class":
        return ()
    cells = [line.split(",", 1) for line in lines]
    entries = [ClassEntry(name=name.strip(), value=int(value)) for value, name in cells]
    return (entries,) if len(entries) > 1 else ()


_FILES: Mapping[str, Callable[[str], tuple[list[ClassEntry], ...]]] = {
    "classes.json": _own,
    "labelmap.txt": _labelmap,
    "class_names.txt": _names,
    "_classes.csv": _values,
}
