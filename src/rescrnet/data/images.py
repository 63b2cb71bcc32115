"""Image files: from disk to arrays, and back."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from rescrnet.data.origins import PIXELS, Channels, Origin, Page
from rescrnet.errors import DataError, OutputError

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


def by_stem(files: Iterable[Path], stem_of: Callable[[Path], str] = lambda file: file.stem) -> dict[str, Path]:
    """The files by stem. Raises :class:`DataError` naming two files of one stem."""
    found: dict[str, Path] = {}
    for file in files:
        stem = stem_of(file)
        if stem in found:
            raise DataError(f"{found[stem]} and {file}: two files of one stem; remove or rename one")
        found[stem] = file
    return found


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
    scaled = to_unit(array, alpha=alpha)
    if not np.isfinite(scaled).all():
        count = int((~np.isfinite(scaled)).sum())
        raise DataError(f"{path}: {count} values are NaN or infinite; expected finite intensities; mend or remove it")
    if scaled.min() == scaled.max():
        raise DataError(f"{path}: every pixel has the same value, {array.flat[0]}; expected an image; remove it")
    return scaled


def to_unit(array: NDArray[Any], *, alpha: bool | None = None) -> NDArray[np.float32]:
    """YX or YXC of any type → YXC float32: integers by the largest value of their type, floats as they are.

    The last channel is left out where it is ``alpha``; where that is not known, a second or fourth channel is.
    """
    return scale_to_unit(without_alpha(array if array.ndim == 3 else array[..., None], alpha))


def without_alpha(array: NDArray[Any], alpha: bool | None = None) -> NDArray[Any]:
    """YX or YXC without its last channel where that is ``alpha``; where not known, without a second or fourth."""
    known = array.shape[-1] in (2, 4) if alpha is None else alpha
    return array[..., :-1] if array.ndim == 3 and known and array.shape[-1] > 1 else array


def scale_to_unit(array: NDArray[Any]) -> NDArray[np.float32]:
    """Integers divided by the largest value of their type, floats as they are: float32, the same shape."""
    scale = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1
    return np.ascontiguousarray(array, dtype=np.float32) / np.float32(scale)


def check_finite(unit: NDArray[np.float32], name: object) -> None:
    """Raise :class:`DataError` where a value is NaN or infinite."""
    if not np.isfinite(unit).all():
        raise DataError(f"{name}: holds NaN or infinite values; expected finite intensities; mend them")


def match_channels(image: NDArray[np.float32], channels: int, name: object) -> NDArray[np.float32]:
    """``image`` (YXC) with the expected number of channels, or :class:`DataError`.

    An RGB image whose three channels are equal is a grey image in another form; nothing else is converted.
    """
    found = image.shape[-1]
    if found == channels:
        return image
    if found == 3 and channels == 1 and np.ptp(image, axis=-1).max() == 0:
        return image[..., :1]
    raise DataError(f"{name}: has {found} channel{'s' * (found > 1)}, expected {channels}; convert the image")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file under a temporary name beside ``path``, then give it its name."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        write(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    finally:
        partial.unlink(missing_ok=True)


def hex_to_rgb(colour: str) -> tuple[int, int, int]:
    """``"#rrggbb"`` → three numbers from 0 to 255."""
    value = int(colour.removeprefix("#"), 16)
    return value >> 16, value >> 8 & 255, value & 255


def colourise(mask: NDArray[np.integer[Any]], colours: Sequence[str]) -> NDArray[np.uint8]:
    """Class indices YX → RGB uint8 YXC, with one ``"#rrggbb"`` a class."""
    table = np.array([hex_to_rgb(colour) for colour in colours], dtype=np.uint8)
    coloured: NDArray[np.uint8] = table[mask]
    return coloured


def to_display(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """YXC float → RGB uint8 YXC for the eye: stretched between the 0.5 and 99.8 percentiles of each channel."""
    low, high = np.percentile(image, (0.5, 99.8), axis=(0, 1))
    stretched = np.clip((image - low) / np.maximum(high - low, 1e-12), 0, 1)
    rgb = np.repeat(stretched, 3, axis=-1) if image.shape[-1] == 1 else stretched[..., :3]
    return (rgb * 255).round().astype(np.uint8)
