"""Which images are to be predicted, and where the results of each lie: files, folders of them, patterns."""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tifffile import TiffFile

from rescrnet.errors import DataError
from rescrnet.images.channels import CHANNEL, NNUNET_CHANNEL, group_channels
from rescrnet.images.folder_names import are_masks
from rescrnet.images.open import SUFFIXES, image_stem, list_images, open_image
from rescrnet.images.tiff_series import main_series
from rescrnet.images.whole import Channels, Origin, files_of
from rescrnet.images.zarr_reader import is_zarr
from rescrnet.wording import count

LEGEND = "classes.json"
"""The file in every folder of results that says which index is which class."""
_EXPECTED = "expected PNG, TIFF, JPEG, BMP, NumPy or Zarr files"


@dataclass(frozen=True)
class Input:
    """An image to predict.

    Attributes:
        origin: where it lies, or what was asked for where that is no image.
        place: of its results below the folder of results, without a suffix: ``wt/001``.
        fault: why it cannot be predicted, where its name alone says so.
    """

    origin: Origin
    place: str
    fault: DataError | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, or that of each channel."""
        return files_of(self.origin)

    def __str__(self) -> str:
        return str(self.origin)


@dataclass(frozen=True)
class Inputs:
    """The images that are to be predicted.

    Attributes:
        images: them, and what was asked for and is no image.
        left_out: folders below those that were given, in which there are images too, and how many.
        masks: folders of masks beside folders of images, which are left out.
    """

    images: list[Input]
    left_out: dict[Path, int]
    masks: tuple[Path, ...] = ()


def find_inputs(inputs: str | Path | Iterable[str | Path], *, recursive: bool = False) -> Inputs:
    """The images that ``inputs``, files, folders and patterns such as ``*.tif``, mean.

    Of a folder they are those that lie in it, and where none does, those in its sub-folders. Results are named by the
    images; those of sub-folders lie in folders of the same names, and so do those of several images of one name.

    Args:
        inputs: what is asked for. A file that is named twice counts once.
        recursive: take the images in sub-folders also where the folder itself holds some.

    Raises:
        DataError: there are no images at all.
    """
    inputs = [inputs] if isinstance(inputs, (str, Path)) else inputs
    found: dict[Path, Input] = {}
    left_out: dict[Path, int] = {}
    masks: list[Path] = []
    for path in _expanded(map(Path, inputs)):
        if path.is_dir() and not is_zarr(path):
            images, below = _in_folder(path, recursive, masks)
            if below:
                left_out[path] = below
        else:
            images = [Input(path, image_stem(path), None if path.exists() else _missing(path))]
        for image in images:
            found.setdefault(image.files[0].absolute(), image)
    images = list(found.values())
    if all(image.fault for image in images):
        raise next((image.fault for image in images if image.fault), DataError("inputs", "are none", _EXPECTED))
    return Inputs(_apart(images), left_out, tuple(masks))


def join_channels(images: Iterable[Input], channels: int) -> list[Input]:
    """``images`` with those files joined that are the channels of one image, for a model of ``channels``.

    They are where as many grey files as that have one name but for the number of the channel, as in training.
    """
    images = list(images)
    if channels < 2:
        return images
    folders: dict[Path, list[Input]] = defaultdict(list)
    for image in images:
        if isinstance(image.origin, Path) and not image.fault:
            folders[image.origin.parent].append(image)
    joined: dict[Path, Input] = {}
    for members in folders.values():
        joined |= _joined({image.files[0]: image for image in members}, channels)
    return list(dict.fromkeys(joined.get(image.files[0], image) for image in images))


def _joined(members: dict[Path, Input], channels: int) -> dict[Path, Input]:
    """The image that each file of a folder is a channel of, where it is one."""
    for pattern in (NNUNET_CHANNEL, CHANNEL):
        groups: dict[str, dict[int, Path]] = defaultdict(dict)
        for file in members:
            for name, numbered in group_channels([file], pattern).items():
                groups[name] |= numbered
        complete = {name: numbered for name, numbered in groups.items() if len(numbered) == channels}
        if not complete:
            continue
        first = next(iter(next(iter(complete.values())).values()))
        if _files_of_set(first) == channels:  # each of the files stands for all of them
            sets = {name: list(numbered.values()) for name, numbered in complete.items()}
            return {
                file: replace(members[files[0]], place=str(PurePosixPath(members[files[0]].place).with_name(name)))
                for name, files in sets.items()
                for file in files
            }
        if not _is_grey(first):
            continue
        usual = Counter(tuple(sorted(numbered)) for numbered in complete.values()).most_common(1)[0][0]
        joined: dict[Path, Input] = {}
        for name, numbered in groups.items():
            files = tuple(file for _, file in sorted(numbered.items()))
            fault = None
            if tuple(sorted(numbered)) != usual:
                here, there = (", ".join(map(str, sorted(numbers))) for numbers in (numbered, usual))
                fault = DataError(
                    files[0], f"of its channels there are {here}, of other images {there}", "add the file"
                )
            place = PurePosixPath(members[files[0]].place).with_name(name)
            image = Input(Channels(files) if len(files) > 1 else files[0], str(place), fault)
            joined |= dict.fromkeys(files, image)
        return joined
    return {}


def _is_grey(file: Path) -> bool:
    """Whether a file has one channel; also where it cannot be read, for whoever reads it says why."""
    try:
        return open_image(file)[0].source.shape[2] == 1
    except DataError:
        return True


def _files_of_set(file: Path) -> int:
    """How many files an OME-TIFF is spread over, each of which says where the others are; 0 for any other file."""
    if not file.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return 0
    try:
        with TiffFile(file) as opened:
            return len({page.parent.filehandle.path for page in main_series(opened, file).pages if page is not None})
    except Exception:  # a damaged one; whoever reads it says so
        return 0


def _expanded(paths: Iterable[Path]) -> Iterator[Path]:
    """What patterns mean, which the command line of Windows hands on as they are: ``*`` finds images and folders."""
    for path in paths:
        if path.exists() or not glob.has_magic(str(path)):
            yield path
            continue
        try:
            matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        except (ValueError, NotImplementedError):  # no pattern after all
            matches = []
        images = {image for folder in {match.parent for match in matches} for image in list_images(folder)}
        folders = {match for match in matches if match.is_dir() and not match.name.startswith(".")}
        yield from [match for match in matches if match in images or match in folders] or matches or [path]


def _missing(path: Path) -> DataError:
    if glob.has_magic(str(path)):
        return DataError(path, "no file has such a name", "expected images")
    return DataError(path, "no such file or folder", "expected images")


def _in_folder(folder: Path, recursive: bool, masks: list[Path]) -> tuple[list[Input], int]:
    """The images of a folder, and how many in its sub-folders are left out; ``masks`` gets the folders of masks."""
    own, below = _listed(folder, folder), []
    of_masks: list[Path] = []
    for inner in _folders_below(folder, of_masks):
        below += [inner] if isinstance(inner, Input) else _listed(inner, folder)
    if recursive or not own:
        images = own + below
        masks += of_masks
        return images or [Input(folder, folder.name, DataError(folder, "holds no images", _EXPECTED))], 0
    return own, len(below)


def _listed(folder: Path, above: Path) -> list[Input]:
    """The images directly in a folder, links that lead nowhere, or the folder where it cannot be read."""
    place = folder.relative_to(above)
    try:
        files = list_images(folder)
        lost = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and _leads_nowhere(path)]
    except OSError as error:
        if folder == above:
            raise
        return [_unreadable(folder, above, error)]
    remedy = "copy the image to it, or remove the link"
    faults = {path: DataError(path, "is a link that leads nowhere", remedy) for path in lost}
    named = sorted([*files, *(path for path in lost if not path.name.startswith("."))])
    return [Input(path, (place / image_stem(path)).as_posix(), faults.get(path)) for path in named]


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _unreadable(folder: Path, above: Path, error: OSError) -> Input:
    fault = DataError(folder, f"cannot be looked into ({error.strerror})", "correct its permissions")
    return Input(folder, folder.relative_to(above).as_posix(), fault)


def _folders_below(folder: Path, masks: list[Path], above: Path | None = None) -> Iterator[Path | Input]:
    """All folders in a folder, in order, but Zarr, hidden ones, links, results of predictions, and folders of masks.

    The last are put into ``masks``. In place of one that cannot be read comes why.
    """
    above = above or folder
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError as error:
        if folder != above:  # its images were asked for already, and this was said
            return
        yield _unreadable(folder, above, error)
        return
    for inner in inside:
        try:
            passed_over = inner.name.startswith(".") or is_zarr(inner) or (inner / LEGEND).is_file()
        except OSError as error:
            yield _unreadable(inner, above, error)
            continue
        if are_masks(inner, inside):
            masks.append(inner)
        elif not passed_over:
            yield inner
            yield from _folders_below(inner, masks, above)


def _apart(images: list[Input]) -> list[Input]:
    """``images``, where two have one place each at the place that its file has below the folder that holds all."""
    places = Counter(image.place.casefold() for image in images)  # not all file systems tell A from a
    if max(places.values()) == 1:
        return images
    folders = [image.files[0].absolute().parent for image in images]
    try:
        common = os.path.commonpath(folders)
    except ValueError:  # on several drives
        return images
    return [
        replace(image, place=(folder.relative_to(common) / image_stem(image.files[0])).as_posix())
        for image, folder in zip(images, folders, strict=True)
    ]


def describe_left_out(left_out: dict[Path, int], masks: Iterable[Path] = ()) -> list[str]:
    """What a person should know about sub-folders that are not looked into."""
    beside = [
        f"{folder}: left out, as masks of the images beside it; name the folder to predict it" for folder in masks
    ]
    return beside + [
        f"{folder}: {count(number, 'image')} in sub-folders {'is' if number == 1 else 'are'} left out; --recursive "
        "takes them too"
        for folder, number in left_out.items()
    ]
