"""What the values in a dataset's masks mean, inferred from the values alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rescrnet.classes import ClassEntry, as_list, coloured
from rescrnet.errors import DataError
from rescrnet.images.whole import Origin
from rescrnet.masks.declared import DatasetFile
from rescrnet.masks.edges import Codes, Mixtures, slopes, touching
from rescrnet.masks.files import STRAYS
from rescrnet.masks.instances import CLASSES, look_like_instances
from rescrnet.masks.reader import UNLABELLED, MaskReader
from rescrnet.masks.stored import MaskFiles
from rescrnet.masks.table import FEW_CODES, STRAY_CODE, MaskTable, labelled, pool

INDEX_LIMIT = 31  # masks whose largest value is at most this hold class indices, larger ones grey levels
_NEIGHBOURS = 2  # grey levels this close are one class: 127 and 128
_MOST_LEVELS = 16
_CHANNELS = {0x000000: "background", 0xFF0000: "red", 0x00FF00: "green", 0x0000FF: "blue"}
_VOID = (255, 65535)  # beside class indices they are unlabelled pixels, in many programs
_AREA = 0.1  # a class has at least this share of its pixels in 2×2 squares of its own, an antialiased edge has not
_ONE_EDGE_VALUE = 0.9  # a value that more edge pixels than this have is a thin class, not a mixture
_FEW_LEVELS = 64  # more are no classes in any case
_HARDLY = 0.02  # share of the pixels of a level that may be three wide at the knots of walls
_MOST_RISE = 0.6  # of the pixels of a level on a slope; the peak of thin walls has none
_SOME_RISE = 0.3
_MINGLED = 0.5  # of the pixels of three levels or more that are all thin; classes of thin things lie apart
_CROWDED = 0.2  # of the widest gap between the classes of a smooth mask
_RINGING = 24  # compression and interpolation move values this far, or
_RINGING_SHARE = 0.2  # this share of the distance of the classes: of two areas as close, one far smaller is none
_FAR_SMALLER = 8


@dataclass(frozen=True)
class _Seen:
    """All masks, looked at once: pixels of every code in each, and those that begin a 2×2 square of one code."""

    reader: MaskReader
    masks: Sequence[MaskFiles]
    images: list[Counter[int]]
    squares: Counter[int]

    @classmethod
    def of(cls, reader: MaskReader, masks: Sequence[MaskFiles]) -> _Seen:
        seen = [_count(reader.codes(files)) for files in masks]
        return cls(reader, masks, [pixels for pixels, _ in seen], pool(squares for _, squares in seen))

    @property
    def counts(self) -> Counter[int]:
        return pool(self.images)

    def mixtures(self, areas: Sequence[int]) -> Mixtures:
        """How much of what is in no area is edges, in all masks together."""
        found = (Mixtures.of(self.reader.codes(files), areas, self.reader.points) for files in self.masks)
        return sum(found, Mixtures())

    def slopes(self, levels: Sequence[int]) -> dict[int, NDArray[np.int64]]:
        """What :func:`.edges.slopes` counts, in all masks together."""
        found = dict.fromkeys(levels, np.zeros(3, np.int64))
        for files in self.masks if levels else ():
            for code, numbers in slopes(self.reader.codes(files), levels).items():
                found[code] = found[code] + numbers
        return found


def _count(codes: Codes) -> tuple[Counter[int], Counter[int]]:
    """Pixels of every code, and those that begin a 2×2 square of one code."""
    corner = codes[:-1, :-1]
    square = (corner == codes[1:, :-1]) & (corner == codes[:-1, 1:]) & (corner == codes[1:, 1:])
    return _tally(codes.ravel()), _tally(corner[square])


def _tally(codes: Codes) -> Counter[int]:
    if codes.size and int(codes.max()) < FEW_CODES:
        counts = np.bincount(codes - np.int16(UNLABELLED))
        values = np.flatnonzero(counts)
        return Counter(dict(zip((values + UNLABELLED).tolist(), counts[values].tolist(), strict=True)))
    found, pixels = np.unique(codes, return_counts=True)
    return Counter(dict(zip(found.tolist(), pixels.tolist(), strict=True)))


def mask_table(masks: Sequence[Mapping[str, Origin]], declared: DatasetFile | None, where: Path) -> MaskTable:
    """How ``masks`` are read: as ``declared``, or as their values tell.

    Args:
        masks: the files of every image of the dataset, training and validation together.
        declared: the dataset's own ``dataset.yaml``, or the classes of a trained model.
        where: the dataset, for messages.

    Raises:
        DataError: the values make no sense as classes; the message has the values, their counts and the remedy.
    """
    declared, stored = declared or DatasetFile(), [MaskFiles.of(files) for files in masks]
    reader = MaskReader.fit(stored, INDEX_LIMIT)
    if any(255 in entry.values for entry in declared.classes):
        reader = replace(reader, one=255)
    if reader.outlined:  # a class that nobody outlined here is a class all the same
        meant = {value for entry in declared.classes for value in entry.values if isinstance(value, str)} - {
            "background"
        }
        reader = replace(reader, layers=tuple(sorted({*reader.layers, *meant})))
    if not reader.named and _by_colour(declared) and all(files.labels(files.first).palette for files in stored):
        reader = replace(reader, palette=True, colour=True)  # what an index stands for is declared, not the index
    seen = _Seen.of(_as_asked(reader, declared, where), stored)
    ignore, remarks = tuple(as_list(declared.ignore)), tuple[str, ...]()
    if not declared.classes and not ignore and (void := _void(seen)):
        seen, ignore = _Seen.of(replace(seen.reader, ignore=(void,), one=1), stored), (void,)
        remarks = (
            f"{void} beside class indices is taken for unlabelled pixels, which are left out of training and scores; "
            f"if it is a class, list the classes in {where / 'dataset.yaml'}",
        )
    if declared.classes:
        _check_declared(seen.reader, declared.classes, where)
        table = MaskTable(seen.reader, coloured(declared.classes), seen.counts, ignore=ignore)
        areas = [code for code in table.indices if seen.counts.get(code)]
        return _checked(replace(table, antialiased=_smooth(seen, areas, where)), where)
    table = MaskTable(seen.reader, [], seen.counts, ignore=ignore, remarks=remarks)
    if not labelled(seen.counts):
        return _checked(table, where)
    _refuse_thin_walls(seen, where)
    areas = _areas(seen)
    smooth = _smooth(seen, areas, where)
    if not smooth:
        _refuse_instances(seen, where)
        _refuse_mingled(seen, where)
    kept = _without_ringing(seen, areas) if smooth else list(labelled(seen.counts))
    if smooth and not (seen.reader.named or seen.reader.colour):
        _refuse_crowded(seen, kept, where)
    counts = {code: seen.counts[code] for code in kept}
    classes = coloured(_infer(seen, counts, where))
    return _checked(replace(table, classes=classes, antialiased=smooth), where)


def _by_colour(declared: DatasetFile) -> bool:
    values = [value for entry in declared.classes for value in entry.values]
    return bool(values) and all(isinstance(value, str) and value.startswith("#") for value in values)


def _checked(table: MaskTable, where: Path) -> MaskTable:
    table.check(where)
    return table


def _as_asked(reader: MaskReader, declared: DatasetFile, where: Path) -> MaskReader:
    """The reader with what is declared about unlabelled pixels and objects."""
    ground = not reader.named and any("background" in entry.values for entry in declared.classes)
    reader = replace(reader, ground=ground)
    codes = []
    for value in as_list(declared.ignore):
        code = reader.code_of(value)
        if code is None:
            raise DataError(
                where,
                f"unlabelled pixels are declared as {value!r}, but the masks are {reader.kind}",
                "give 'ignore' a value that the masks hold",
            )
        codes.append(code)
    if declared.instance_boundary and (reader.named or reader.colour):
        raise DataError(
            where,
            f"the masks are {reader.kind}, but 'instance_boundary' expects a number for each object",
            "leave 'instance_boundary' out",
        )
    width = declared.instance_boundary
    if isinstance(width, str):
        raise DataError(
            where, f"'instance_boundary' is {width}, and the size of a pixel is not known", "give it in pixels"
        )
    return replace(reader, ignore=tuple(codes), instances=width)


def _void(seen: _Seen) -> int | None:
    """255 or 65535 where it is the only value beside two or more class indices in a row."""
    reader = seen.reader
    if reader.named or reader.colour:
        return None
    *indices, last = sorted(labelled(seen.counts)) or [0]
    in_a_row = len(indices) > 1 and indices[-1] <= INDEX_LIMIT and indices == list(range(indices[0], indices[-1] + 1))
    if last not in _VOID or not in_a_row:
        return None
    both = any(image[last] and sum(image[index] > 0 for index in indices) > 1 for image in seen.images)
    if not both and not all(image[last] for image in seen.images):
        _refuse_mixture(seen, last)
    return last


def _refuse_mixture(seen: _Seen, last: int) -> None:
    one = next(files.first for files, image in zip(seen.masks, seen.images, strict=True) if image[last])
    other = next(files.first for files, image in zip(seen.masks, seen.images, strict=True) if not image[last])
    raise DataError(
        other,
        f"holds class indices, but {one} holds {last} beside one other value at most",
        "expected one encoding in all masks; if both mean the same class, say in dataset.yaml "
        f"'classes: [{{name: background, value: 0}}, {{name: object, value: [1, {last}]}}]'; "
        f"if {last} is unlabelled, 'ignore: {last}'",
    )


def _areas(seen: _Seen) -> list[int]:
    """The codes that form areas, not only outlines."""
    counts = labelled(seen.counts)
    least = STRAY_CODE * sum(counts.values())
    return sorted(code for code, n in counts.items() if n >= least and seen.squares[code] >= _AREA * n)


def _without_ringing(seen: _Seen, areas: Sequence[int]) -> list[int]:
    """The areas but those that only surround a far larger one of nearly the same value."""
    if not areas:
        return []
    points = seen.reader.points(np.array(areas))
    reach = min(_RINGING, _RINGING_SHARE * float(np.ptp(points, axis=0).max()))
    squares = np.array([seen.squares[code] for code in areas])
    kept = []
    for place, code in enumerate(areas):
        near = np.abs(points - points[place]).max(-1) <= reach
        if squares[near].max() <= _FAR_SMALLER * max(1, squares[place]):
            kept.append(code)
    return kept


def _smooth(seen: _Seen, areas: Sequence[int], where: Path) -> bool:
    """Whether the masks are antialiased: what is in no area is many values, all at the edges between areas.

    Raises :class:`DataError` where they are, but it cannot be told what they mean.
    """
    counts = labelled(seen.counts)
    main = _without_ringing(seen, areas)
    rest = {code: n for code, n in counts.items() if code not in main}
    if seen.reader.named or not main or len(rest) < 3:
        return False
    total, between = sum(counts.values()), sum(rest.values())
    mere_strays = between <= STRAYS * total and max(rest.values()) < STRAY_CODE * total
    if mere_strays or max(rest.values()) > _ONE_EDGE_VALUE * between:
        return False
    found = seen.mixtures(areas)
    if found.are_edges and 2 <= len(main) <= _MOST_LEVELS:
        return True
    if found.are_interpolated and not seen.reader.colour:
        why = "most of which lie at edges between others, as where a mask was resized smoothly or saved as JPEG"
        _refuse_resized(seen, why, where)
    return False


def _refuse_thin_walls(seen: _Seen, where: Path) -> None:
    """Refuse grey levels of which two or more are nowhere three pixels wide, and rise from one to the next.

    Walls of a pixel that were enlarged smoothly look so: the peak is two pixels wide and would pass for a class.
    """
    counts = labelled(seen.counts)
    if seen.reader.named or seen.reader.colour or not len(counts) > 3 or max(counts) <= INDEX_LIMIT:
        return
    found = seen.slopes(_areas(seen) if len(counts) > _FEW_LEVELS else list(counts))
    thin = _thin(found)
    rising = [code for code in thin if found[code][2] >= _MOST_RISE * found[code][0]]
    areas = set(_areas(seen))
    peaks = [code for code in thin if code in areas and code not in rising]
    rise = sum(int(found[code][2]) for code in rising)
    if peaks and rising and rise >= _SOME_RISE * sum(int(found[code][0]) for code in thin):
        _refuse_resized(seen, _on_slopes(thin), where)


def _refuse_mingled(seen: _Seen, where: Path) -> None:
    """Refuse three grey levels or more that are nowhere three pixels wide and touch each other.

    Of walls that were reduced by averaging each pixel has one of a few shares of a wall.
    """
    counts = labelled(seen.counts)
    levels = [code for code, n in counts.items() if n >= STRAY_CODE * sum(counts.values())]
    if seen.reader.named or seen.reader.colour or not 3 < len(levels) <= _FEW_LEVELS or max(levels) <= INDEX_LIMIT:
        return
    thin = _thin(seen.slopes(levels))
    if len(thin) < 3:
        return
    found = [touching(seen.reader.codes(files), thin) for files in seen.masks]
    if sum(touches for _, touches in found) >= _MINGLED * sum(pixels for pixels, _ in found):
        _refuse_resized(seen, _on_slopes(thin), where)


def _thin(found: Mapping[int, NDArray[np.int64]]) -> list[int]:
    return sorted(code for code, (pixels, solid, *_) in found.items() if solid <= _HARDLY * pixels)


def _refuse_crowded(seen: _Seen, kept: Sequence[int], where: Path) -> None:
    """Refuse smooth grey masks with two levels far nearer to each other than others: one is what a wall came to."""
    gaps = np.diff(sorted(kept))
    if len(gaps) > 1 and gaps.min() <= _CROWDED * gaps.max():
        place = int(gaps.argmin())
        _refuse_resized(seen, _on_slopes(sorted(kept)[place : place + 2]), where)


def _on_slopes(levels: Sequence[int]) -> str:
    only = ", ".join(map(str, levels[:6]))
    return f"of which {only} only lie on slopes between others, as where a mask with thin walls was resized smoothly"


def _refuse_resized(seen: _Seen, why: str, where: Path) -> None:
    counts = labelled(seen.counts)
    listing = ", ".join(f"{seen.reader.value_of(code)} ({n} pixels)" for code, n in Counter(counts).most_common(6))
    raise DataError(
        where,
        f"the masks hold {len(counts)} values, {why}: {listing}{', …' if len(counts) > 6 else ''}",
        "resize masks without interpolation (nearest neighbour), or threshold them; or list the values of the "
        f"classes in {where / 'dataset.yaml'}",
    )


def _refuse_instances(seen: _Seen, where: Path) -> None:
    reader = seen.reader
    if reader.named or reader.colour:
        return
    if look_like_instances((reader.codes(files) for files in seen.masks), seen.images):
        most = max(len(labelled(image)) for image in seen.images)
        raise DataError(
            where,
            f"the masks look like numbered objects, not classes: up to {most} values in a mask, each one "
            "connected part, and other values in other masks",
            f"say 'instance_boundary: 2' in {where / 'dataset.yaml'} (or "
            f"--set data.masks.instance_boundary=2) to make {', '.join(CLASSES)} of them, or list the classes there",
        )


def _check_declared(reader: MaskReader, classes: Sequence[ClassEntry], where: Path) -> None:
    seen: dict[int, str] = {code: "ignore" for code in reader.ignore if not reader.instances}
    names = Counter(entry.name for entry in classes)
    if (name := names.most_common(1)[0])[1] > 1:
        raise DataError(where, f"two classes are named '{name[0]}'", "give each class a name of its own")
    for entry in classes:
        for value in entry.values:
            code = reader.code_of(value)
            if code is None:
                raise DataError(
                    where,
                    f"class '{entry.name}' is declared as {value!r}, but the masks are {reader.kind}",
                    f"give the values that the masks hold in {where / 'dataset.yaml'}",
                )
            if code in seen:
                raise DataError(
                    where, f"value {value!r} is declared for both '{seen[code]}' and '{entry.name}'", "give it to one"
                )
            seen[code] = entry.name


def _infer(seen: _Seen, counts: Mapping[int, int], where: Path) -> list[ClassEntry]:
    reader = seen.reader
    if reader.named:
        names = ["background"] if counts.get(0) else []
        return [ClassEntry(name=name, value=name) for name in [*names, *reader.names]]
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
            where,
            f"the masks hold colours that are not one channel a class: {listing}",
            f"name each colour in {where / 'dataset.yaml'}, as in classes: [{example}, …]",
        )
    return [
        ClassEntry(name=name, value=f"#{rgb:06x}", color=f"#{rgb:06x}")
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
            where,
            f"the masks hold {len(counts)} grey values, more than a few classes: {listing}, …",
            "number the classes 0, 1, 2, …, or threshold the masks (JPEG masks cannot be used), or list the values in "
            f"{where / 'dataset.yaml'}; if each value is an object, say 'instance_boundary: 2' there",
        )
    groups: list[list[int]] = []
    for level in levels:
        if groups and level - groups[-1][-1] <= _NEIGHBOURS and level > INDEX_LIMIT:
            groups[-1].append(level)
        else:
            groups.append([level])
    return [ClassEntry(name=f"grey {max(group, key=lambda level: counts[level])}", value=[*group]) for group in groups]
