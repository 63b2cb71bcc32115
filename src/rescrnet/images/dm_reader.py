"""DM3 and DM4 files of Gatan's DigitalMicrograph: decoded when first read."""

from __future__ import annotations

import contextlib
import functools
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import DataError
from rescrnet.images.extras import library_for
from rescrnet.images.npy import Index
from rescrnet.images.stack import MICROMETRES, UNITS, Axis, Stack, decoding, make_stack

DM_SUFFIXES = (".dm3", ".dm4")
_TYPES = {1: "<i2", 2: "<f4", 6: "u1", 7: "<i4", 9: "i1", 10: "<u2", 11: "<u4", 12: "<f8", 14: "u1"}
_COLOUR = (8, 23)  # types of four bytes: blue, green, red, and one that is not used
_EXPORT = "save a grey or RGB image of it as TIFF in DigitalMicrograph"
_parsing = threading.Lock()  # the library keeps the version of the file that it reads in a variable of its module


class DmFile:
    """The pixels of the image in a DM3 or DM4 file as an array, (Y, X), (Z, Y, X) or (Y, X, C).

    Attributes:
        shape: its extents.
        dtype: of its values.
        axes: with the steps between pixels, where the file has them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        image = self._image()
        self.dtype: np.dtype[Any] = np.dtype("u1" if image["DataType"] in _COLOUR else _TYPES[image["DataType"]])
        with decoding(path, "a DigitalMicrograph image"):
            self.axes = _axes(image)
        self.shape = tuple(axis.length for axis in self.axes)
        self._pixels: NDArray[Any] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open the file themselves, once."""
        return _reopen, (self.path,)

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region, one integer or slice for each axis. Raises :class:`DataError` where the file is damaged."""
        if self._pixels is None:
            image = self._image()
            with decoding(self.path, "a DigitalMicrograph image"):
                values = np.frombuffer(image["Data"], self.dtype)
                if image["DataType"] in _COLOUR:
                    values = values.reshape(*self.shape[:-1], 4)[..., 2::-1]
                self._pixels = values.reshape(self.shape)
        return self._pixels[index]

    def _image(self) -> dict[str, Any]:
        """What the file says of its image, with the pixels."""
        library = library_for(self.path, "a file of DigitalMicrograph", "nionswift_plugin.DM_IO.parse_dm3", "em")
        with decoding(self.path, "a DigitalMicrograph image"), self.path.open("rb") as file, _parsing:
            with contextlib.redirect_stdout(io.StringIO()):  # the library prints what it thinks of damaged files
                tags = library.dm_read_header(file)
            return _main_image(tags, self.path)


def open_dm(path: Path) -> Stack:
    """The planes of a DM3 or DM4 file, or :class:`DataError` where it holds no one image, or its library is missing."""
    array = DmFile(path)
    return make_stack(array, array.axes, path, segment_bytes=array.nbytes, form="DM")


@functools.lru_cache(maxsize=4)
def _reopen(path: Path) -> DmFile:
    return DmFile(path)


def _main_image(tags: dict[str, Any], path: Path) -> dict[str, Any]:
    """The only image beside its thumbnail."""
    listed = list(tags["ImageList"])
    thumbnails = {entry.get("ImageIndex") for entry in tags.get("Thumbnails", ())}
    if not thumbnails and len(listed) > 1 and listed[0]["ImageData"]["DataType"] in _COLOUR:
        thumbnails = {0}
    images = [entry for number, entry in enumerate(listed) if number not in thumbnails]
    if len(images) != 1:
        raise DataError(path, f"holds {len(images)} images", "expected one; save each by itself in DigitalMicrograph")
    image: dict[str, Any] = images[0]["ImageData"]
    meaning = images[0].get("ImageTags", {}).get("Meta Data", {}).get("Format", "")
    if len(image["Dimensions"]) not in (2, 3) or _text(meaning).startswith("Spectrum"):
        raise DataError(path, f"holds data of {len(image['Dimensions'])} dimensions, or spectra", _EXPORT)
    if image["DataType"] not in (*_TYPES, *_COLOUR) or (image["DataType"] in _COLOUR and len(image["Dimensions"]) > 2):
        raise DataError(path, f"holds values of another kind, such as complex ones ({image['DataType']})", _EXPORT)
    return image


def _axes(image: dict[str, Any]) -> list[Axis]:
    """The axes in the order of the array: the file counts them from the fastest."""
    dimensions = image.get("Calibrations", {}).get("Dimension", [])
    steps = [_step(dimension) for dimension in dimensions]
    axes = []
    for place, (name, length) in enumerate(zip("xyz", image["Dimensions"], strict=False)):
        scale, unit = steps[place] if place < len(steps) else (None, None)
        axes.append(Axis("p" if name == "z" and unit is None else name, int(length), scale, 0.0, unit))
    colours = [Axis("c", 3)] if image["DataType"] in _COLOUR else []
    return [*reversed(axes), *colours]


def _step(dimension: dict[str, Any]) -> tuple[float | None, str | None]:
    """The step between pixels and its unit, where that is a length: diffraction patterns have 1/nm."""
    unit = UNITS.get(_text(dimension.get("Units", "")).strip().lower(), "")
    scale = abs(float(dimension.get("Scale", 0)))
    return (scale, unit) if unit in MICROMETRES and scale > 0 and np.isfinite(scale) else (None, None)


def _text(value: Any) -> str:
    """A text, which a file has as an array of 16-bit characters."""
    return value if isinstance(value, str) else bytes(value).decode("utf-16-le", "replace")
