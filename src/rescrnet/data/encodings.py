"""What the values in a dataset's masks mean, inferred from the values alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rescrnet.data.masks import (
    STRAY_CODE,
    STRAYS,
    ClassEntry,
    DatasetFile,
    MaskFiles,
    MaskReader,
    MaskTable,
    coloured,
    count_codes,
)
from rescrnet.errors import DataError

INDEX_LIMIT = 31  # masks whose largest value is at most this hold class indices, larger ones grey levels
_NEIGHBOURS = 2  # grey levels this close are one class: 127 and 128
_MOST_LEVELS = 16
_CHANNELS = {0x000000: "background", 0xFF0000: "red", 0x00FF00: "green", 0x0000FF: "blue"}


def mask_table(masks: Sequence[MaskFiles], declared: DatasetFile | None, where: Path) -> MaskTable:
    """How ``masks`` are read: as ``declared``, or as their values tell.

    Args:
        masks: the files of every image of the dataset, training and validation together.
        declared: the dataset's own ``dataset.yaml``, or the classes of a trained model.
        where: the dataset, for messages.

    Raises:
        DataError: the values make no sense as classes; the message has the values, their counts and the remedy.
    """
    reader = MaskReader.fit(masks, INDEX_LIMIT)
    if declared and any(255 in entry.values for entry in declared.classes):
        reader = MaskReader(reader.folders, reader.colour, one=255)
    counts = count_codes(reader, masks)
    if declared:
        _check_declared(reader, declared, where)
        classes = declared.classes
    else:
        classes = _infer(reader, counts, where)
    table = MaskTable(reader, coloured(classes), counts)
    table.check(where)
    return table


def _check_declared(reader: MaskReader, declared: DatasetFile, where: Path) -> None:
    seen: dict[int, str] = {}
    names = Counter(entry.name for entry in declared.classes)
    if (name := names.most_common(1)[0])[1] > 1:
        raise DataError(f"{where}: two classes are named '{name[0]}'; give each class a name of its own")
    for entry in declared.classes:
        for value in entry.values:
            code = reader.code_of(value)
            if code is None:
                kind = (
                    "folders " + ", ".join(reader.folders) if reader.folders else "colours" if reader.colour else "grey"
                )
                raise DataError(
                    f"{where}: class '{entry.name}' is declared as {value!r}, but the masks are {kind}; "
                    f"give the values that the masks hold in {where / 'dataset.yaml'}"
                )
            if code in seen:
                raise DataError(
                    f"{where}: value {value!r} is declared for both '{seen[code]}' and '{entry.name}'; give it to one"
                )
            seen[code] = entry.name


def _infer(reader: MaskReader, counts: Mapping[int, int], where: Path) -> list[ClassEntry]:
    if reader.folders:
        names = ["background"] if counts.get(0) else []
        return [ClassEntry(name=name, value=name) for name in [*names, *reader.folders]]
    if reader.colour:
        return _from_colours(counts, where)
    if max(counts) <= INDEX_LIMIT:
        return [ClassEntry(name=f"class {code}", value=code) for code in sorted(counts)]
    return _from_levels(counts, where)


def _from_colours(counts: Mapping[int, int], where: Path) -> list[ClassEntry]:
    """A channel a class: pure red, green and blue, black where no channel is set."""
    total = sum(counts.values())
    colours = {code & 0xFFFFFF: n for code, n in counts.items() if n >= STRAY_CODE * total}
    other = Counter({colour: n for colour, n in colours.items() if colour not in _CHANNELS})
    if other:
        listing = ", ".join(f"#{colour:06x} ({n} pixels)" for colour, n in other.most_common(6))
        example = f"{{name: nucleus, value: '#{next(iter(other)):06x}'}}"
        raise DataError(
            f"{where}: the masks hold colours that are not one channel a class: {listing}; name each colour in "
            f"{where / 'dataset.yaml'}, as in classes: [{example}, …]"
        )
    return [
        ClassEntry(name=name, value=f"#{rgb:06x}", display=f"#{rgb:06x}")
        for rgb, name in _CHANNELS.items()
        if rgb in colours
    ]


def _from_levels(counts: Mapping[int, int], where: Path) -> list[ClassEntry]:
    """One thresholded grey mask: a few levels, neighbours taken together, stray values left for the nearest."""
    total = sum(counts.values())
    levels = sorted(code for code, n in counts.items() if n >= STRAY_CODE * total)
    strays = total - sum(counts[level] for level in levels)
    if len(levels) > _MOST_LEVELS or strays > STRAYS * total:
        listing = ", ".join(f"{code} ({n} pixels)" for code, n in Counter(counts).most_common(6))
        raise DataError(
            f"{where}: the masks hold {len(counts)} grey values, more than a few classes: {listing}, …; "
            "number the classes 0, 1, 2, …, or threshold the masks (masks of separate objects and JPEG masks "
            f"cannot be used), or list the values in {where / 'dataset.yaml'}"
        )
    groups: list[list[int]] = []
    for level in levels:
        if groups and level - groups[-1][-1] <= _NEIGHBOURS and level > INDEX_LIMIT:
            groups[-1].append(level)
        else:
            groups.append([level])
    return [ClassEntry(name=f"grey {max(group, key=lambda level: counts[level])}", value=[*group]) for group in groups]
