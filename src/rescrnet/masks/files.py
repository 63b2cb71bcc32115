"""Mask files: from disk to whole numbers, and to where they say nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from rescrnet.errors import DataError
from rescrnet.images.origins import Origin, Page, count_pages
from rescrnet.images.whole import read, read_with_alpha
from rescrnet.masks.edges import are_edges

STRAYS = 1e-2  # more than this share of pixels that make no sense is refused


@dataclass(frozen=True)
class Labels:
    """A mask as it is stored.

    Attributes:
        values: bool or integers from 0, YX or YXC; alpha is left out.
        unlabelled: YX bool, the pixels that are transparent or NaN; their values mean nothing.
    """

    values: NDArray[Any]
    unlabelled: NDArray[np.bool_]


def read_labels(origin: Origin, *, palette: bool = False) -> Labels:
    """Read a mask, palette images as their indices, or with ``palette`` as their colours.

    Pixels that are NaN or at least half transparent are unlabelled. Raises :class:`DataError` for fractions, negative
    values, colours of more than 8 bits, and a mask that is mostly half transparent.
    """
    array, alpha = read_with_alpha(origin, palette=palette)
    unlabelled = np.zeros(array.shape[:2], bool)
    if array.dtype.kind == "f":
        array, unlabelled = _whole_numbers(origin, array)
    if alpha:
        unlabelled |= _transparent(origin, array[..., -1])
        array = array[..., 0] if array.shape[-1] == 2 else array[..., :-1]
    elif clear := clear_indices(origin):
        unlabelled |= np.isin(read(origin), clear)
    if array.ndim == 3 and array.shape[-1] == 3 and array.dtype.kind in "iu" and array.dtype.itemsize > 1:
        raise DataError(f"{origin}: is a colour mask of {array.dtype}; expected 8 bits a channel; convert it")
    if array.dtype != bool and int(array.min()) < 0:
        raise DataError(f"{origin}: the mask holds negative values; expected whole numbers from 0; renumber them")
    return Labels(array, unlabelled)


def _whole_numbers(origin: Origin, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    missing = np.isnan(array)
    array = np.where(missing, 0, array)
    if not np.isfinite(array).all() or (array != np.round(array)).any():
        raise DataError(f"{origin}: the mask holds fractions; expected whole numbers, one for each class; round them")
    unlabelled = missing if missing.ndim == 2 else missing.any(-1)
    return array.astype(np.int64), unlabelled


def _transparent(origin: Origin, alpha: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a mask is transparent; the soft edges of a brush are cut at half."""
    top = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    partly = int(((alpha > 0) & (alpha < top)).sum())
    if partly and partly >= int((alpha == top).sum()):
        raise DataError(
            f"{origin}: {partly} pixels of the mask are partly transparent; expected opaque pixels where it is "
            "labelled and transparent ones elsewhere; save it without alpha channel"
        )
    return np.asarray(alpha <= top // 2)


def palette_of(origin: Origin) -> NDArray[np.uint8] | None:
    """The colours of an indexed PNG or BMP, (entries, 3); none for other files."""
    palette = _palette(origin)[0]
    return None if palette is None else np.array(palette, np.uint8).reshape(-1, 3)


def clear_indices(origin: Origin) -> list[int]:
    """The palette indices of an indexed PNG that are at least half transparent."""
    given = _palette(origin)[1]
    if given is None:
        return []
    return [given] if isinstance(given, int) else [index for index, alpha in enumerate(given) if alpha <= 127]


def _palette(origin: Origin) -> tuple[list[int] | None, int | bytes | None]:
    """The colours in a palette and what it says of transparency; nothing where there is no readable palette."""
    if not isinstance(origin, Path) or origin.suffix.lower() not in (".png", ".bmp"):
        return None, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(origin) as image:
                if image.mode != "P":
                    return None, None
                return image.getpalette(), image.info.get("transparency")
    except Exception:  # the reader of the pixels says what is wrong with it
        return None, None


def count_layers(origin: Origin, values: NDArray[Any] | None = None) -> int:
    """The binary masks in one file: pages of a TIFF stack, or channels that are no colours."""
    pages = count_pages(origin) if isinstance(origin, Path) else 1
    if pages > 1 or values is None:
        return pages
    if values.ndim == 2 or (values.shape[-1] == 3 and values.max() != 1 and not _has_channels(origin)):
        return 1
    return int(values.shape[-1])


def _has_channels(origin: Origin) -> bool:
    """Whether a TIFF has channels by themselves, not the three samples of a colour."""
    if not isinstance(origin, Path) or origin.suffix.lower() not in (".tif", ".tiff"):
        return False
    with tifffile.TiffFile(origin) as file:  # whoever read the pixels has found it sound
        return "C" in file.series[0].axes


def read_layers(origin: Origin, count: int) -> list[Labels]:
    """The binary masks in one file, which holds ``count`` of them as pages or channels."""
    if isinstance(origin, Path) and (pages := count_pages(origin)) > 1:
        found = [read_labels(Page(origin, index)) for index in range(pages)]
    else:
        labels = read_labels(origin)
        values = labels.values if labels.values.ndim == 3 else labels.values[..., None]
        found = [Labels(values[..., place], labels.unlabelled) for place in range(values.shape[-1])]
    if len(found) != count:
        raise DataError(
            f"{origin}: holds {len(found)} binary mask{'s' * (len(found) > 1)} but the other files {count}; "
            "expected one page or channel for each class in every file; add what is missing"
        )
    return found


def layer_names(origins: Sequence[Origin], count: int) -> tuple[str, ...]:
    """The names that ImageJ keeps of the pages of a stack, where all files agree; numbers otherwise."""
    numbered = tuple(f"layer {place + 1}" for place in range(count))
    found = {_slice_labels(origin) for origin in origins}
    names = found.pop() if len(found) == 1 else ()
    return names if len(set(names)) == count and all(names) else numbered


def _slice_labels(origin: Origin) -> tuple[str, ...]:
    if not isinstance(origin, Path) or origin.suffix.lower() not in (".tif", ".tiff"):
        return ()
    try:
        with tifffile.TiffFile(origin) as file:
            labels = (file.imagej_metadata or {}).get("Labels", ())
    except Exception:  # the reader of the pixels says what is wrong with it
        return ()
    return tuple(str(label).strip() for label in labels)


def as_binary(origin: Origin, labels: Labels) -> Labels:
    """A binary mask, its antialiased edges cut at half; raises :class:`DataError` where it is not one."""
    array = labels.values
    if array.ndim == 3:
        array = array.max(-1)
    if array.dtype == bool:
        return Labels(array, labels.unlabelled)
    top = int(array.max())
    between = int(((array > 0) & (array < top) & ~labels.unlabelled).sum())
    if between > STRAYS * array.size and not are_edges(array.astype(np.int64), (0, top), lambda codes: codes[:, None]):
        raise DataError(f"{origin}: {between} pixels lie between 0 and {top}; expected a binary mask; threshold it")
    return Labels(array > top // 2, labels.unlabelled)
