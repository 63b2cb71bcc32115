"""Results as tiled, compressed OME-TIFF with pixel size, class names and a pyramid."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import tifffile
from numpy.typing import NDArray

from rescrnet.classes import ClassEntry
from rescrnet.display import hex_to_rgb
from rescrnet.images.npy import RawArray
from rescrnet.images.stack import MICROMETRES, Axis, pixel_size
from rescrnet.wording import printable

_TILE = 512
_CLASSIC = 2**31  # bytes: what may become longer is written as BigTIFF
_FINEST, _COARSEST = 1e-5, 1e7  # micrometres: what the fractions of a TIFF can say
_SECONDS = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0}


def write_tiff(path: Path, levels: Sequence[RawArray], axes: Sequence[Axis], classes: Sequence[ClassEntry]) -> None:
    """Write classes (planes, Y, X) uint8, shown in their colours, numbers of objects (planes, Y, X) uint16 or uint32,
    or probabilities (planes, C, Y, X) float32.

    Args:
        path: the new file.
        levels: the result and its smaller levels; these become SubIFDs.
        axes: the axes of the planes, then y and x.
        classes: in the order of their indices; none for objects.
    """
    base = levels[0]
    outer = [axis for axis in axes if axis.name not in "yx"]
    probabilities = base.dtype.kind == "f"
    size = pixel_size(axes)
    size = size if size and min(size) > _FINEST and max(size) < _COARSEST else None
    options: dict[str, Any] = {
        "photometric": "palette" if base.dtype == np.uint8 else "minisblack",
        "compression": "zlib",
        "maxworkers": min(8, os.cpu_count() or 1),
        "buffersize": 2**22,  # tiles that wait for a worker, bytes; by default 256 MB
        "resolutionunit": "CENTIMETER" if size else "NONE",
        "dtype": base.dtype,
    }
    if base.dtype == np.uint8:
        options["colormap"] = _colour_map(classes)
    letters = "".join(axis.name for axis in outer).upper() + ("CYX" if probabilities else "YX")
    metadata = {"UUID": str(_identity(base)), **_metadata(letters, outer, size, classes, probabilities)}
    first, reduced = {"subifds": len(levels) - 1, "metadata": metadata}, {"subfiletype": 1, "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=2 * _bytes(levels) > _CLASSIC, ome=True) as file:
        for number, level in enumerate(levels):
            tile = tuple(min(_TILE, -(-n // 16) * 16) for n in level.shape[-2:])
            file.write(
                _tiles(level, tile),
                shape=(*(axis.length for axis in outer), *level.shape[1:]),
                tile=tile,
                resolution=tuple(1e4 / (s * 2**number) for s in size[::-1]) if size else (1, 1),
                **options,
                **(reduced if number else first),
            )


def _identity(base: RawArray) -> UUID:
    """The name that OME gives every file, made from its content: the same result makes the same bytes."""
    digest = hashlib.sha256()
    for tile in _tiles(base, (_TILE, _TILE)):
        digest.update(tile.tobytes())
    return UUID(bytes=digest.digest()[:16], version=5)


def _tiles(level: RawArray, tile: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """All tiles in the order of the file, read one at a time."""
    rows, columns = level.shape[-2:]
    for place in np.ndindex(*level.shape[:-2]):
        for y in range(0, rows, tile[0]):
            for x in range(0, columns, tile[1]):
                yield level[(*place, slice(y, min(y + tile[0], rows)), slice(x, min(x + tile[1], columns)))]


def _metadata(
    axes: str,
    outer: Sequence[Axis],
    size: tuple[float, float] | None,
    classes: Sequence[ClassEntry],
    probabilities: bool,
) -> dict[str, Any]:
    names = {str(index): printable(entry.name) for index, entry in enumerate(classes)}  # XML has no control characters
    metadata: dict[str, Any] = {"axes": axes, "MapAnnotation": {"Namespace": "rescrnet/classes", **names}}
    if probabilities:
        metadata["Channel"] = {"Name": list(names.values())}
    if size:
        metadata |= {f"PhysicalSize{letter}": step for letter, step in zip("YX", size, strict=True)}
        metadata |= {f"PhysicalSize{letter}Unit": "µm" for letter in "YX"}
    for axis in outer:
        if axis.name == "z" and axis.scale and axis.unit in MICROMETRES:
            metadata |= {"PhysicalSizeZ": axis.scale * MICROMETRES[axis.unit], "PhysicalSizeZUnit": "µm"}
        if axis.name == "t" and axis.scale and axis.unit in _SECONDS:
            metadata |= {"TimeIncrement": axis.scale * _SECONDS[axis.unit], "TimeIncrementUnit": "s"}
    return metadata


def _colour_map(classes: Sequence[ClassEntry]) -> NDArray[np.uint16]:
    """The colours of the classes as a TIFF palette, (3, 256); indices that are no class are black."""
    table = np.zeros((3, 256), np.uint16)
    for index, entry in enumerate(classes):
        table[:, index] = np.array(hex_to_rgb(entry.color or "#000000")) * 257
    return table


def _bytes(levels: Sequence[RawArray]) -> int:
    return sum(int(np.prod(level.shape)) * level.dtype.itemsize for level in levels)
