"""Folder layouts: which images and masks belong together, and which of them validate."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rescrnet.datasets.folders import Folders, Listing, Part, find_folders, list_folder
from rescrnet.datasets.pairing import Problem, is_mask_name, pair_names, same_stem
from rescrnet.datasets.splits import groups_of, last_groups, patch_of
from rescrnet.datasets.tables import find_table, read_table
from rescrnet.errors import DataError, UsageError
from rescrnet.images.origins import Channels, Origin, Page, count_pages, files_of
from rescrnet.masks.declared import DatasetFile
from rescrnet.masks.reader import MaskFiles

DEFAULT_VALIDATION = "0.25"
_CHANNEL = re.compile(r"(?P<name>.+?)[ _.-]+(?:c|ch|channel)[ _-]?(?P<number>\d{1,4})", re.IGNORECASE)
_NNUNET_CHANNEL = re.compile(r"(?P<name>.+)_(?P<number>\d{4})")


@dataclass(frozen=True)
class Pair:
    """An image and its mask files.

    Attributes:
        stem: its name.
        image: where the image is read from.
        masks: where the masks are read from, by folder of a class.
        group: what it was taken from, where the layout tells: an animal, a stack; empty where not. Pairs of one group
            resemble each other.
    """

    stem: str
    image: Origin
    masks: MaskFiles
    group: str = ""


@dataclass(frozen=True)
class Split:
    """The pairs of a dataset."""

    train: list[Pair]
    val: list[Pair]


@dataclass(frozen=True)
class Contents:
    """What a dataset folder holds.

    Attributes:
        layout: what the layout is called.
        split: the pairs; validation images where the layout has some.
        problems: what is wrong with the rest.
        folders: the folders of images and masks that were looked through.
        foreign: files in them that are no images; the first thousand of a folder.
    """

    layout: str
    split: Split
    problems: list[Problem]
    folders: list[Path]
    foreign: list[Path]


def find_pairs(folder: Path) -> Split:
    """The pairs of a dataset folder.

    Understood without being told are the authors' layout, ``images`` and ``masks`` or ``labels``, nnU-Net's, BiaPy's,
    a folder of binary masks for each class below ``masks``, images and masks in one folder, and a CSV table of them.
    Where the layout has no validation images, all pairs are for training; :func:`split_off` takes some.

    Raises :class:`DataError` where a folder is missing or empty, or an image or a mask has no partner or two.
    """
    found = look_through(folder)
    if found.problems:
        raise DataError(str(found.problems[0]))
    return found.split


def look_through(folder: Path) -> Contents:
    """Like :func:`find_pairs`, but all that is wrong is returned beside the pairs that are right."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a folder of images and masks")
    try:
        return _from_table(folder, table) if (table := find_table(folder)) else _from_folders(find_folders(folder))
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be read ({error.strerror}); mend its permissions"
        ) from None


def _from_table(folder: Path, table: Path) -> Contents:
    rows, problems = read_table(table)
    pairs: dict[str, list[Pair]] = {"train": [], "val": []}
    for row in rows:
        expanded, more = _pages(Pair(row.image.stem, row.image, {"": row.mask}, row.group))
        pairs[row.split] += expanded
        problems += more
    if not rows and not problems:
        problems.append(Problem("no-images", (table,), str(table), "lists no images", "expected a row for each"))
    split = Split(pairs["train"], pairs["val"])
    return Contents("a table", split, problems + _inconsistencies(split, table), [folder], [])


def _from_folders(folders: Folders) -> Contents:
    pairs: list[list[Pair]] = []
    problems, searched = list(folders.problems), list[Path]()
    foreign: list[Path] = []
    for part in (folders.train, folders.val):
        found: list[Pair] = []
        if part:
            listings = {path: list_folder(path) for path in dict.fromkeys((part.images, part.masks))}
            found, more = _pairs_in(part, listings)
            problems += more
            searched += listings
            foreign += [file for listing in listings.values() for file in listing.foreign]
        pairs.append(found)
    split = Split(pairs[0], pairs[1])
    if folders.val:
        problems += _inconsistencies(split, folders.val.images)
    return Contents(folders.layout, split, problems, searched, foreign)


def _pairs_in(part: Part, listings: dict[Path, Listing]) -> tuple[list[Pair], list[Problem]]:
    images, listing = list(listings[part.images].images), listings[part.masks]
    singles, class_folders = list(listing.images), list(listing.folders)
    if part.images == part.masks:
        singles = [file for file in images if is_mask_name(file.stem)]
        images, class_folders = [file for file in images if not is_mask_name(file.stem)], []
    if not images:
        remedy = "expected PNG, TIFF, JPEG or BMP files"
        return [], [Problem("no-images", (part.images,), str(part.images), "holds no images", remedy)]
    layers = {"": singles}
    if class_folders:
        inside = {path.name: list(list_folder(path).images) for path in class_folders}
        if not singles:
            layers = inside
        elif mixed := [name for name, files in inside.items() if files]:
            reason = f"holds both masks and folders of masks ({', '.join(mixed)})"
            return [], [Problem("mixed-masks", (part.masks,), str(part.masks), reason, "keep one kind")]
    return _join(part, images, layers)


def _join(part: Part, images: list[Path], layers: dict[str, list[Path]]) -> tuple[list[Pair], list[Problem]]:
    """Pair images with the masks in every layer."""
    problems: list[Problem] = []
    masks: dict[Path, dict[str, Path]] = defaultdict(dict)
    channels, uneven = _channels(images, layers, nnunet=part.images.name.lower() == "imagestr")
    problems += uneven
    named = {path.with_name(name + path.suffix): path for name, (path, *_) in channels.items()} or dict(
        zip(images, images, strict=True)
    )
    for layer, files in layers.items():
        paired, more = pair_names(list(named), files, part.masks / layer)
        problems += [_real(problem, named) for problem in more if problem not in problems]
        for image, mask in paired.items():
            masks[image][layer] = mask
    pairs = []
    for image, found in sorted(masks.items()):
        if len(found) == len(layers):
            joined = channels.get(image.stem, [image])
            origin: Origin = joined[0] if len(joined) == 1 else Channels(tuple(joined))
            expanded, more = _pages(Pair(image.stem, origin, {layer: found[layer] for layer in layers}))
            pairs += expanded
            problems += more
    return pairs, problems


def _real(problem: Problem, named: dict[Path, Path]) -> Problem:
    """The problem with the files that are there in place of the names they were paired by."""
    files = tuple(named.get(file, file) for file in problem.files)
    subject = problem.subject
    for name, file in zip(problem.files, files, strict=True):
        subject = subject.replace(str(name), str(file))
    return replace(problem, files=files, subject=subject)


def _channels(
    images: Sequence[Path], layers: dict[str, list[Path]], *, nnunet: bool
) -> tuple[dict[str, list[Path]], list[Problem]]:
    """The files of each image by name, where every channel is a file of its own; else nothing.

    Names such as ``cell_c1`` mean channels only where no mask has such a name.
    """
    pattern = _NNUNET_CHANNEL if nnunet else _CHANNEL
    matches = {image: match for image in images if (match := pattern.fullmatch(image.stem))}
    if len(matches) < len(images):
        return {}, []
    if not nnunet and any(pattern.fullmatch(mask.stem) for files in layers.values() for mask in files):
        return {}, []
    numbered: dict[str, dict[int, Path]] = defaultdict(dict)
    for image, match in matches.items():
        numbered[match["name"]][int(match["number"])] = image
    files = {name: [numbers[n] for n in sorted(numbers)] for name, numbers in numbered.items()}
    usual = max(numbered.values(), key=len)
    problems = same_stem(images)
    for name, numbers in numbered.items():
        if missing := usual.keys() - numbers.keys():
            reason = f"channel {min(missing)} of '{name}' is missing, others have {len(usual)} channels"
            problems.append(
                Problem("missing-channel", tuple(files[name]), str(files[name][0]), reason, "add the file of it")
            )
            files.pop(name)
    return files, problems


def _pages(pair: Pair) -> tuple[list[Pair], list[Problem]]:
    """A pair for each page of an image stack; the pair itself where the image is no stack."""
    if isinstance(pair.image, Channels):
        return [pair], []
    image = files_of(pair.image)[0]
    pages = count_pages(image)
    if pages == 1:
        return [pair], []
    for origin in pair.masks.values():
        (mask,) = files_of(origin)
        if (found := count_pages(mask)) != pages:
            reason = f"has {found} page{'s' * (found > 1)} but its image {image} has {pages}"
            return [], [Problem("pages-differ", (mask, image), str(mask), reason, "expected a mask for each page")]
    digits = len(str(pages))
    return [
        Pair(
            f"{pair.stem}-{index + 1:0{digits}}",
            Page(image, index),
            {layer: Page(files_of(origin)[0], index) for layer, origin in pair.masks.items()},
            pair.group or pair.stem,
        )
        for index in range(pages)
    ], []


def _inconsistencies(split: Split, where: Path) -> list[Problem]:
    """What is wrong with training and validation images side by side."""
    problems = []
    names: dict[str, Pair] = {}
    for pair in (*split.train, *split.val):
        first = names.setdefault(pair.stem, pair)
        if first is not pair:
            reason = f"'{pair.stem}' is the name of a training image too"
            files = (*files_of(first.image), *files_of(pair.image))
            problems.append(Problem("same-name", files, str(where), reason, "rename or remove it"))
    if split.train and split.val and (unlike := split.train[0].masks.keys() ^ split.val[0].masks.keys()):
        reason = (
            "the masks differ in kind from those for training; expected in both single masks, or in both the same "
            f"folders for classes (only one has '{min(unlike) or 'single masks'}')"
        )
        problems.append(Problem("mixed-masks", (where,), str(where), reason, "add what is missing"))
    return problems


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
            raise UsageError(f"--val {val}: the dataset has its own validation images in val_local; leave --val out")
        return split
    if val and Path(val).is_dir():
        other = find_pairs(Path(val))
        together = Split(split.train, [*other.train, *other.val])
        if problems := _inconsistencies(together, Path(val)):
            raise DataError(str(problems[0]))
        return together
    if val is None and description.validation:
        chosen = _listed(split.train, description.validation)
    else:
        chosen = _chosen(split.train, DEFAULT_VALIDATION if val is None else val, description)
    return Split([p for p in split.train if p.stem not in chosen], [p for p in split.train if p.stem in chosen])


def groups_in(pairs: Sequence[Pair], description: DatasetFile) -> dict[str, str]:
    """The group of every pair by its stem; raises :class:`DataError` where a group has a name that is no image's."""
    given = {stem: group for group, stems in description.groups.items() for stem in stems}
    if unknown := sorted(given.keys() - {pair.stem for pair in pairs}):
        raise DataError(f"dataset.yaml: '{unknown[0]}' in group '{given[unknown[0]]}' is no image; mend 'groups'")
    return groups_of([pair.stem for pair in pairs], given or {pair.stem: pair.group for pair in pairs if pair.group})


def _listed(pairs: Sequence[Pair], names: Sequence[str]) -> set[str]:
    stems = {pair.stem for pair in pairs}
    if unknown := sorted(set(names) - stems):
        raise DataError(f"dataset.yaml: '{unknown[0]}' is no image; mend 'validation', which names those that validate")
    if stems == set(names):
        raise DataError("dataset.yaml: 'validation' names every image; leave some for training")
    return set(names)


def _chosen(pairs: Sequence[Pair], val: str, description: DatasetFile) -> set[str]:
    stems = [pair.stem for pair in pairs]
    names = {name.strip() for name in val.split(",")}
    unknown = sorted(names - set(stems))
    if not unknown:  # before fractions, since images may be named like numbers
        if len(names) == len(stems):
            raise UsageError(f"--val {val}: names every image; leave some for training")
        return names
    try:
        fraction = float(val)
    except ValueError:
        raise UsageError(
            f"--val {val}: no image is named '{unknown[0]}' and no such folder exists; "
            "expected a fraction, names of images without suffix, or a folder"
        ) from None
    if not 0 < fraction < 1:
        raise UsageError(
            f"--val {val}: expected a fraction between 0 and 1 (both excluded), names of images, or a folder"
        )
    if len(stems) < 2:
        raise DataError(f"{pairs[0].image}: is the only image; expected at least two, one to train and one to validate")
    groups = groups_in(pairs, description)
    if len(set(groups.values())) > 1:
        return last_groups(groups, fraction)
    if patch_of(stems[0]):
        raise DataError(
            f"{pairs[0].image}: all images are patches of one image, '{groups[stems[0]]}', and a fraction of them "
            "would validate on what was trained on; name the patches of one end with --val a,b,c, or add another image"
        )
    return last_groups({stem: stem for stem in stems}, fraction)  # one stack: its last sections
