"""Where in a dataset folder the images and the masks are, by the names of the folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rescrnet.annotations.read import SUFFIXES as ANNOTATIONS
from rescrnet.annotations.read import form_of
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.names import is_mask_name
from rescrnet.datasets.tables import find_table
from rescrnet.images.folder_names import IMAGES, MASKS, folder_key
from rescrnet.images.open import SUFFIXES, is_named_image
from rescrnet.images.zarr_reader import is_zarr

TRAINING = ("trainlocal", "train", "training")
VALIDATION = ("vallocal", "val", "validation", "valid")
_TEST = ("test", "testing", "tests", "imagests", "labelsts")
_INNER = ("img", "msk")  # the one folder inside, in the authors' layout

_REMEDY = "expected 'images' and 'masks', or 'train_local' and 'val_local' with both"


@dataclass(frozen=True)
class Listing:
    """What lies directly in a folder.

    Attributes:
        images: files with the suffix of an image, and Zarrs, sorted by name.
        folders: folders, sorted by name.
        foreign: other files, hidden ones too, and links that lead nowhere; the first thousand.
        annotations: files that by their suffix may hold outlines, sorted by name; they are foreign, too.
    """

    images: Sequence[Path]
    folders: Sequence[Path]
    foreign: Sequence[Path]
    annotations: Sequence[Path]


def list_folder(folder: Path) -> Listing:
    """List a folder in one pass. Hidden files and folders do not count as images or folders."""
    images: list[str] = []
    folders: list[str] = []
    foreign: list[str] = []
    annotations: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            hidden = entry.name.startswith(".") or entry.name == "__MACOSX"
            if not hidden and _is_image(entry):
                images.append(entry.name)
            elif _is_folder(entry):
                folders += [] if hidden else [entry.name]
            else:
                if not hidden and entry.name.lower().endswith(ANNOTATIONS):
                    annotations.append(entry.name)
                if len(foreign) < 1000:
                    foreign.append(entry.name)
    return Listing(*([folder / name for name in sorted(names)] for names in (images, folders, foreign, annotations)))


def _is_image(entry: os.DirEntry[str]) -> bool:
    """A file with the suffix of an image, or a Zarr; an array of Python objects is none, as Cellpose keeps them."""
    path = Path(entry.path)
    try:
        if not entry.name.lower().endswith(SUFFIXES):
            return entry.is_dir() and is_zarr(path)
        return entry.is_file() and is_named_image(path)
    except OSError:  # a link that leads to itself
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


@dataclass(frozen=True)
class ImageAndMaskFolders:
    """The folders of a part of a dataset: of its images and of its masks, which may be one."""

    images: Path
    masks: Path


@dataclass(frozen=True)
class Folders:
    """The parts of a dataset folder, as its layout tells.

    Attributes:
        layout: what the layout is called.
        train: the part for training.
        val: the part for validation, where the layout has one.
        faults: why a part is missing.
    """

    layout: str
    train: ImageAndMaskFolders | None
    val: ImageAndMaskFolders | None = None
    faults: tuple[Fault, ...] = ()


def unnested(folder: Path) -> Path:
    """The folder that an archive was unpacked into: ``cells/cells``, where there is nothing else in it to train on."""
    for _ in range(3):
        listing = list_folder(folder)
        inside = [path for path in listing.folders if not _is_test(path)]
        ours = (*IMAGES[0], *IMAGES[1], *MASKS[0], *MASKS[1], *TRAINING)
        if listing.images or find_table(folder) or len(inside) != 1 or folder_key(inside[0]) in ours:
            break
        if parts_of(folder):  # BiaPy's data/train
            break
        if not _holds_something(inside[0]):
            break
        folder = inside[0]
    return folder


def parts_of(folder: Path) -> tuple[Path, Path | None] | None:
    """The folders for training and for validation, in the folder or in ``data`` inside it; none where it has none."""
    for inside in (folder, *_children(folder, ("data",))[:1]):
        if train := _children(inside, TRAINING):
            return train[0], next(iter(_children(inside, VALIDATION)), None)
    return None


def find_folders(folder: Path) -> Folders:
    """Find the images and the masks of a dataset folder, whatever the case of the names of its folders."""
    split = parts_of(folder)
    if split and (_candidates(split[0], IMAGES) or folder_key(split[0]) == "trainlocal" or _is_mixed(split[0])):
        return _split_folders(*split)
    part = part_of(folder)
    if isinstance(part, Fault):
        return _by_first_words(folder) or Folders("unknown", None, None, (part,))
    return Folders(_name(part), part)


def _split_folders(train: Path, val: Path | None) -> Folders:
    layout = "the authors'" if folder_key(train) == "trainlocal" else _name(part_of(train), split=True)
    parts = [part_of(train), part_of(val) if val else None]
    faults = [part for part in parts if isinstance(part, Fault)]
    if folder_key(train) == "trainlocal" and not val:
        missing = train.parent / "val_local"
        remedy = "expected the validation images beside train_local"
        faults.append(Fault("missing-folder", (missing,), "no such folder", remedy))
    found = [part if isinstance(part, ImageAndMaskFolders) else None for part in parts]
    return Folders(layout, found[0], found[1], tuple(faults))


def _name(part: ImageAndMaskFolders | Fault, *, split: bool = False) -> str:
    if isinstance(part, Fault):
        return "unknown"
    name = part.images.name.lower()
    if name == "imagestr":
        return "nnU-Net"
    if part.images == part.masks:
        return "images and masks in one folder"
    if part.images == part.masks.parent:
        return f"images beside their {part.masks.name}"
    if split and name in ("x", "raw"):
        return "BiaPy"
    return f"{part.images.name} and {part.masks.name}" + (" in folders for training and validation" if split else "")


def part_of(folder: Path) -> ImageAndMaskFolders | Fault:
    """The folders of images and of masks in a folder, or why there are none."""
    sides = [_candidates(folder, names) for names in (IMAGES, MASKS)]
    if not any(sides):
        listing = list_folder(folder)
        if listing.images and not listing.folders:
            return ImageAndMaskFolders(folder, folder)
    if not sides[0] and list_folder(folder).images:
        sides[0] = [folder]  # the images lie beside the folder of their masks
    if sides[0] and not sides[1]:  # what was outlined lies beside the images, or beside their folder
        sides[1] = [place for place in (_inner(sides[0][0]), folder) if holds_annotations(place)][:1]
    for side, names in zip(sides, (IMAGES, MASKS), strict=True):
        if len(side) > 1:
            remedy = "keep one of them, or put the others elsewhere"
            reason = f"either could hold the {names[0][0]}"
            return Fault("ambiguous-folder", tuple(side), reason, remedy, named=len(side))
        if not side:
            return Fault("missing-folder", (folder / names[0][0],), "no such folder", _REMEDY + _found_in(folder))
    images, masks = (_inner(side[0]) if side[0] != folder else folder for side in sides)
    return ImageAndMaskFolders(images, masks)


def _found_in(folder: Path) -> str:
    """What lies in a folder that is not understood, and what else would be."""
    listing = list_folder(folder)
    names = [path.name for path in listing.folders] or [path.name for path in (*listing.images, *listing.foreign)]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    found = f"; found: {', '.join(names[:6])}{more}" if names else "; it is empty"
    return f"{found}; rename them, or list the files in a CSV table with the columns image and mask"


def _by_first_words(folder: Path) -> Folders | None:
    """``train_images``, or ``train``, and ``train_masks``, the same for ``val``; ``cell_images`` and ``cell_masks``."""
    sides: list[dict[str, Path]] = []
    folders = [path for path in _folders(folder) if not _is_test(path)]
    for names in (IMAGES, MASKS):
        words = rf"[ _.-]+({'|'.join(names[0])})|({'|'.join(names[0])})[ _.-]+"
        found = [(re.sub(f"^(?:{words})|(?:{words})$", "", path.name.lower()), path) for path in folders]
        sides.append({rest: path for rest, path in found if rest != path.name.lower()})
    sides[0] = {path.name.lower(): path for path in folders if list_folder(path).images} | sides[0]
    parts = {rest: ImageAndMaskFolders(sides[0][rest], sides[1][rest]) for rest in sides[0].keys() & sides[1].keys()}
    train = [rest for rest in parts if rest in TRAINING] or list(parts)
    val = [rest for rest in parts if rest in VALIDATION and rest not in train]
    if len(train) != 1 or len(val) > 1 or len(parts) > len(train) + len(val):
        return None
    part = parts[train[0]]
    return Folders(_name(part), part, parts[val[0]] if val else None)


def _is_mixed(folder: Path) -> bool:
    """Whether images and masks lie in one folder."""
    listing = list_folder(folder)
    if listing.folders or not listing.images:
        return False
    return any(is_mask_name(file.stem) for file in listing.images) or holds_annotations(folder)


def holds_annotations(folder: Path) -> bool:
    """Whether outlines lie directly in a folder."""
    return any(form_of(file) for file in list_folder(folder).annotations)


def _inner(folder: Path) -> Path:
    """The authors' ``images/img``: the one folder inside where there are no files."""
    listing = list_folder(folder)
    inside = [path for path in listing.folders if path.name.lower() in _INNER]
    return inside[0] if inside and not listing.images else folder


def _candidates(folder: Path, names: Sequence[Sequence[str]]) -> list[Path]:
    """The folders of the first line of names that any with something in it has; else any of such a name."""
    found = [_children(folder, line) for line in names]
    filled = [[path for path in line if _holds_something(path)] for line in found]
    outlined = [[path for path in line if holds_annotations(path)] for line in found] if names is MASKS else []
    return next((line for line in (*filled, *outlined, *found) if line), [])


def _holds_something(folder: Path) -> bool:
    listing = list_folder(folder)
    return bool(listing.images or listing.folders)


def _folders(folder: Path) -> Sequence[Path]:
    return list_folder(folder).folders


def _children(folder: Path, names: Sequence[str]) -> list[Path]:
    return [path for path in _folders(folder) if folder_key(path) in names]


def _is_test(path: Path) -> bool:
    """Whether a folder holds images to test on, which do not train."""
    return any(word in _TEST for word in re.split(r"[ _.-]", path.name.lower()))
