"""An image of any size as planes that are read by region, whatever holds it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import DataError, RescrnetError
from rescrnet.wording import one_line

ResultFormat = Literal["png", "tiff", "ome-zarr"]

MICROMETRES = {  # by the names that OME-Zarr gives units of length
    "angstrom": 1e-4,
    "picometer": 1e-6,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "inch": 25.4e3,
    "meter": 1e6,
}
UNITS = {  # the names of OME-Zarr for units as programs write them, in small letters
    **dict.fromkeys(("å", "angstrom"), "angstrom"),
    **dict.fromkeys(("pm", "picometer"), "picometer"),
    **dict.fromkeys(("nm", "nanometer"), "nanometer"),
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer"), "micrometer"),
    **dict.fromkeys(("mm", "millimeter"), "millimeter"),
    **dict.fromkeys(("cm", "centimeter"), "centimeter"),
    **dict.fromkeys(("inch", "in"), "inch"),
    "m": "meter",
    "s": "second",
    "ms": "millisecond",
    "min": "minute",
    "h": "hour",
}

_COARSEST = 20.0  # micrometres: what looks larger is the resolution of a printer or screen, 1270 dots per inch or less
_LARGEST = 4 << 30  # bytes of pixels in one image
_MOST_PLANES = 1_000_000  # of an image: each is made an object, and more are a lie
_COMPRESSION = 1100  # zlib puts at most 1032 bytes into one
_SLACK = 1 << 24
_BAND = 1 << 22  # bytes that are read at once of what is read whole


class ArrayLike(Protocol):
    """What NumPy, Zarr and Dask arrays have in common: a shape, a type, and regions by integers and slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""

    @property
    def dtype(self) -> Any:
        """Type of the values."""

    def __getitem__(self, index: Any, /) -> Any:
        """A region, one integer or slice for each axis."""


@dataclass(frozen=True)
class Axis:
    """One axis of an image, with the step between its samples.

    ``t``, ``z``, ``p`` (page), ``c`` (channel), ``y``, ``x``, or ``s``, the samples of a pixel where there are channels
    besides.
    """

    name: str
    length: int
    scale: float | None = None
    translation: float = 0.0
    unit: str | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """One plane, read by region.

    Attributes:
        array: holds the plane, and may hold more.
        axes: the axes of ``array``.
        plane: the place of this plane along the axes other than y, x, c and s.
        channels: how many there are, alpha left out.
        segment_bytes: what any read takes beyond its region: the largest piece of the file (tile, strip, chunk),
            decoded. The whole image where the file is compressed in one piece, as PNG, JPEG and some TIFF are.
        sequential: whether a read costs what unpacking all rows above its region does.
        name: what to call it in messages.
        alpha: whether the last of ``array`` along the channels is transparency.
        palette: what the values stand for, where they are the indices of an indexed picture.
    """

    array: ArrayLike
    axes: tuple[Axis, ...]
    plane: tuple[int, ...]
    channels: int
    segment_bytes: int
    name: str
    alpha: bool = False
    palette: Any = None
    sequential: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels."""
        lengths = {axis.name: axis.length for axis in self.axes}
        return lengths["y"], lengths["x"], self.channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values: bool, integers or floats."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype.newbyteorder("=")

    def release(self) -> None:
        """Let go of what was decoded and kept for the next read."""
        getattr(self.array, "release", lambda: None)()

    def bands(self) -> Iterator[tuple[int, int, int, int]]:
        """Regions (y0, y1, x0, x1) that are all of the plane, in the order in which the file has them.

        Read so, a ``sequential`` file is unpacked once. They are rows from side to side, or columns from top to bottom
        where the picture lies on its side in the file; each of some megabytes.
        """
        rows, columns, channels = self.shape
        turned = getattr(self.array, "turned", False)
        length, across = (columns, rows) if turned else (rows, columns)
        step = max(1, _BAND // (across * channels * self.dtype.itemsize))
        ends = [(start, min(length, start + step)) for start in range(0, length, step)]
        for start, end in reversed(ends) if getattr(self.array, "backwards", False) else ends:
            yield (0, rows, start, end) if turned else (start, end, 0, columns)

    def read(self, y0: int, y1: int, x0: int, x1: int, *, alpha: bool = False) -> NDArray[Any]:
        """Rows ``y0`` to ``y1`` and columns ``x0`` to ``x1``, ends left out: (y, x, channels), values as stored.

        With ``alpha`` the transparency is the last channel, where there is one. Raises :class:`DataError` where that
        part of the file is damaged.
        """
        rows, columns, _ = self.shape
        if not (0 <= y0 < y1 <= rows and 0 <= x0 < x1 <= columns):
            raise ValueError(f"region {y0}:{y1}, {x0}:{x1} does not lie within {rows}×{columns}")
        places = iter(self.plane)
        within = {"y": slice(y0, y1), "x": slice(x0, x1), "c": slice(None), "s": slice(None)}
        index = tuple(within[axis.name] if axis.name in within else next(places) for axis in self.axes)
        block = np.asarray(self.array[index])
        kept = [axis.name for axis in self.axes if axis.name in within]
        block = block.transpose([kept.index(name) for name in "yxcs" if name in kept])
        block = block.reshape(*block.shape[:2], -1)
        return block if alpha else block[..., : self.channels]


class Plane(NamedTuple):
    """One plane of a stack: its place in words (``t01_z003``; empty where there is only one), and its pixels."""

    name: str
    source: Source


@dataclass(frozen=True, eq=False)
class Stack(Sequence[Plane]):
    """The planes of an image, in the order of its axes.

    Attributes:
        axes: all axes of the image.
        planes: one for each place along the axes other than y, x, c and s.
        path: the file or folder, or none for an array in memory.
        kind: how results are written if nothing else is asked for.
        levels: of its pyramid.
        zarr_format: 2 (OME-Zarr to 0.4) or 3 (0.5) where it is an OME-Zarr.
        form: what the file is by its content: ``TIFF``, ``PNG``, ``JPEG``, ``BMP``, ``NumPy``, ``Zarr``; nothing for an
            array in memory.
        separate: whether its channels are images of their own, not the samples of a colour.
        page_names: what ImageJ calls the pages, where it does.
        white_is_zero: whether small values were stored for bright pixels, and are read the other way round.
        software: that wrote the file, where a TIFF says.
    """

    axes: tuple[Axis, ...]
    planes: tuple[Plane, ...]
    path: Path | None = None
    kind: ResultFormat = "png"
    levels: int = 1
    zarr_format: Literal[2, 3] | None = None
    form: str = ""
    separate: bool = False
    page_names: tuple[str, ...] = ()
    white_is_zero: bool = False
    software: str = ""

    @property
    def plane_axes(self) -> tuple[Axis, ...]:
        """The axes that the planes are places along."""
        return tuple(axis for axis in self.axes if axis.name not in ("y", "x", "c", "s"))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.planes[0].source.shape[:2]

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Micrometres a pixel, down and across, or none where the file does not say."""
        return pixel_size(self.axes)

    def __len__(self) -> int:
        return len(self.planes)

    @overload
    def __getitem__(self, index: int) -> Plane: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Plane]: ...
    def __getitem__(self, index: int | slice) -> Plane | Sequence[Plane]:
        """One plane or several."""
        return self.planes[index]

    def __iter__(self) -> Iterator[Plane]:
        return iter(self.planes)


def pixel_size(axes: Sequence[Axis]) -> tuple[float, float] | None:
    """Micrometres a pixel along y and x, or none."""
    lengths = [
        axis.scale * MICROMETRES[axis.unit]
        for name in "yx"
        for axis in axes
        if axis.name == name and axis.scale and axis.unit in MICROMETRES
    ]
    return (lengths[0], lengths[1]) if len(lengths) == 2 else None


def make_stack(
    array: ArrayLike,
    axes: Sequence[Axis],
    name: str | Path,
    *,
    alpha: bool = False,
    segment_bytes: int = 0,
    sequential: bool = False,
    palette: Any = None,
    form: str = "",
) -> Stack:
    """The planes of ``array``. Raises :class:`DataError` where it cannot be an image.

    Args:
        array: any array-like.
        axes: its axes, in order.
        name: what to call it in messages; its path where it is a file.
        alpha: its last channel is transparency, and left out.
        segment_bytes: the size of a piece of the file, decoded.
        sequential: a read costs what unpacking all rows above its region does.
        palette: what its values stand for.
        form: see :class:`Stack`.
    """
    names = "".join(axis.name for axis in axes)
    if 0 in array.shape:
        raise DataError(name, f"holds an array of shape {array.shape}", "expected an image with at least one pixel")
    if np.dtype(array.dtype).kind not in "buif":
        raise DataError(name, f"holds {array.dtype} values", "expected integers or floats; convert it")
    if len(set(names)) < len(names) or set("yx") - set(names) or set(names) - set("tzpcsyx"):
        raise DataError(
            name,
            f"has axes {','.join(names)}",
            "expected y and x, and besides at most c (channels), z, t, p (pages)",
        )
    axes = tuple(replace(axis, length=n) for axis, n in zip(axes, array.shape, strict=True))
    lengths = {axis.name: axis.length for axis in axes}
    source = Source(
        array=array,
        axes=axes,
        plane=(),
        channels=lengths.get("c", 1) * lengths.get("s", 1) - alpha,
        segment_bytes=segment_bytes,
        sequential=sequential,
        name=str(name),
        alpha=alpha,
        palette=palette,
    )
    outer = [axis for axis in axes if axis.name not in "yxcs"]
    if (count := math.prod(axis.length for axis in outer)) > _MOST_PLANES:
        raise DataError(name, f"claims to hold {count:,} planes", f"expected at most {_MOST_PLANES:,}; is it damaged?")
    planes = [
        Plane(_plane_name(outer, place), replace(source, plane=place, name=_full_name(str(name), outer, place)))
        for place in itertools.product(*(range(axis.length) for axis in outer))
    ]
    return Stack(axes, tuple(planes), name if isinstance(name, Path) else None, form=form)


def _plane_name(axes: Sequence[Axis], place: tuple[int, ...]) -> str:
    if math.prod(axis.length for axis in axes) == 1:
        return ""
    parts = [
        f"{axis.name}{i:0{len(str(axis.length - 1))}}" for axis, i in zip(axes, place, strict=True) if axis.length > 1
    ]
    return "_".join(parts)


def _full_name(name: str, axes: Sequence[Axis], place: tuple[int, ...]) -> str:
    plane = _plane_name(axes, place)
    return f"{name} ({plane})" if plane else name


def default_axes(shape: Sequence[int], name: str) -> str:
    """The axes of an array that does not name them: rows and columns, channels (1 or 3) after them, pages before.

    Raises :class:`DataError` where that leaves axes over.
    """
    inner = "yxc" if len(shape) > 2 and shape[-1] in (1, 3) else "yx"
    if len(inner) <= len(shape) <= len(inner) + 1:
        return "p" * (len(shape) - len(inner)) + inner
    raise DataError(
        name,
        f"holds an array of shape {tuple(shape)} and does not say which axis is which",
        "expected rows and columns, channels (1 or 3) after them, pages before them",
    )


@contextmanager
def decoding(path: Path, what: str = "an image") -> Iterator[None]:
    """Turn whatever a decoder raises about a file into one :class:`DataError`."""
    try:
        yield
    except (RescrnetError, MemoryError):
        raise
    except FileNotFoundError:
        raise DataError(path, "no such file", "expected an image") from None
    except PermissionError:
        raise DataError(path, "no permission to read it", "correct its permissions") from None
    except Exception as error:  # decoders raise whatever they like on damaged files
        found = f"cannot be read as {what}, is it damaged or cut short? ({one_line(error)})"
        raise DataError(path, found, "copy it again, or export it anew") from None


def refuse_bomb(path: Path, nbytes: int) -> None:
    """Refuse a header that claims more bytes than compression can put into the file, or than are sensible."""
    stored = path.stat().st_size
    if nbytes > _LARGEST or nbytes > _COMPRESSION * stored + _SLACK:
        raise DataError(
            path,
            f"claims to hold {nbytes:,} bytes of pixels in a file of {stored:,}",
            f"expected at most {_LARGEST:,}; is it damaged? cut a large image into pieces",
        )


def believable_step(down: float, across: float) -> tuple[float, float] | None:
    """The step between pixels in micrometres, unless it is so coarse that it is the resolution of a printer."""
    return (down, across) if 0 < down < _COARSEST and 0 < across < _COARSEST else None
