"""Which images validate: what comes from one animal or one image stays on one side, neighbours in one block."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

_ANIMALS = "sub|subject|animal|mouse|rat|rabbit|pig|patient|donor|specimen"
_ANIMAL = re.compile(rf"(?:^|[ _.-])(?P<group>(?:{_ANIMALS})[ _-]?[a-z]*[ _-]?\d+)", re.IGNORECASE)
_PATCH = re.compile(
    r"(?P<group>.+?)[ _.-]+(?:"
    r"(?:tile|patch|crop|window)[ _-]?\d+(?:[ _x-]+\d+)*"
    r"|(?:x|col|c)[ _=-]?\d+[ _.,-]*(?:y|row|r)[ _=-]?\d+"
    r"|(?:y|row|r)[ _=-]?\d+[ _.,-]*(?:x|col|c)[ _=-]?\d+"
    r")",
    re.IGNORECASE,
)

_TILE = re.compile(r"(?P<group>.+?)[ _.-]*[\[(](?P<place>[^\])]*\bx=\d[^\])]*)[\])].*", re.IGNORECASE)  # QuPath


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts names as people count: ``z2`` before ``z10``."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part)


def patch_of(stem: str) -> str | None:
    """The image that a patch was cut from, as its name tells: ``img_01`` for ``img_01_x0_y512``; none for others."""
    found = _PATCH.fullmatch(stem) or (_TILE.fullmatch(stem) if _box(stem) else None)
    return found["group"] if found else None


def _box(stem: str) -> tuple[int, int, int, int] | None:
    """Where in its slide a tile lies, as QuPath writes it, ``[d=2,x=512,y=0,w=512,h=512]``: x, y, width, height."""
    found = _TILE.fullmatch(stem)
    values = dict(re.findall(r"\b([xywh])=(\d+)", found["place"].lower())) if found else {}
    return (int(values["x"]), int(values["y"]), int(values["w"]), int(values["h"])) if len(values) == 4 else None


def are_apart(some: Iterable[str], others: Iterable[str]) -> bool:
    """Whether names say where all tiles lie, and none of ``some`` overlaps one of ``others``."""
    boxes, rest = [_box(stem) for stem in some], [_box(stem) for stem in others]
    return all(a and b and not _overlap(a, b) for a in boxes for b in rest)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return all(a[axis] < b[axis] + b[axis + 2] and b[axis] < a[axis] + a[axis + 2] for axis in (0, 1))


def groups_of(stems: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """What each image was taken from: as given, or as the names tell, or nothing but itself.

    Args:
        stems: the names of the images.
        given: the group of some of them.
    """
    if given:
        return {stem: given.get(stem, stem) for stem in stems}
    animals = [_ANIMAL.search(stem) for stem in stems]
    named = [found["group"].lower() for found in animals if found]
    if len(named) == len(stems) and len(set(named)) > 1:
        return dict(zip(stems, named, strict=True))
    patches = Counter(group for stem in stems if (group := patch_of(stem)))
    return {stem: group if (group := patch_of(stem)) and patches[group] > 1 else stem for stem in stems}


def last_groups(groups: Mapping[str, str], fraction: float) -> set[str]:
    """The images of the last groups, about ``fraction`` of all, at least one group and not all of them.

    Args:
        groups: the group of every image, at least two of them.
        fraction: between 0 and 1.
    """
    units: dict[str, list[str]] = {}
    for stem in sorted(groups, key=natural):
        units.setdefault(groups[stem], []).append(stem)
    wanted = max(1, round(fraction * len(groups)))
    chosen: set[str] = set()
    for unit in list(reversed(units.values()))[:-1]:
        if chosen and abs(len(chosen) + len(unit) - wanted) >= abs(len(chosen) - wanted):
            break
        chosen.update(unit)
    return chosen


def on_both_sides(groups: Mapping[str, str], val: Collection[str]) -> list[str]:
    """The groups that both train and validate."""
    return sorted({groups[stem] for stem in groups if stem in val} & {groups[s] for s in groups if s not in val})
