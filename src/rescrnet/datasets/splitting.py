"""Which images of a dataset validate."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from rescrnet.datasets.grouping import are_apart, groups_of, last_groups, patch_of
from rescrnet.datasets.layouts import Pair, Split, find_pairs, inconsistencies
from rescrnet.errors import DataError, UsageError
from rescrnet.masks.declared import DatasetFile
from rescrnet.validation import split_names

DEFAULT_VALIDATION = "0.25"


def split_off(split: Split, val: str | None, description: DatasetFile | None = None) -> Split:
    """Take pairs for validation from those for training, where there are none yet.

    ``val`` is a fraction, names separated by commas, or another folder of ``images`` and ``masks``. Where left out, it
    is what ``dataset.yaml`` says, or a quarter. A fraction takes the last images by name, since neighbours in a series
    resemble each other, and groups of images whole: those of ``description`` or of the layout, or the animals and the
    patches of one image that the names tell.

    Raises :class:`UsageError` where ``val`` does not fit, :class:`DataError` where there is one image only.
    """
    description = description or DatasetFile()
    if split.val:
        if val is not None:
            raise UsageError(
                f"--val {val}", "the dataset has its own validation images in val_local", "leave --val out"
            )
        return split
    if val and Path(val).is_dir():
        other = find_pairs(Path(val), description.axes)
        together = Split(split.train, [*other.train, *other.val])
        if faults := inconsistencies(together, Path(val)):
            raise faults[0].error
        return together
    if val is None and description.validation:
        chosen = _listed(split.train, description.validation)
    else:
        chosen = _chosen(split.train, DEFAULT_VALIDATION if val is None else val, description)
    return Split([p for p in split.train if p.stem not in chosen], [p for p in split.train if p.stem in chosen])


def groups_in(pairs: Sequence[Pair], description: DatasetFile) -> dict[str, str]:
    """The group of every pair by its stem; raises :class:`DataError` where a group has a name that is no image's."""
    known = {pair.stem for pair in pairs}
    given = {_meant(stem, known): group for group, stems in description.groups.items() for stem in stems}
    if unknown := sorted(given.keys() - known):
        raise DataError(
            "dataset.yaml", f"'{unknown[0]}' in group '{given[unknown[0]]}' is no image", "correct 'groups'"
        )
    return groups_of([pair.stem for pair in pairs], given or {pair.stem: pair.group for pair in pairs if pair.group})


def _meant(name: str, known: Collection[str]) -> str:
    """The name of an image as it is known: ``cell.ome``, of ``cell.ome.tif``, is ``cell``, and ``5`` may be ``005``.

    Its letters may be composed in another way, as a Mac does; what could be two images is neither.
    """
    if name in known:
        return name
    name = name.removesuffix(".ome")
    alike = [stem for stem in known if unicodedata.normalize("NFC", stem) == unicodedata.normalize("NFC", name)]
    if name.isdecimal() and not alike:
        alike = [stem for stem in known if stem.isdecimal() and int(stem) == int(name)]
    return alike[0] if len(alike) == 1 else name


def _listed(pairs: Sequence[Pair], names: Sequence[str]) -> set[str]:
    stems = {pair.stem for pair in pairs}
    chosen = {_meant(name, stems) for name in names}
    if unknown := sorted(chosen - stems):
        raise DataError(
            "dataset.yaml", f"'{unknown[0]}' is no image", "correct 'validation', which names those that validate"
        )
    if stems == chosen:
        raise DataError("dataset.yaml", "'validation' names every image", "leave some for training")
    return chosen


def _chosen(pairs: Sequence[Pair], val: str, description: DatasetFile) -> set[str]:
    stems = [pair.stem for pair in pairs]
    names = {_meant(name, stems) for name in split_names(val)}
    unknown = sorted(names - set(stems))
    if not unknown:  # before fractions, since images may be named like numbers
        if len(names) == len(stems):
            raise UsageError(f"--val {val}", "names every image", "leave some for training")
        return names
    try:
        fraction = float(val)
    except ValueError:
        raise UsageError(
            f"--val {val}",
            f"no image is named '{unknown[0]}' and no such folder exists",
            "expected a fraction, names of images without suffix, or a folder",
        ) from None
    if not 0 < fraction < 1:
        raise UsageError(
            f"--val {val}",
            "is no share of the images",
            "expected a fraction between 0 and 1 (both excluded), names of images, or a folder",
        )
    if len(stems) < 2:
        raise DataError(pairs[0].image, "is the only image", "expected at least two, one to train and one to validate")
    groups = groups_in(pairs, description)
    if len(set(groups.values())) > 1:
        return last_groups(groups, fraction)
    last = last_groups({stem: stem for stem in stems}, fraction)
    if patch_of(stems[0]) and not are_apart(last, set(stems) - last):
        raise DataError(
            pairs[0].image,
            f"all images are patches of one image, '{groups[stems[0]]}', and a fraction of them would validate on what "
            "was trained on",
            "name the patches of one end with --val a,b,c, or add another image",
        )
    return last  # one stack: its last sections; one slide: the tiles of its end
