"""Mask files: from disk to whole numbers, and to where they say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import DataError
from rescrnet.images.picture import Palette
from rescrnet.images.whole import Origin, Pixels, read_pixels
from rescrnet.masks.edges import Mixtures

_UNLABELLED = -1  # as other programs write it
STRAYS = 1e-2  # more than this share of pixels that make no sense is refused


@dataclass(frozen=True, eq=False)
class Labels:
    """A mask as it is stored.

    Attributes:
        values: bool or integers from 0, YX or YXC; alpha is left out.
        unlabelled: YX bool, the pixels that are transparent or NaN, whose values mean nothing; none where all are
            labelled.
        palette: what the values stand for, where they are indices.
        separate: whether the channels are masks of their own, not the samples of a colour.
        names: the classes that the values 1, 2, … stand for, where the mask was outlined.
    """

    values: NDArray[Any]
    unlabelled: NDArray[np.bool_] | None = None
    palette: Palette | None = None
    separate: bool = False
    names: tuple[str, ...] | None = None

    @property
    def colours(self) -> NDArray[Any]:
        """The values, or what those of an indexed image stand for: YXC."""
        return self.values if self.palette is None else self.palette.colours[self.values]

    @property
    def layers(self) -> int:
        """How many binary masks this may hold as channels that are no colours; 1 for a mask of its own."""
        if self.values.ndim == 2 or _is_grey(self.values):
            return 1
        if self.values.shape[-1] == 3 and self.values.max() != 1 and not self.separate:
            return 1
        return int(self.values.shape[-1])


def labels_of(pixels: Pixels, origin: Origin) -> Labels:
    """A mask from its pixels, palette images as their indices.

    Pixels that are NaN, -1 or at least half transparent are unlabelled. Raises :class:`DataError` for fractions, other
    negative values, colours of more than 8 bits, and a mask that is mostly half transparent.
    """
    array, unlabelled = pixels.values, np.zeros(pixels.values.shape[:2], bool)
    if array.dtype.kind == "f":
        array, unlabelled = _whole_numbers(origin, array)
    if pixels.alpha:
        unlabelled |= _transparent(origin, array[..., -1])
        array = array[..., 0] if array.shape[-1] == 2 else array[..., :-1]
    elif pixels.palette and pixels.palette.clear:
        unlabelled |= np.isin(array, pixels.palette.clear)
    deep = array.dtype.kind in "iu" and array.dtype.itemsize > 1
    if array.ndim == 3 and array.shape[-1] == 3 and deep and not _is_grey(array):
        raise DataError(origin, f"is a colour mask of {array.dtype}", "expected 8 bits a channel; convert it")
    if array.dtype.kind == "i" and array.ndim == 2 and int(array.min()) == _UNLABELLED:
        unlabelled |= array == _UNLABELLED
        array = np.maximum(array, 0)
    if array.dtype.kind == "i" and int(array.min()) < 0:
        raise DataError(origin, "the mask holds negative values", "expected whole numbers from 0; renumber them")
    unlabelled_or_none = unlabelled if unlabelled.any() else None
    return Labels(_narrowed(array), unlabelled_or_none, pixels.palette, pixels.separate, pixels.outlined)


def _is_grey(array: NDArray[Any]) -> bool:
    """Whether three channels are equal, as where a grey mask was saved as RGB."""
    return array.shape[-1] == 3 and bool((array == array[..., :1]).all())


def read_labels(origin: Origin) -> Labels:
    """Read a mask file; see :func:`labels_of`."""
    return labels_of(read_pixels(origin, indices=True), origin)


def _narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """The values in the smallest unsigned type that holds them, so that what is kept in memory is small."""
    if array.dtype == bool or array.dtype.itemsize == 1:
        return array
    return array.astype(np.min_scalar_type(int(array.max())))


def _whole_numbers(origin: Origin, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    missing = np.isnan(array)
    array = np.where(missing, 0, array)
    if not np.isfinite(array).all() or (array != np.round(array)).any():
        raise DataError(origin, "the mask holds fractions", "expected whole numbers, one for each class; round them")
    unlabelled = missing if missing.ndim == 2 else missing.any(-1)
    return array.astype(np.int64), unlabelled


def _transparent(origin: Origin, alpha: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a mask is transparent; the soft edges of a brush are cut at half."""
    top = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    partly = int(((alpha > 0) & (alpha < top)).sum())
    if partly and partly >= int((alpha == top).sum()):
        raise DataError(
            origin,
            f"{partly} pixels of the mask are partly transparent",
            "expected opaque pixels where it is labelled and transparent ones elsewhere; save it without alpha channel",
        )
    return np.asarray(alpha <= top // 2)


def as_binary(origin: Origin, labels: Labels) -> Labels:
    """A binary mask, its antialiased edges cut at half; raises :class:`DataError` where it is not one."""
    array = labels.values
    if array.ndim == 3:
        array = array.max(-1)
    if array.dtype == bool:
        return Labels(array, labels.unlabelled)
    top = int(array.max())
    inside = (array > 0) & (array < top)
    if labels.unlabelled is not None:
        inside &= ~labels.unlabelled
    between = int(inside.sum())
    soft = Mixtures.of(array.astype(np.int64), (0, top), lambda codes: codes[..., None])
    if between > STRAYS * array.size and not soft.are_edges:
        raise DataError(origin, f"{between} pixels lie between 0 and {top}", "expected a binary mask; threshold it")
    return Labels(array > top // 2, labels.unlabelled)
