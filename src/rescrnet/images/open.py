"""Open any microscope image for reading by region: TIFF, Zarr, NumPy, PNG, JPEG, BMP, or an array in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rescrnet.errors import DataError
from rescrnet.images.npy import RawArray
from rescrnet.images.stack import ArrayLike, Axis, Stack, default_axes, make_stack
from rescrnet.images.tiff_reader import open_tiff
from rescrnet.images.whole import SUFFIXES, read
from rescrnet.images.zarr_reader import is_zarr, open_zarr
from rescrnet.intensity import without_alpha

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NUMPY = b"\x93NUMPY"
_FAMILIES = dict.fromkeys(SUFFIXES, "picture") | {".tif": "TIFF", ".tiff": "TIFF", ".npy": "NumPy"}


def open_source(path: str | Path, level: int = 0, *, fill_missing: bool = False) -> Stack:
    """The planes of an image on disk, none of them read yet, but for PNG, JPEG and BMP, which are.

    Args:
        path: a TIFF, PNG, JPEG, BMP or ``.npy`` file, an OME-Zarr image, or a Zarr array.
        level: of the pyramid, 0 the finest.
        fill_missing: take chunks and tiles that are not there for empty, as some writers mean them, rather than lost.

    Raises:
        DataError: there is no such file or level, it is damaged, or it is no image that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; expected an image")
    try:
        if path.is_dir():
            if not is_zarr(path):
                raise DataError(f"{path}: is a folder but no Zarr; expected an image, or an OME-Zarr")
            return open_zarr(path, level, fill_missing=fill_missing)
        with path.open("rb") as file:
            head = file.read(8)
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None
    family = "TIFF" if head[:4] in _TIFF else "NumPy" if head.startswith(_NUMPY) else "picture"
    _check_suffix(path, family, head)
    if family == "TIFF":
        return open_tiff(path, level, fill_missing=fill_missing)
    if level:
        raise DataError(f"{path}: has one level, 0; there is no level {level}")
    if family == "NumPy":
        return replace(wrap(RawArray.open(path), name=str(path)), path=path)
    return replace(wrap(without_alpha(read(path, palette=True)), name=str(path)), path=path)


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
    return path.stem.removesuffix(".ome") if path.suffix.lower() in (".tif", ".tiff", ".zarr") else path.stem


def list_sources(folder: Path) -> list[Path]:
    """What :func:`open_source` can open directly in ``folder``, sorted by name; hidden files are left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and (path.suffix.lower() in (*SUFFIXES, ".npy") if path.is_file() else is_zarr(path))
    )


def _check_suffix(path: Path, family: str, head: bytes) -> None:
    if not head:
        raise DataError(f"{path}: is empty; copy it again")
    expected = _FAMILIES.get(path.suffix.lower(), family)
    if expected != family:
        article = "is a" if family != "picture" else "is no"
        named = family if family != "picture" else expected
        raise DataError(f"{path}: {article} {named} file by its content; rename it, or copy it again")


def by_stem(files: Iterable[Path], stem_of: Callable[[Path], str] = lambda file: file.stem) -> dict[str, Path]:
    """The files by stem. Raises :class:`DataError` naming two files of one stem."""
    found: dict[str, Path] = {}
    for file in files:
        stem = stem_of(file)
        if stem in found:
            raise DataError(f"{found[stem]} and {file}: two files of one stem; remove or rename one")
        found[stem] = file
    return found
