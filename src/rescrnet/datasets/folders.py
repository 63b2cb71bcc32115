"""Where in a dataset folder the images and the masks are, by the names of the folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rescrnet.datasets.faults import Fault
from rescrnet.images.npy import holds_numbers
from rescrnet.images.open import SUFFIXES
from rescrnet.images.zarr_reader import is_zarr

TRAINING = ("train_local", "train", "training")
VALIDATION = ("val_local", "val", "validation", "valid")
IMAGES = ("images", "image", "imgs", "img", "imagestr", "x", "raw")
MASKS = ("masks", "mask", "msk", "labels", "label", "labelstr", "y", "gt", "annotations", "segmentations")
_INNER = ("img", "msk")  # the one folder inside, in the authors' layout


@dataclass(frozen=True)
class Listing:
    """What lies directly in a folder.

    Attributes:
        images: files with the suffix of an image, and Zarrs, sorted by name.
        folders: folders, sorted by name.
        foreign: other files, hidden ones too, and links that lead nowhere; the first thousand.
    """

    images: Sequence[Path]
    folders: Sequence[Path]
    foreign: Sequence[Path]


def list_folder(folder: Path) -> Listing:
    """List a folder in one pass. Hidden files and folders do not count as images or folders."""
    images: list[str] = []
    folders: list[str] = []
    foreign: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            hidden = entry.name.startswith(".")
            if not hidden and _is_image(entry):
                images.append(entry.name)
            elif _is_folder(entry):
                folders += [] if hidden else [entry.name]
            elif len(foreign) < 1000:
                foreign.append(entry.name)
    return Listing(*([folder / name for name in sorted(names)] for names in (images, folders, foreign)))


def _is_image(entry: os.DirEntry[str]) -> bool:
    """A file with the suffix of an image, or a Zarr; an array of Python objects is none, as Cellpose keeps them."""
    path = Path(entry.path)
    try:
        if not entry.name.lower().endswith(SUFFIXES):
            return entry.is_dir() and is_zarr(path)
        return entry.is_file() and (path.suffix.lower() != ".npy" or holds_numbers(path))
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


def find_folders(folder: Path) -> Folders:
    """Find the images and the masks of a dataset folder, whatever the case of the names of its folders."""
    root = folder
    for name in ("", "data"):
        inside = _child(folder, (name,)) if name else folder
        train = inside and _child(inside, TRAINING)
        if inside and train and (_child(train, IMAGES) or train.name.lower() == "train_local"):
            root = inside
            return _split_folders(train, _child(inside, VALIDATION), root)
    part = _part(folder)
    return Folders(_name(part), None, None, (part,)) if isinstance(part, Fault) else Folders(_name(part), part)


def _split_folders(train: Path, val: Path | None, root: Path) -> Folders:
    layout = "the authors'" if train.name.lower() == "train_local" else _name(_part(train), split=True)
    parts = [_part(train), _part(val) if val else None]
    faults = [part for part in parts if isinstance(part, Fault)]
    if train.name.lower() == "train_local" and not val:
        missing = root / "val_local"
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
    if split and name in ("x", "raw"):
        return "BiaPy"
    return f"{part.images.name} and {part.masks.name}" + (" in folders for training and validation" if split else "")


def _part(folder: Path) -> ImageAndMaskFolders | Fault:
    sides = [_child_or_problem(folder, names) for names in (IMAGES, MASKS)]
    if all(isinstance(side, Fault) and side.check == "missing-folder" for side in sides):
        listing = list_folder(folder)
        if listing.images and not listing.folders:
            return ImageAndMaskFolders(folder, folder)
    for side in sides:
        if isinstance(side, Fault):
            return side
    images, masks = (_inner(side) for side in sides if isinstance(side, Path))
    return ImageAndMaskFolders(images, masks)


def _inner(folder: Path) -> Path:
    """The authors' ``images/img``: the one folder inside where there are no files."""
    listing = list_folder(folder)
    inside = [path for path in listing.folders if path.name.lower() in _INNER]
    return inside[0] if inside and not listing.images else folder


def _child_or_problem(folder: Path, names: Sequence[str]) -> Path | Fault:
    found = list(_children(folder, names))
    if len(found) == 1:
        return found[0]
    if found:
        remedy = "keep one of them, or put the others elsewhere"
        return Fault("ambiguous-folder", tuple(found), f"either could hold the {names[0]}", remedy, named=len(found))
    missing = folder / names[0]
    remedy = "expected 'images' and 'masks', or 'train_local' and 'val_local' with both"
    return Fault("missing-folder", (missing,), "no such folder", remedy)


def _child(folder: Path, names: Sequence[str]) -> Path | None:
    return next(_children(folder, names), None)


def _children(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    return (path for path in list_folder(folder).folders if path.name.lower() in names)
