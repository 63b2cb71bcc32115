"""Folder layouts: which images and masks belong together, and which of them validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rescrnet.data.images import by_stem, list_images
from rescrnet.data.masks import MaskFiles
from rescrnet.errors import DataError, UsageError

DEFAULT_VALIDATION = 0.25


@dataclass(frozen=True)
class Pair:
    """An image and its mask files."""

    stem: str
    image: Path
    masks: MaskFiles


@dataclass(frozen=True)
class Split:
    """The pairs of a dataset."""

    train: list[Pair]
    val: list[Pair]


def find_pairs(folder: Path, val: str | None = None) -> Split:
    """The pairs of a dataset folder, split into training and validation.

    Two layouts are understood:

    - the authors': ``{train,val}_local/images/img`` and ``{train,val}_local/masks/msk``, or a folder of binary masks
      for each class below ``masks``;
    - ``images`` and ``masks`` with the same stems, the masks single files or a folder for each class, split by
      ``val``: a fraction (the last images by name, since neighbours in a series resemble each other), names separated
      by commas, or another folder of ``images`` and ``masks``. Without it, a quarter.

    Raises:
        DataError: a folder is missing or empty, or an image or a mask has no partner; the message names it.
        UsageError: ``val`` does not fit.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a folder of images and masks")
    train_local, val_local = folder / "train_local", folder / "val_local"
    if train_local.is_dir():
        if val is not None:
            raise UsageError(f"--val {val}: {folder} has its own validation images in val_local; leave --val out")
        if not val_local.is_dir():
            raise DataError(f"{val_local}: no such folder; expected the validation images beside train_local")
        return _distinct(Split(_pairs_in(train_local), _pairs_in(val_local)))
    pairs = _pairs_in(folder)
    if val is not None and Path(val).is_dir():
        return _distinct(Split(pairs, _pairs_in(Path(val))))
    chosen = _chosen(pairs, DEFAULT_VALIDATION if val is None else val)
    return Split([p for p in pairs if p.stem not in chosen], [p for p in pairs if p.stem in chosen])


def _chosen(pairs: Sequence[Pair], val: str | float) -> set[str]:
    stems = [pair.stem for pair in pairs]
    try:
        fraction = float(val)
    except ValueError:
        names = {name.strip() for name in str(val).split(",")}
        unknown = names - set(stems)
        if unknown:
            raise UsageError(
                f"--val {val}: no image is named '{sorted(unknown)[0]}' and no such folder exists; "
                "expected a fraction, names of images, or a folder"
            ) from None
        if len(names) == len(stems):
            raise UsageError(f"--val {val}: names every image; leave some for training") from None
        return names
    if val in stems:  # an image that is named like a number
        return {str(val)}
    if not 0 < fraction < 1:
        raise UsageError(f"--val {val}: expected a fraction between 0 and 1, names of images, or a folder")
    if len(stems) < 2:
        raise DataError(f"{pairs[0].image}: is the only image; expected at least two, one to train and one to validate")
    count = min(max(1, round(fraction * len(stems))), len(stems) - 1)
    return set(stems[-count:])


def _pairs_in(folder: Path) -> list[Pair]:
    images_folder, masks_folder = _files_folder(folder / "images", "img"), _files_folder(folder / "masks", "msk")
    images = by_stem(list_images(images_folder))
    if not images:
        raise DataError(f"{images_folder}: holds no images; expected PNG, TIFF, JPEG or BMP files")
    class_folders = sorted(p for p in masks_folder.iterdir() if p.is_dir() and list_images(p))
    singles = list_images(masks_folder)
    if singles and class_folders:
        raise DataError(
            f"{masks_folder}: holds both masks and folders of masks ({class_folders[0].name}); keep one kind"
        )
    layers = {f.name: by_stem(list_images(f)) for f in class_folders} or {"": by_stem(singles)}
    for name, masks in layers.items():
        _check_partners(images, masks, masks_folder / name, images_folder)
    return [Pair(s, image, {name: masks[s] for name, masks in layers.items()}) for s, image in sorted(images.items())]


def _files_folder(folder: Path, inner: str) -> Path:
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; expected 'images' and 'masks', or 'train_local' and 'val_local' with both"
        )
    return folder / inner if (folder / inner).is_dir() and not list_images(folder) else folder


def _check_partners(images: dict[str, Path], masks: dict[str, Path], masks_folder: Path, images_folder: Path) -> None:
    alone = sorted(images.keys() - masks.keys())
    if alone:
        raise DataError(f"{images[alone[0]]}: has no mask{_and_more(alone)}; expected {masks_folder / alone[0]}.*")
    alone = sorted(masks.keys() - images.keys())
    if alone:
        raise DataError(f"{masks[alone[0]]}: has no image{_and_more(alone)}; expected {images_folder / alone[0]}.*")


def _and_more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _distinct(split: Split) -> Split:
    both = {pair.stem for pair in split.train} & {pair.stem for pair in split.val}
    if both:
        raise DataError(f"{split.val[0].image.parent}: '{min(both)}' is an image of training too; rename or remove it")
    return split
