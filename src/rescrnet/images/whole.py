"""An image of a dataset: where it lies, and all of it read at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.annotations.read import annotated, form_of
from rescrnet.annotations.shapes import draw, listed
from rescrnet.errors import DataError
from rescrnet.images.channels import open_channels
from rescrnet.images.open import open_image
from rescrnet.images.picture import Palette
from rescrnet.images.stack import Plane, Stack, pixel_size, refuse_bomb
from rescrnet.intensity import normalise_image


@dataclass(frozen=True)
class Page:
    """One plane of an image that has several, 0 the first, or none for the only one.

    ``axes`` are declared, for a file that does not say its own.
    """

    path: Path
    index: int | None
    axes: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.index is None else f"{self.path} (page {self.index + 1})"


@dataclass(frozen=True)
class Channels:
    """An image whose channels are files of their own, in the order of the channels."""

    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.files[0]} (and {len(self.files) - 1} more channels)"


@dataclass(frozen=True)
class Objects:
    """A mask whose objects are files of their own, each binary: numbered from 1 in their order, or all of them 1."""

    files: tuple[Path, ...]
    numbered: bool = False

    def __str__(self) -> str:
        more = f" (and {len(self.files) - 1} more objects)" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"


@dataclass(frozen=True)
class Outlines:
    """A mask whose objects are outlined in a file of annotations: numbered from 1 in their order, or by their classes.

    Attributes:
        path: the file.
        image: that they lie on.
        name: of the image, where the file is of many.
        numbered: whether the objects are numbered.
    """

    path: Path
    image: Path | Page | Channels
    name: str = ""
    numbered: bool = False

    def __str__(self) -> str:
        return f"{self.path} ({self.name})" if self.name else str(self.path)


Origin = Path | Page | Channels | Objects | Outlines
"""Where an image or a mask lies: the only plane of a file, one of several, a file for each channel or object, or
outlines in a file."""


def files_of(origin: Origin) -> tuple[Path, ...]:
    """The files that an image is read from."""
    if isinstance(origin, Channels | Objects):
        return origin.files
    return (origin.path if isinstance(origin, Page | Outlines) else origin,)


@dataclass(frozen=True, eq=False)
class Pixels:
    """All of an image as it is stored.

    Attributes:
        values: YX, or YXC with alpha last; bool, integer or float.
        alpha: whether the last channel is transparency.
        separate: whether the channels are images of their own, not the samples of a colour.
        palette: what the values stand for, where they are indices.
        form: what the file is by its content: ``PNG``, ``TIFF``, …
        pixel_size: height and width of a pixel in micrometres, where the file says.
        white_is_zero: whether small values were stored for bright pixels, and were read the other way round.
        software: that wrote the file, where a TIFF says.
        outlined: the classes that the values 1, 2, … stand for, where the file holds outlines.
        passed_over: what of such a file is in no class: ``2 points``.
    """

    values: NDArray[Any]
    alpha: bool
    separate: bool
    palette: Palette | None
    form: str
    pixel_size: tuple[float, float] | None
    white_is_zero: bool = False
    software: str = ""
    outlined: tuple[str, ...] | None = None
    passed_over: str = ""

    @property
    def colours(self) -> NDArray[Any]:
        """YXC without alpha."""
        values = self.values if self.values.ndim == 3 else self.values[..., None]
        return values[..., :-1] if self.alpha else values


def open_origin(origin: Origin, *, indices: bool = False) -> tuple[Stack, Plane]:
    """The image that holds a plane, and the plane. Raises :class:`DataError` where it is not one readable image."""
    if isinstance(origin, Objects | Outlines):
        raise DataError(origin, "holds objects", "expected one image")
    if isinstance(origin, Channels):
        stack = open_channels(origin.files)
        return stack, stack[0]
    path, index, said = (origin.path, origin.index, origin.axes) if isinstance(origin, Page) else (origin, None, "")
    if index is None:
        stack = open_image(path, indices=indices, axes=said)
    else:
        stack = _open_again(path, *_version(path), indices, said)
    if index is None and len(stack) > 1:
        axes = "".join(axis.name.upper() for axis in stack.axes)
        raise DataError(path, f"holds {len(stack)} pages (axes {axes})", "expected one image; save each page by itself")
    if index is not None and index >= len(stack):
        raise DataError(path, f"has no page {index + 1}, only {len(stack)}", "copy it again")
    return stack, stack[index or 0]


@lru_cache(maxsize=4)  # the pages of a stack are asked for one by one, and a long stack takes a while to open
def _open_again(path: Path, changed: int, length: int, indices: bool, axes: str) -> Stack:
    return open_image(path, indices=indices, axes=axes)


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # open_image says why
        return 0, 0
    return status.st_mtime_ns, status.st_size


def read_pixels(origin: Origin, *, indices: bool = False) -> Pixels:
    """Read an image as it is stored.

    Args:
        origin: where it lies.
        indices: of an indexed PNG or BMP give the indices, as for a mask, not the colours. Those of a TIFF are always
            given: its palette is mere display.

    Raises:
        DataError: it is not one readable 2-D image, or claims to be larger than is sensible.
    """
    if isinstance(origin, Objects):
        return _read_objects(origin)
    if isinstance(origin, Outlines):
        return _read_outlines(origin)
    stack, (_, source) = open_origin(origin, indices=indices)
    height, width, channels = source.shape
    nbytes = height * width * (channels + source.alpha) * source.dtype.itemsize
    if stack.path is not None and stack.path.is_file():
        refuse_bomb(stack.path, nbytes)
    values = source.read(0, height, 0, width, alpha=True)
    values = values[..., 0] if values.shape[-1] == 1 else values
    return Pixels(
        np.ascontiguousarray(values),
        source.alpha,
        stack.separate,
        source.palette,
        stack.form,
        pixel_size(stack.axes),
        stack.white_is_zero,
        stack.software,
    )


def _read_objects(origin: Objects) -> Pixels:
    """The objects as one mask, YX; a pixel of two objects is of the later one."""
    numbers: NDArray[Any] | None = None
    for number, file in enumerate(origin.files, start=1):
        pixels = read_pixels(file, indices=True)
        values = pixels.colours.max(-1)
        if numbers is None:
            numbers = np.zeros(values.shape, np.uint16)
        if values.shape != numbers.shape:
            found = f"is {values.shape[1]} × {values.shape[0]} but {origin.files[0]} is {numbers.shape[1]} × "
            raise DataError(file, f"{found}{numbers.shape[0]}", "the objects of an image must have one size")
        numbers[values > values.max() // 2] = number
    if numbers is None:
        raise ValueError("there is no object")
    merged = numbers if origin.numbered else (numbers > 0).astype(np.uint8)
    return Pixels(merged, False, False, None, pixels.form, pixels.pixel_size)


def _read_outlines(origin: Outlines) -> Pixels:
    """The outlines drawn on the size of their image, YX; -1 where nothing is labelled."""
    found = annotated(origin.path, origin.name)
    _, (_, source) = open_origin(origin.image)
    image = files_of(origin.image)[0]
    another = image.with_name(found.image or image.name)
    if another.stem != image.stem and not origin.name and another.is_file():
        raise DataError(origin, f"was drawn on {another.name}, but is named after {image.name}", "rename it")
    values = draw(found, (source.shape[0], source.shape[1]), origin, numbered=origin.numbered)
    names = None if origin.numbered else found.names
    return Pixels(
        values, False, False, None, form_of(origin.path), None, outlined=names, passed_over=listed(found.passed_over)
    )


def read_image(origin: Origin) -> NDArray[np.float32]:
    """Read an image as YXC float32, integers divided by the largest value of their type; alpha is left out.

    Raises :class:`DataError` where it cannot be read.
    """
    return normalise_image(read_pixels(origin).colours, alpha=False)
