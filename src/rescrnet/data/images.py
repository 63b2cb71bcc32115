"""Image files: from disk to arrays, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from rescrnet.errors import DataError, OutputError

_PRINT_COLOURS = (tifffile.PHOTOMETRIC.SEPARATED, tifffile.PHOTOMETRIC.CIELAB, tifffile.PHOTOMETRIC.ICCLAB)
SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")


def list_images(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, sorted by name; hidden files are left out."""
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """The files by stem. Raises :class:`DataError` naming two files of one stem."""
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise DataError(f"{found[file.stem]} and {file}: two files of one stem; remove or rename one")
        found[file.stem] = file
    return found


def read(path: Path, *, palette: bool = False) -> NDArray[Any]:
    """Read a file as it is: YX, or YXC with 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels; bool, integer or float.

    Palette images give their indices, or with ``palette`` their colours; those of a TIFF are mere display, and its
    indices the intensities. Raises :class:`DataError` where the file is not one readable 2-D image.
    """
    try:
        array = _read_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else _read_other(path, palette)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except PermissionError:
        raise DataError(f"{path}: no permission to read it") from None
    except Exception as error:  # decoders raise whatever they like on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as an image, is it damaged or cut short? ({reason})") from None
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (2, 3, 4)) or 0 in array.shape:
        raise DataError(f"{path}: holds an array of shape {array.shape}; expected one image, grey or RGB; convert it")
    if array.dtype.kind not in "buif":
        raise DataError(f"{path}: holds {array.dtype} values; expected integers or floats; convert it")
    return array


def _read_tiff(path: Path) -> NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        photometric = tifffile.PHOTOMETRIC(series.keyframe.photometric)
        if photometric in _PRINT_COLOURS:
            raise DataError(f"{path}: is stored as {photometric.name}; expected grey or RGB; convert it")
        array = np.asarray(series.asarray())
        axes = series.axes
    pages = array.size // max(1, int(np.prod([n for n, a in zip(array.shape, axes, strict=True) if a in "YXSC"])))
    if pages > 1:
        raise DataError(f"{path}: holds {pages} pages (axes {axes}); expected one image; save each page by itself")
    array = array.reshape([n for n, a in zip(array.shape, axes, strict=True) if a in "YXSC"])
    kept = [a for a in axes if a in "YXSC"]
    if "C" in kept and array.ndim == 3 and (channels := array.shape[kept.index("C")]) in (2, 4):
        # Only samples (axis S) can be alpha; a separate channel must not be dropped in silence.
        raise DataError(f"{path}: holds {channels} separate channels; expected one (grey) or three (RGB); convert it")
    if kept[:1] in (["C"], ["S"]) and array.ndim == 3:
        array = np.moveaxis(array, 0, -1)
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def _read_other(path: Path, palette: bool) -> NDArray[Any]:
    with path.open("rb") as file:
        head = file.read(25)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[24:] == b"\x10":
        return np.asarray(imagecodecs.png_decode(path.read_bytes()))  # 16 bits, of which Pillow makes 8 or 32
    with Image.open(path) as image:
        image.load()
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
            raise DataError(f"{path}: is stored as {image.mode}; expected grey or RGB; convert it")
        return np.asarray(image.convert("RGB") if palette and image.mode == "P" else image)


def read_image(path: Path) -> NDArray[np.float32]:
    """Read an image as YXC float32, integers divided by the largest value of their type; alpha is left out.

    Raises :class:`DataError` where it cannot be read, holds NaN or infinite values, or is constant.
    """
    array = read(path, palette=True)
    scaled = to_unit(array)
    if not np.isfinite(scaled).all():
        count = int((~np.isfinite(scaled)).sum())
        raise DataError(f"{path}: {count} values are NaN or infinite; expected finite intensities; mend or remove it")
    if scaled.min() == scaled.max():
        raise DataError(f"{path}: every pixel has the same value, {array.flat[0]}; expected an image; remove it")
    return scaled


def to_unit(array: NDArray[Any]) -> NDArray[np.float32]:
    """YX or YXC of any type → YXC float32: integers by the largest value of their type, floats as they are.

    A second or fourth channel is alpha and is left out.
    """
    return scale_to_unit(without_alpha(array if array.ndim == 3 else array[..., None]))


def without_alpha(array: NDArray[Any]) -> NDArray[Any]:
    """YX or YXC without a second or fourth channel."""
    return array[..., :-1] if array.ndim == 3 and array.shape[-1] in (2, 4) else array


def scale_to_unit(array: NDArray[Any]) -> NDArray[np.float32]:
    """Integers divided by the largest value of their type, floats as they are: float32, the same shape."""
    scale = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1
    return np.ascontiguousarray(array, dtype=np.float32) / np.float32(scale)


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
