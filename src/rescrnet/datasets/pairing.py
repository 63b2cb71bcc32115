"""Which mask belongs to which image, by their names; never a guess between two candidates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rescrnet.annotations.read import SUFFIXES as ANNOTATIONS
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.names import between, by_product, name_of, plain
from rescrnet.images.foreign import foreign_form

_rarer_name_of = partial(name_of, rarer=True)
_KEYS: tuple[Callable[[str], str], ...] = (str, plain, name_of, _rarer_name_of)
_TRIED = 20  # images from which is learnt what all masks have before or after the names of their images


@dataclass(frozen=True)
class Paired:
    """What belongs together.

    Attributes:
        pairs: the mask of each image.
        faults: one for each image or mask without a partner, or with two.
        passed_over: what programs make beside masks, such as overlays.
    """

    pairs: dict[Path, Path]
    faults: list[Fault]
    passed_over: list[Path]


def pair_names(images: Sequence[Path], masks: Sequence[Path], folder: Path, beside: Sequence[Path] = ()) -> Paired:
    """Pair files whose stems are alike: the same, or but for case, or but for words such as ``mask``.

    What is then left is paired if all masks have the same before or after the names of their images: ``a_x``, ``b_x``.

    Args:
        images: the files of the images.
        masks: the files of the masks.
        folder: where a mask would be expected.
        beside: other files there, which cannot be masks; named where an image has no mask.
    """
    pairs: dict[Path, Path] = {}
    images_left, masks_left = list(images), list(masks)
    for key in _KEYS:
        pairs |= _alike(images_left, masks_left, key)
        images_left, masks_left = _left(images, masks, pairs)
    known = {name_of(image.stem) for image in images}
    passed_over = {file for file in (*images_left, *masks_left) if _is_beside(file, known)}
    images_left, masks_left = ([f for f in files if f not in passed_over] for files in (images_left, masks_left))
    pairs |= _by_affix(images_left, masks_left)
    faults, named = _ambiguities(images, [mask for mask in masks if mask not in passed_over], pairs)
    said = {name_of(file.stem) for file in named}
    images_left, masks_left = (
        [file for file in files if name_of(file.stem) not in said and file not in passed_over]
        for files in _left(images, masks, pairs)
    )
    faults += _without_mask(images_left, folder, [*beside, *passed_over])
    if images:
        faults += _without_partner(masks_left, "mask-without-image", "has no image", images[0].parent)
    kept = {image: mask for image, mask in pairs.items() if image not in named and mask not in named}
    return Paired(kept, faults, sorted(passed_over))


def classes_in_names(images: Sequence[Path], masks: Sequence[Path]) -> dict[str, list[Path]]:
    """The masks of each class where their names tell it: ``a_nucleus`` and ``a_membrane`` of the image ``a``.

    Nothing where not every mask says one of several classes, or most of the images lack one of them.
    """
    known = {name_of(image.stem) for image in images}
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for mask in masks:
        name = name_of(mask.stem)
        image = max((one for one in _parts(name) if one in known), key=len, default="")
        if not image or name == image:
            return {}
        word = "".join(between(image, name) or ()).strip(" _.-")
        if not word.replace(" ", "").isalpha() or image in found[word] or not name_of(word, rarer=True):
            return {}
        found[word][image] = mask
    if len(found) < 2 or any(2 * len(files) < len(known) for files in found.values()):
        return {}
    return {word: list(files.values()) for word, files in sorted(found.items())}


def _parts(name: str) -> Iterable[str]:
    """What a name begins or ends with, up to a separator."""
    places = [place for place, letter in enumerate(name) if letter in " _.-"]
    return [part for place in places for part in (name[:place], name[place + 1 :])] + [name]


def _alike(images: Iterable[Path], masks: Iterable[Path], key: Callable[[str], str]) -> dict[Path, Path]:
    left, right = _grouped(images, key), _grouped(masks, key)
    both = (name for name in left.keys() & right.keys() if len(left[name]) == len(right[name]) == 1)
    return {left[name][0]: right[name][0] for name in both}


def _left(images: Sequence[Path], masks: Sequence[Path], pairs: Mapping[Path, Path]) -> tuple[list[Path], list[Path]]:
    taken = set(pairs.values())
    return [file for file in images if file not in pairs], [file for file in masks if file not in taken]


def _is_beside(file: Path, known: set[str]) -> bool:
    made = by_product(file.stem)
    return made is not None and made[0] in known


def _by_affix(images: Sequence[Path], masks: Sequence[Path]) -> dict[Path, Path]:
    """Pair by what all masks, or all images, have before or after the name of the other, if it is one thing alone."""
    sides = [_grouped(files, _rarer_name_of) for files in (images, masks)]
    ours, theirs = ({name: files[0] for name, files in side.items() if len(files) == 1} for side in sides)
    tried: set[tuple[bool, str, str]] = set()
    for name in list(ours)[:_TRIED]:
        for other in theirs:
            if around := between(name, other):
                tried.add((True, *around))
            elif around := between(other, name):
                tried.add((False, *around))
    found: list[dict[Path, Path]] = []
    for of_mask, before, after in tried:
        shorter, longer = (ours, theirs) if of_mask else (theirs, ours)
        names = [(name, f"{before}{name}{after}") for name in shorter]
        both = [(shorter[name], longer[affixed]) for name, affixed in names if affixed in longer]
        alone = len(images) == len(masks) == 1 and any(letter.isalpha() for letter in before + after)
        if len(both) > 1 or alone:
            found.append(dict(both if of_mask else [(image, mask) for mask, image in both]))
    found.sort(key=len, reverse=True)
    return found[0] if found and (len(found) == 1 or len(found[0]) > len(found[1])) else {}


def _grouped(files: Iterable[Path], key: Callable[[str], str]) -> Mapping[str, list[Path]]:
    groups = defaultdict(list)
    for file in files:
        groups[key(file.stem)].append(file)
    return groups


def _ambiguities(
    images: Sequence[Path], masks: Sequence[Path], pairs: Mapping[Path, Path]
) -> tuple[list[Fault], set[Path]]:
    """Files of one name that do not pair off by their exact stems, and masks that fit one image beside others."""
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
    named = {file for fault in faults for file in fault.files}
    images_left, masks_left = _left(images, masks, pairs)
    by_name = {_rarer_name_of(image.stem): image for image in images_left if image not in named}
    candidates: dict[Path, list[Path]] = defaultdict(list)
    for mask in masks_left:
        fitting = [by_name[part] for part in _parts(_rarer_name_of(mask.stem)) if part in by_name]
        if mask not in named and fitting:
            candidates[max(fitting, key=lambda image: len(image.stem))].append(mask)
    for image, several in candidates.items():
        if len(several) > 1:
            faults.append(_ambiguous(several))
            named |= {image, *several}
    return faults, named


def same_stem(files: Iterable[Path], known: Iterable[Fault] = ()) -> list[Fault]:
    """A fault for every two files of one stem that are not in a known one."""
    listed = {file for fault in known for file in fault.files}
    groups = [group for group in _grouped(files, str).values() if len(group) > 1]
    return [_ambiguous(group) for group in groups if not listed.issuperset(group)]


def _ambiguous(files: Sequence[Path]) -> Fault:
    first, second = sorted(files)[:2]
    reason = "two files of one stem" if first.stem == second.stem else "either could be meant by one name"
    return Fault("ambiguous-pair", tuple(sorted(files)), reason, "remove or rename one", named=2)


def _without_mask(images: Sequence[Path], folder: Path, beside: Sequence[Path]) -> list[Fault]:
    """Images without a mask, apart those for which something else lies there that cannot be one."""
    there: dict[str, Path] = {}
    for file in beside:
        made = by_product(file.stem)
        there.setdefault(made[0] if made else name_of(file.stem), file)
    found = {image: there[name] for image in images if (name := name_of(image.stem)) in there}
    faults = _without_partner([i for i in images if i not in found], "image-without-mask", "has no mask", folder)
    kinds = Counter(_why_no_mask(file) for file in found.values())
    for why in kinds:
        concerned = tuple(sorted(image for image, file in found.items() if _why_no_mask(file) == why))
        reason = "has no mask"
        faults.append(Fault("image-without-mask", concerned, reason, f"{found[concerned[0]]} is there, but {why}"))
    return faults


def _why_no_mask(file: Path) -> str:
    """Why a file that lies where a mask is expected cannot be one, and how to get one."""
    made = by_product(file.stem)
    if made and "probabilities" in made[1]:
        return "probabilities are no classes; export the segmentation instead (ilastik: Simple Segmentation)"
    if made:
        return f"'{made[1]}' is no mask; put the mask beside it"
    suffix = file.suffix.lower()
    if form := foreign_form(file):
        if form.is_read:
            return f"it holds {form.name}, and other masks are pixels; keep one kind of masks in a dataset"
        return f"it holds {form.name}, {'not pixels' if form.annotations else 'which is not read'}; {form.remedy}"
    if suffix in ANNOTATIONS:
        return "it holds no annotations that are known (of LabelMe, COCO, QuPath or ImageJ)"
    return f"'{suffix or file.name}' is not read; save it as PNG or TIFF"


def _without_partner(files: Sequence[Path], check: str, reason: str, folder: Path) -> list[Fault]:
    if not files:
        return []
    return [Fault(check, tuple(sorted(files)), reason, f"expected {folder / min(files).stem}.*")]
