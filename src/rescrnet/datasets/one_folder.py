"""Images and masks that lie in one folder: which file is which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rescrnet.datasets.names import between, is_mask_name, name_of, plain
from rescrnet.errors import DataError
from rescrnet.images.whole import read_pixels

_FEW = 32  # values of a mask; a picture has more
_LOSSY = (".jpg", ".jpeg")
_LOOKED_AT = 2  # images of which the content is looked at


def divide(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The images and the masks among the files of one folder.

    Masks are those that say so by a word as ``mask``; or, where none does, those of two files of one stem, or beside
    the image ``a`` the file ``a-1``, or ``a_nucleus`` and ``a_membrane``, if their content is that of masks.
    """
    masks = {file for file in files if is_mask_name(file.stem)}
    plainly_images = {name_of(file.stem) for file in files if file not in masks}
    rarer = {file for file in files if file not in masks and name_of(file.stem, rarer=True) != name_of(file.stem)}
    masks |= {file for file in rarer if name_of(file.stem, rarer=True) in plainly_images}
    if not masks:
        masks = _of_equal_stems(files) or _of_longer_names(files)
    return [file for file in files if file not in masks], [file for file in files if file in masks]


def _of_equal_stems(files: Sequence[Path]) -> set[Path]:
    """The masks where every stem has two files, of one and of another suffix, as QuPath writes tiles and labels."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[plain(file.stem)].append(file)
    suffixes = {tuple(sorted(file.suffix.lower() for file in group)) for group in groups.values()}
    if len(suffixes) != 1 or len(both := suffixes.pop()) != 2:
        return set()
    looked_at = [sorted(group, key=lambda file: file.suffix.lower()) for group in list(groups.values())[:_LOOKED_AT]]
    few = [suffix for place, suffix in enumerate(both) if _are_masks(group[place] for group in looked_at)]
    if len(few) != 1 or few[0] in _LOSSY:
        return set()
    return {file for file in files if file.suffix.lower() == few[0]}


def _of_longer_names(files: Sequence[Path]) -> set[Path]:
    """The masks beside each image that are named after it and a class, or after it and one thing for all."""
    names = {name_of(file.stem): file for file in files}
    images: dict[str, list[Path]] = defaultdict(list)
    for name, file in names.items():
        parts = (name[:place] for place, letter in enumerate(name) if letter in " _.-")
        image = next((part for part in parts if part in names and between(part, name)), None)
        if image:
            images[image].append(file)
    found = {file for masks in images.values() for file in masks}
    if len(names) != len(files) or len(found) + len(images) != len(files):
        return set()
    after = {name_of(masks[0].stem)[len(image) :] for image, masks in images.items()}
    if any(len(masks) < 2 for masks in images.values()) and (len(found) > len(images) or len(after) > 1):
        return set()
    looked_at = list(images.items())[:_LOOKED_AT]
    sound = all(_are_masks(masks) and not _are_masks([names[image]]) for image, masks in looked_at)
    return found if sound else set()


def _are_masks(files: Iterable[Path]) -> bool:
    """Whether the files hold few values, as masks do."""
    try:
        return all(len(np.unique(read_pixels(file, indices=True).values)) <= _FEW for file in files)
    except DataError:
        return False
