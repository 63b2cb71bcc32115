"""Image files: from disk to arrays, and back."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from rescrnet.errors import DataError
from rescrnet.images.origins import PIXELS, Channels, Origin, Page
from rescrnet.intensity import normalise_image

# What tifffile has to say about a damaged file becomes one error of ours, where it matters.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_PRINT_COLOURS = (tifffile.PHOTOMETRIC.SEPARATED, tifffile.PHOTOMETRIC.CIELAB, tifffile.PHOTOMETRIC.ICCLAB)
_LARGEST = 4 << 30  # bytes of pixels in one image
_COMPRESSION = 1100  # zlib puts at most 1032 bytes into one
_SLACK = 1 << 24
SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")


def list_images(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, sorted by name; hidden files are left out."""
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def read(origin: Origin, *, palette: bool = False) -> NDArray[Any]:
    """Read an image as it is stored: YX, or YXC; bool, integer or float. An alpha channel is the last.

    Palette images give their indices, or with ``palette`` their colours; those of a TIFF are mere display, and its
    indices the intensities. Raises :class:`DataError` where it is not one readable 2-D image.
    """
    return read_with_alpha(origin, palette=palette)[0]


def read_with_alpha(origin: Origin, *, palette: bool = False) -> tuple[NDArray[Any], bool]:
    """Like :func:`read`, and whether the last channel is alpha."""
    if isinstance(origin, Channels):
        return _join_channels(origin), False
    path, page = (origin.path, origin.index) if isinstance(origin, Page) else (origin, None)
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            array, alpha = _read_tiff(path, page)
        else:
            array = _read_other(path, palette)
            alpha = array.ndim == 3 and array.shape[-1] in (2, 4)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None
    except Exception as error:  # decoders raise whatever they like on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as an image, is it damaged or cut short? ({reason})") from None
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(f"{path}: holds an array of shape {array.shape}; expected one image, grey or RGB; convert it")
    if array.dtype.kind not in "buif":
        raise DataError(f"{path}: holds {array.dtype} values; expected integers or floats; convert it")
    return array, alpha


def _join_channels(origin: Channels) -> NDArray[Any]:
    arrays = [read(file, palette=True) for file in origin.files]
    for file, array in zip(origin.files, arrays, strict=True):
        if array.ndim != 2 or (array.shape, array.dtype) != (arrays[0].shape, arrays[0].dtype):
            raise DataError(
                f"{file}: holds {array.shape} of {array.dtype}, but another channel of the image, {origin.files[0]}, "
                f"{arrays[0].shape} of {arrays[0].dtype}; expected grey files of one size and type; convert it"
            )
    return np.stack(arrays, axis=-1)


def _read_tiff(path: Path, page: int | None) -> tuple[NDArray[Any], bool]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        keyframe = series.keyframe
        photometric = tifffile.PHOTOMETRIC(keyframe.photometric)
        if photometric in _PRINT_COLOURS:
            raise DataError(f"{path}: is stored as {photometric.name}; expected grey or RGB; convert it")
        _refuse_bomb(path, int(np.prod(series.shape)) * series.dtype.itemsize)
        sizes = dict(zip(series.axes, series.shape, strict=True))
        pages = int(np.prod([n for axis, n in sizes.items() if axis not in PIXELS]))
        if pages > 1 and page is None:
            raise DataError(
                f"{path}: holds {pages} pages (axes {series.axes}); expected one image; save each page by itself"
            )
        alpha = "S" in sizes and bool(keyframe.extrasamples) and keyframe.samplesperpixel in (2, 4)
        single = pages > 1 and len(series.pages) == pages  # each page is stored by itself and can be read by itself
        array = np.asarray(file.asarray(key=page, series=0) if single else series.asarray())
    if single:
        axes = "YXS" if array.ndim == 3 and keyframe.planarconfig == 1 else "SYX" if array.ndim == 3 else "YX"
    else:
        others = [place for place, axis in enumerate(series.axes) if axis not in PIXELS]
        axes = "".join(axis for axis in series.axes if axis in PIXELS)
        array = np.moveaxis(array, others, range(len(others))).reshape(pages, *(sizes[axis] for axis in axes))
        array = array[page or 0]
    return _channels_last(path, array, axes), alpha


def _channels_last(path: Path, array: NDArray[Any], axes: str) -> NDArray[Any]:
    """An array with the axes Y and X, and C or S before or after them, or both → YX or YXC."""
    if sorted(axes.translate({ord("C"): None, ord("S"): None})) != ["X", "Y"]:
        raise DataError(f"{path}: has the axes {axes}; expected one image, grey or RGB; convert it")
    array = array.transpose([axes.index(axis) for axis in "YXCS" if axis in axes])
    array = array.reshape(*array.shape[:2], -1)
    return np.ascontiguousarray(array[..., 0] if array.shape[-1] == 1 else array)


def _refuse_bomb(path: Path, size: int) -> None:
    """Refuse a header that claims more bytes than compression can put into the file, or than are sensible."""
    stored = path.stat().st_size
    if size > _LARGEST or size > _COMPRESSION * stored + _SLACK:
        raise DataError(
            f"{path}: claims to hold {size:,} bytes of pixels in a file of {stored:,}; expected at most "
            f"{_LARGEST:,}; is it damaged? cut a large image into pieces"
        )


def _read_other(path: Path, palette: bool) -> NDArray[Any]:
    with path.open("rb") as file:
        head = file.read(33)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 26:
        width, height, depth, kind = int.from_bytes(head[16:20]), int.from_bytes(head[20:24]), head[24], head[25]
        _refuse_bomb(path, width * height * {0: 1, 3: 1, 4: 2}.get(kind, 4) * depth // 8)
        if depth == 16:  # of which Pillow makes 8 or 32 bits
            return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # measured below, and large images are usual
        image = Image.open(path)
    with image:
        image.load()
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
            raise DataError(f"{path}: is stored as {image.mode}; expected grey or RGB; convert it")
        return np.asarray(image.convert("RGB") if palette and image.mode == "P" else image)


def read_image(path: Origin) -> NDArray[np.float32]:
    """Read an image as YXC float32, integers divided by the largest value of their type; alpha is left out.

    Raises :class:`DataError` where it cannot be read, holds NaN or infinite values, or is constant.
    """
    array, alpha = read_with_alpha(path, palette=True)
    scaled = normalise_image(array, alpha=alpha)
    if not np.isfinite(scaled).all():
        count = int((~np.isfinite(scaled)).sum())
        raise DataError(f"{path}: {count} values are NaN or infinite; expected finite intensities; mend or remove it")
    if scaled.min() == scaled.max():
        raise DataError(f"{path}: every pixel has the same value, {array.flat[0]}; expected an image; remove it")
    return scaled
