"""Folder layouts: which images and masks belong together, and which of them validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rescrnet.data.images import by_stem, list_images
from rescrnet.data.masks import MaskFiles
from rescrnet.errors import DataError, UsageError

DEFAULT_VALIDATION = "0.25"


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


def find_pairs(folder: Path) -> Split:
    """The pairs of a dataset folder.

    Two layouts are understood:

    - the authors': ``{train,val}_local/images/img`` and ``{train,val}_local/masks/msk``, or a folder of binary masks
      for each class below ``masks``;
    - ``images`` and ``masks`` with the same stems, the masks single files or a folder for each class. All pairs are
      for training then; :func:`split_off` takes some for validation.

    Raises :class:`DataError` where a folder is missing or empty, or an image or a mask has no partner.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a folder of images and masks")
    train_local, val_local = folder / "train_local", folder / "val_local"
    if not train_local.is_dir():
        return Split(_pairs_in(folder), [])
    if not val_local.is_dir():
        raise DataError(f"{val_local}: no such folder; expected the validation images beside train_local")
    return _consistent(Split(_pairs_in(train_local), _pairs_in(val_local)))


def split_off(split: Split, val: str | None) -> Split:
    """Take pairs for validation from those for training, where there are none yet.

    ``val`` is a fraction (the last images by name, since neighbours in a series resemble each other), names separated
    by commas, or another folder of ``images`` and ``masks``; none is a quarter.

    Raises :class:`UsageError` where ``val`` does not fit, :class:`DataError` where there is one image only.
    """
    if split.val:
        if val is not None:
            raise UsageError(f"--val {val}: the dataset has its own validation images in val_local; leave --val out")
        return split
    if val and Path(val).is_dir():
        return _consistent(Split(split.train, _pairs_in(Path(val))))
    chosen = _chosen(split.train, DEFAULT_VALIDATION if val is None else val)
    return Split([p for p in split.train if p.stem not in chosen], [p for p in split.train if p.stem in chosen])


def _chosen(pairs: Sequence[Pair], val: str) -> set[str]:
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
    count = min(max(1, round(fraction * len(stems))), len(stems) - 1)
    return set(stems[-count:])


def _pairs_in(folder: Path) -> list[Pair]:
    images_folder, masks_folder = _files_folder(folder / "images", "img"), _files_folder(folder / "masks", "msk")
    images = by_stem(list_images(images_folder))
    if not images:
        raise DataError(f"{images_folder}: holds no images; expected PNG, TIFF, JPEG or BMP files")
    class_folders = sorted(p for p in masks_folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    singles = list_images(masks_folder)
    mixed = [f.name for f in class_folders if list_images(f)] if singles else []
    if mixed:
        raise DataError(f"{masks_folder}: holds both masks and folders of masks ({', '.join(mixed)}); keep one kind")
    if singles or not class_folders:
        layers = {"": by_stem(singles)}
    else:
        layers = {f.name: by_stem(list_images(f)) for f in class_folders}
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


def _consistent(split: Split) -> Split:
    val_folder = split.val[0].image.parent
    both = {pair.stem for pair in split.train} & {pair.stem for pair in split.val}
    if both:
        raise DataError(f"{val_folder}: '{min(both)}' is the name of a training image too; rename or remove it")
    unlike = split.train[0].masks.keys() ^ split.val[0].masks.keys()
    if unlike:
        raise DataError(
            f"{val_folder}: the masks differ in kind from those for training; expected in both single masks, or in "
            f"both the same folders for classes (only one has '{min(unlike) or 'single masks'}'); add what is missing"
        )
    return split
