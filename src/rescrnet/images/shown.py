"""Pixels as every viewer shows them: turned upright, and with white and black the right way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.images.npy import Index
from rescrnet.images.stack import ArrayLike, Axis

_TRANSPOSED = (5, 6, 7, 8)  # orientations by their numbers in EXIF and TIFF: rows become columns first,
_ROWS_REVERSED = (3, 4, 7, 8)  # then rows
_COLUMNS_REVERSED = (2, 3, 6, 7)  # and columns are reversed
_RAMP = 32  # grey entries from which on a palette is one for display; a shorter one may colour classes


class Upright:
    """An array that is turned and mirrored as the orientation of its file asks for; read by region.

    Attributes:
        shape: of the upright array.
        dtype: of its values.
        turned: whether its columns are the rows of the file.
        backwards: whether the first rows of the file come last, or its first columns where it is turned.
    """

    def __init__(self, array: ArrayLike, names: str, orientation: int) -> None:
        self._array, self._orientation = array, orientation
        self.turned = orientation in _TRANSPOSED
        self.backwards = orientation in (_COLUMNS_REVERSED if self.turned else _ROWS_REVERSED)
        self._y, self._x = names.index("y"), names.index("x")
        shape = list(array.shape)
        if orientation in _TRANSPOSED:
            shape[self._y], shape[self._x] = shape[self._x], shape[self._y]
        self.shape, self.dtype = tuple(shape), array.dtype

    def release(self) -> None:
        """Let go of what was decoded."""
        getattr(self._array, "release", lambda: None)()

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region: a slice of step 1 along y and x, one or an integer along other axes."""
        stored = list(index)
        reversed_axes = []
        for axis, orientations in ((self._y, _ROWS_REVERSED), (self._x, _COLUMNS_REVERSED)):
            start, stop, _ = _slice(index[axis]).indices(self.shape[axis])
            if self._orientation in orientations:
                start, stop = self.shape[axis] - stop, self.shape[axis] - start
                reversed_axes.append(axis)
            stored[axis] = slice(start, stop)
        places = [sum(isinstance(i, slice) for i in index[:axis]) for axis in (self._y, self._x)]
        if self._orientation in _TRANSPOSED:
            stored[self._y], stored[self._x] = stored[self._x], stored[self._y]
        block = np.asarray(self._array[tuple(stored)])
        if self._orientation in _TRANSPOSED:
            block = block.swapaxes(*places)
        return np.asarray(np.flip(block, tuple(places[axis == self._x] for axis in reversed_axes)))


class Inverted:
    """An array of which ``top`` is black and 0 white, read the other way round; read by region.

    Attributes:
        shape: as stored.
        dtype: of its values, bool or unsigned.
    """

    def __init__(self, array: ArrayLike, top: int) -> None:
        self._array, self._top = array, top
        self.shape, self.dtype = array.shape, array.dtype

    def release(self) -> None:
        """Let go of what was decoded."""
        getattr(self._array, "release", lambda: None)()

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region, one integer or slice for each axis."""
        block = np.asarray(self._array[index])
        return ~block if block.dtype == bool else np.asarray(block.dtype.type(self._top) - block)


def _slice(index: int | slice) -> slice:
    if not isinstance(index, slice):
        raise ValueError(f"{index} is no slice of rows or columns")
    return index


def upright(array: ArrayLike, axes: Sequence[Axis], orientation: object) -> tuple[ArrayLike, list[Axis]]:
    """An array and its axes as a viewer shows them that heeds the orientation, 1 to 8; another number is none."""
    if orientation not in range(2, 9) or not isinstance(orientation, int):
        return array, list(axes)
    turned = Upright(array, "".join(axis.name for axis in axes), orientation)
    if orientation not in _TRANSPOSED:
        return turned, list(axes)
    named = {axis.name: axis for axis in axes}
    swapped = {"y": named["x"], "x": named["y"]}
    return turned, [
        Axis(axis.name, n, *_step(swapped.get(axis.name, axis))) for axis, n in zip(axes, turned.shape, strict=True)
    ]


def _step(axis: Axis) -> tuple[float | None, float, str | None]:
    return axis.scale, axis.translation, axis.unit


def is_grey(colours: NDArray[np.integer]) -> bool:
    """Whether the entries of a palette, (n, 3), are greys, all of them."""
    return bool((colours == colours[:, :1]).all())


def is_ramp(colours: NDArray[np.integer], step: int) -> bool:
    """Whether a palette, (n, 3), is a ramp of many greys for display, brighter (1) or darker (-1) with every entry."""
    grey = colours[:, 0].astype(np.int64) * step
    grey = grey[: len(grey) - int((grey[::-1] == grey[-1:]).argmin()) + 1] if len(grey) else grey
    return len(grey) >= _RAMP and is_grey(colours) and bool((np.diff(grey) > 0).all())
