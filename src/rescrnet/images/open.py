"""Open any microscope image for reading by region: TIFF, Zarr, NumPy, pictures, or an array in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rescrnet.errors import DataError
from rescrnet.images.axes import axis_names
from rescrnet.images.dm_reader import DM_SUFFIXES, open_dm
from rescrnet.images.foreign import foreign_among, foreign_form
from rescrnet.images.mrc_reader import MRC_SUFFIXES, PACKED, open_mrc
from rescrnet.images.npy import RawArray, holds_numbers
from rescrnet.images.picture import open_picture
from rescrnet.images.stack import ArrayLike, Axis, Stack, decoding, default_axes, make_stack
from rescrnet.images.tiff_reader import TiffArray, open_tiff
from rescrnet.images.zarr_reader import is_zarr, open_zarr

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k")
TIFFS = (".tif", ".tiff", ".btf", ".lsm", ".svs", ".ndpi", ".scn", ".bif", ".qptiff")
_PACKED_MRC = tuple(f"{suffix}{packed}" for suffix in MRC_SUFFIXES for packed in PACKED)
SUFFIXES = (*PICTURES, *TIFFS, ".npy", *MRC_SUFFIXES, *_PACKED_MRC, *DM_SUFFIXES)
"""Files of these names are taken for images where a folder is listed."""

_FORMS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x93NUMPY": "NumPy",
    b"GIF8": "GIF",
    b"RIFF": "WEBP",
    b"P1": "PNM",
    b"P2": "PNM",
    b"P3": "PNM",
    b"P4": "PNM",
    b"P5": "PNM",
    b"P6": "PNM",
    b"\0\0\0\x0cjP  ": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\0\0\0\3": "DM",
    b"\0\0\0\4": "DM",
}
_MAP_AT, _MAP = 208, b"MAP"  # where the header of an MRC file says what it is
_CALLED_MRC = (".mrc", ".mrcs", *_PACKED_MRC)  # what is called so is MRC even where an old header does not say it
_NAMED = {
    ".png": "PNG",
    ".bmp": "BMP",
    ".npy": "NumPy",
    ".gif": "GIF",
    ".webp": "WEBP",
    **dict.fromkeys(TIFFS, "TIFF"),
    **dict.fromkeys((".jpg", ".jpeg"), "JPEG"),
    **dict.fromkeys((".pbm", ".pgm", ".ppm", ".pnm"), "PNM"),
    **dict.fromkeys((".jp2", ".j2k"), "JPEG2000"),
    **dict.fromkeys((*MRC_SUFFIXES, *_PACKED_MRC), "MRC"),
    **dict.fromkeys(DM_SUFFIXES, "DM"),
}


def open_image(
    path: str | Path, level: int = 0, *, fill_missing: bool = False, indices: bool = False, axes: str = ""
) -> Stack:
    """The planes of an image on disk, by the content of the file; no pixel of them is read yet.

    Args:
        path: a TIFF, PNG, JPEG, BMP, GIF, WebP, PNM, JPEG 2000, ``.npy``, MRC, DM3 or DM4 file, an OME-Zarr image, or
            a Zarr array.
        level: of the pyramid, 0 the finest.
        fill_missing: take chunks and tiles that are not there for empty, as some writers mean them, rather than lost.
        indices: of an indexed PNG or BMP give the indices, as for a mask, not the colours.
        axes: of a TIFF or ``.npy`` file that does not say its own, as ``CYX``; passed over where they do not fit it.

    Raises:
        DataError: there is no such file or level, it is damaged, or it is no image that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(path, "no such file or folder", "expected an image")
    if not (path.is_file() or path.is_dir()):  # a pipe or device never ends
        raise DataError(path, "is neither a file nor a folder", "expected an image")
    with decoding(path):
        return _open(path, level, fill_missing, indices, axes)


def _open(path: Path, level: int, fill_missing: bool, indices: bool, axes: str) -> Stack:
    if path.is_dir():
        if not is_zarr(path):
            raise DataError(path, "is a folder but no Zarr", "expected an image, or an OME-Zarr")
        return open_zarr(path, level, fill_missing=fill_missing)
    form = form_of(path)
    if form == "TIFF":
        return open_tiff(path, level, fill_missing=fill_missing, axes=axes)
    if level:
        raise DataError(path, "has one level, 0", f"there is no level {level}")
    if form == "NumPy":
        array = RawArray.open(path)
        said = axis_names(axes, len(array.shape)) or None
        return replace(wrap(array, said, name=str(path)), path=path, form=form, separate=bool(said and "c" in said))
    if form in ("MRC", "DM"):
        return open_mrc(path) if form == "MRC" else open_dm(path)
    if (not form or path.suffix.lower() == ".nd2") and (foreign := foreign_form(path)):
        raise DataError(path, f"is of a form that is not read: {foreign.name}", foreign.remedy)
    return open_picture(path, indices=indices)


def form_of(path: Path) -> str:
    """``PNG``, ``TIFF``, ``JPEG``, ``BMP``, ``NumPy``, … by the first bytes of a file, else nothing.

    Raises :class:`DataError` where it is empty or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_MAP_AT + len(_MAP))
    except OSError as error:
        if isinstance(error, PermissionError):
            raise DataError(path, "no permission to read it", "correct its permissions") from None
        raise DataError(path, f"cannot be read ({error.strerror})", "copy it again") from None
    if not head:
        raise DataError(path, "is empty", "copy it again")
    if head[_MAP_AT:] == _MAP:  # first: its width may look like the beginning of another form
        return "MRC"
    form = next((form for magic, form in _FORMS.items() if head.startswith(magic)), "")
    return form or ("MRC" if path.name.lower().endswith(_CALLED_MRC) else "")


def named_form(path: Path) -> str:
    """What the end of a file's name says that it is; nothing where it says nothing."""
    return next((form for suffix, form in _NAMED.items() if path.name.lower().endswith(suffix)), "")


def is_named_image(path: Path) -> bool:
    """Whether a file is named as an image; its content is looked at where other files have such names, too."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return holds_numbers(path)  # Cellpose keeps Python objects so
    if suffix in MRC_SUFFIXES and suffix not in _CALLED_MRC:  # maps and records of any kind
        try:
            return form_of(path) == "MRC"
        except DataError:
            return False
    return path.name.lower().endswith(SUFFIXES)


def unnamed_shape(path: Path) -> tuple[int, ...]:
    """The shape of a file that does not say which of its axes is which; nothing of any other."""
    try:
        form = form_of(path) if path.is_file() else ""
        if form == "NumPy":
            shape = RawArray.open(path).shape
            return shape if len(shape) > 2 else ()
        if form == "TIFF":
            array = TiffArray(path)
            return array.shape if array.unsaid else ()
    except DataError:  # whoever reads it says why
        pass
    return ()


def count_planes(path: Path, axes: str = "") -> int:
    """Planes of an image, time and depth multiplied; 1 also where it cannot be read: whoever reads it says why."""
    if path.suffix.lower() in PICTURES:
        return 1
    try:
        return len(open_image(path, axes=axes))
    except DataError:
        return 1


def wrap(array: ArrayLike, axes: str | None = None, *, name: str = "image", alpha: bool = False) -> Stack:
    """The planes of an array-like: NumPy, Zarr, Dask, or anything with a shape, a type and regions.

    Args:
        array: YX, or as ``axes`` says.
        axes: one letter of y, x, c (channels), z, t, p (pages) for each axis. Where it is not given, the last two are
            y and x, or y, x and channels if the last has 1 or 3; those before are pages.
        name: what to call it in messages.
        alpha: the last channel is transparency, and left out.

    Raises:
        DataError: the axes do not fit the array, or it cannot be an image.
    """
    axes = default_axes(array.shape, name) if axes is None else axes
    if len(axes) != len(array.shape):
        raise DataError(name, f"has shape {tuple(array.shape)}", f"expected one axis for each of {','.join(axes)}")
    resident = array.nbytes if isinstance(array, np.ndarray) else 0
    named = [Axis(letter, n) for letter, n in zip(axes, array.shape, strict=True)]
    return make_stack(array, named, name, alpha=alpha, segment_bytes=resident)


def image_stem(path: Path) -> str:
    """The name of an image without its suffix, also where that has two parts: ``cell.ome.tif`` is ``cell``."""
    if path.name.lower().endswith(_PACKED_MRC):
        return Path(path.stem).stem
    return path.stem.removesuffix(".ome") if path.suffix.lower() in (".tif", ".tiff", ".zarr") else path.stem


def list_images(folder: Path) -> list[Path]:
    """What :func:`open_image` can open directly in ``folder``, sorted by name; hidden files are left out.

    Raises :class:`DataError` where it can open nothing, but there are images in a form that is not read.
    """
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images = [path for path in visible if (is_named_image(path) if path.is_file() else is_zarr(path))]
    foreign = {} if images else foreign_among(visible)
    for form, files in foreign.items():
        if not form.annotations:
            more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
            raise DataError(files[0], f"is of a form that is not read: {form.name}{more}", form.remedy)
    return images


def by_stem(files: Iterable[Path], stem_of: Callable[[Path], str] = image_stem) -> dict[str, Path]:
    """The files by stem. Raises :class:`DataError` naming two files of one stem."""
    named: dict[str, Path] = {}
    for file in files:
        stem = stem_of(file)
        if stem in named:
            raise DataError(f"{named[stem]} and {file}", "two files of one stem", "remove or rename one")
        named[stem] = file
    return named
