"""Which mask belongs to which image, by their names; never a guess between two candidates."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rescrnet.datasets.faults import Fault

_AFFIXES = (
    "masks|mask|msk|labels|label|labelled|labeled|lbl|segmentations|segmentation|seg|annotations|annotation|"
    "groundtruth|gt|cp|images|image|img|raw|ome"
)
_AFFIX = re.compile(rf"(?:^(?:{_AFFIXES})[ _.-]+|[ _.-]+(?:{_AFFIXES})$)")
_MASK = re.compile(r"(?:^|[ _.-])(?:masks?|msk|label(?:s|led|ed)?|lbl|seg(?:mentations?)?|annotations?|gt)(?:$|[ _.-])")


def name_of(stem: str) -> str:
    """What is left of a file's stem without case and without words such as ``mask``, ``label``, ``img`` or ``ome``."""
    name, before = unicodedata.normalize("NFC", stem).casefold(), None
    while name != before:
        before, name = name, _AFFIX.sub("", name, count=1)
    return name


def is_mask_name(stem: str) -> bool:
    """Whether a stem says of itself that it is a mask, as ``cell-labels`` does."""
    return _MASK.search(stem.casefold()) is not None


_KEYS: tuple[Callable[[str], str], ...] = (str, str.casefold, name_of)


def pair_names(
    images: Sequence[Path], masks: Sequence[Path], masks_folder: Path
) -> tuple[dict[Path, Path], list[Fault]]:
    """Pair files whose stems are alike: the same, or but for case, or but for words such as ``mask``.

    Returns:
        The mask of each image, and a fault for each image or mask without a partner or with two.
    """
    pairs: dict[Path, Path] = {}
    images_left, masks_left = list(images), list(masks)
    for key in _KEYS:
        left, right = _grouped(images_left, key), _grouped(masks_left, key)
        for name in left.keys() & right.keys():
            if len(left[name]) == len(right[name]) == 1:
                pairs[left[name][0]] = right[name][0]
        taken = set(pairs.values())
        images_left = [file for file in images_left if file not in pairs]
        masks_left = [file for file in masks_left if file not in taken]
    faults, named = _ambiguities(images, masks)
    images_left, masks_left = ([f for f in files if f not in named] for files in (images_left, masks_left))
    faults += _without_partner(images_left, "image-without-mask", "has no mask", masks_folder)
    if images:
        faults += _without_partner(masks_left, "mask-without-image", "has no image", images[0].parent)
    kept = {image: mask for image, mask in pairs.items() if image not in named and mask not in named}
    return kept, faults


def _grouped(files: Iterable[Path], key: Callable[[str], str]) -> Mapping[str, list[Path]]:
    groups = defaultdict(list)
    for file in files:
        groups[key(file.stem)].append(file)
    return groups


def _ambiguities(images: Sequence[Path], masks: Sequence[Path]) -> tuple[list[Fault], set[Path]]:
    """Files of one name that do not pair off by their exact stems."""
    by_image, by_mask = _grouped(images, name_of), _grouped(masks, name_of)
    faults: list[Fault] = []
    for name, group in by_image.items():
        others = by_mask.get(name, [])
        for key in _KEYS[:2]:  # the same stems on both sides are no guess
            stems = [[key(file.stem) for file in files] for files in (group, others)]
            if sorted(stems[0]) == sorted(stems[1]) and len(set(stems[0])) == len(group):
                break
        else:
            faults += [_ambiguous(files) for files in (group, others) if len(files) > 1 and others]
    faults += same_stem(images, faults) + same_stem(masks, faults)
    return faults, {file for fault in faults for file in fault.files}


def same_stem(files: Iterable[Path], known: Iterable[Fault] = ()) -> list[Fault]:
    """A fault for every two files of one stem that are not in a known one."""
    listed = {file for fault in known for file in fault.files}
    groups = [group for group in _grouped(files, str).values() if len(group) > 1]
    return [_ambiguous(group) for group in groups if not listed.issuperset(group)]


def _ambiguous(files: Sequence[Path]) -> Fault:
    first, second = sorted(files)[:2]
    reason = "two files of one stem" if first.stem == second.stem else "either could be meant by one name"
    return Fault("ambiguous-pair", tuple(sorted(files)), reason, "remove or rename one", named=2)


def _without_partner(files: Sequence[Path], check: str, reason: str, folder: Path) -> list[Fault]:
    if not files:
        return []
    return [Fault(check, tuple(sorted(files)), reason, f"expected {folder / min(files).stem}.*")]
