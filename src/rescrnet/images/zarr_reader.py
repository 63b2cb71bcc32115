"""Zarr on disk, read by region: OME-Zarr images at a level of their pyramid, and plain arrays."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import DataError
from rescrnet.images.npy import Index, as_ranges
from rescrnet.images.stack import Axis, Stack, default_axes, make_stack
from rescrnet.wording import one_line

_COUNTED = 10_000  # missing chunks at most
_MARKS = ("zarr.json", ".zgroup", ".zarray")
_METADATA = (*_MARKS, ".zattrs", ".zmetadata")
_NAMES = {"channel": "c", "time": "t", "page": "p"}


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return any((path / mark).is_file() for mark in _MARKS)


class ZarrArray:
    """A Zarr array on disk in which a chunk that is not there is an error, not silently the fill value.

    Attributes:
        shape: its extents.
        dtype: its type.
        chunks: the extents of what lies in one file, a chunk, or a shard of them.
    """

    def __init__(self, path: Path, *, fill_missing: bool = False) -> None:
        self.path, self.fill_missing = path, fill_missing
        self.array: Any = _open_node(path)
        self.shape, self.dtype = tuple(self.array.shape), np.dtype(self.array.dtype)
        self.chunks = tuple(self.array.shards or self.array.chunks)

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open it themselves, once."""
        return _reopen, (self.path, self.fill_missing)

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region, one integer or slice for each axis. Raises :class:`DataError` for missing and damaged chunks."""
        if not self.fill_missing:
            ranges = zip(as_ranges(index, self.shape), self.chunks, strict=True)
            self._check_chunks([range(r.start // chunk, -(-r.stop // chunk)) for r, chunk in ranges])
        try:
            return np.asarray(self.array[index])
        except Exception as error:  # codecs raise whatever they like on damaged chunks
            raise DataError(
                self.path, f"is damaged, a chunk cannot be decoded ({one_line(error)})", "copy it again"
            ) from None

    def check(self) -> None:
        """Raise :class:`DataError` where chunks are missing."""
        if not self.fill_missing:
            self._check_chunks([range(-(-n // chunk)) for n, chunk in zip(self.shape, self.chunks, strict=True)])

    def _check_chunks(self, places: Sequence[range]) -> None:
        key = self.array.metadata.encode_chunk_key
        missing = (key(place) for place in _each(places) if not (self.path / key(place)).is_file())
        if first := next(missing, None):
            total = math.prod(map(len, places))
            counted = 1 + sum(1 for _ in itertools.islice(missing, _COUNTED))  # a shape may claim any number of them
            count = str(counted) if counted <= _COUNTED else f"at least {_COUNTED}"
            raise DataError(
                self.path,
                f"chunk {first} is missing ({count} of {total})",
                "copy it again, or, if its writer leaves out chunks that hold nothing but "
                f"{self.array.fill_value}, predict with --fill-missing",
            )


def _each(places: Sequence[range]) -> Iterator[tuple[int, ...]]:
    """All places, one by one: ``itertools.product`` makes tuples of the ranges first, and a shape may claim any."""
    if not places:
        yield ()
        return
    for first in places[0]:
        for others in _each(places[1:]):
            yield (first, *others)


@functools.lru_cache(maxsize=16)
def _reopen(path: Path, fill_missing: bool) -> ZarrArray:
    return ZarrArray(path, fill_missing=fill_missing)


def open_zarr(path: Path, level: int = 0, *, fill_missing: bool = False) -> Stack:
    """The planes of an OME-Zarr image (0.1 to 0.5) or a Zarr array. Raises :class:`DataError` where it is neither."""
    node = _open_node(path)
    if hasattr(node, "shape"):
        if level:
            raise DataError(path, "is one array, level 0", f"there is no level {level}")
        return _stack(ZarrArray(path, fill_missing=fill_missing), _array_axes(node, path), path)
    attributes = dict(node.attrs)
    metadata = attributes.get("ome", attributes)
    if not isinstance(metadata, Mapping):
        raise DataError(path, "its OME-Zarr metadata is not valid ('ome' holds no keys)", "write it again")
    if "multiscales" not in metadata:
        return _open_zarr_below(path, metadata, level, fill_missing)
    try:
        multiscale = metadata["multiscales"][0]
        datasets = multiscale["datasets"]
        if not 0 <= level < len(datasets):
            has = f"has levels 0 to {len(datasets) - 1}" if len(datasets) > 1 else "has one level, 0"
            raise DataError(path, has, f"there is no level {level}")
        array = ZarrArray(path / datasets[level]["path"], fill_missing=fill_missing)
        axes = _ome_axes(multiscale, datasets[level])
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, f"its OME-Zarr metadata is not valid ({error!r})", "write it again") from None
    return replace(_stack(array, axes, path), zarr_format=node.metadata.zarr_format, levels=len(datasets))


def _open_zarr_below(path: Path, metadata: Mapping[str, Any], level: int, fill_missing: bool) -> Stack:
    """The one image that bioformats2raw puts below a group of its own."""
    images = sorted(p.name for p in path.iterdir() if p.name.isdigit() and is_zarr(p))
    if "bioformats2raw.layout" in metadata and images == ["0"]:
        return open_zarr(path / "0", level, fill_missing=fill_missing)
    inside = sorted(p.name for p in path.iterdir() if p.is_dir() and is_zarr(p))
    what = "a plate" if "plate" in metadata else "a Zarr group but no OME-Zarr image"
    listed = f" (it holds {', '.join(inside[:8])})" if inside else ""
    raise DataError(path, f"is {what}", f"expected an image or an array, name one inside it{listed}")


def _stack(array: ZarrArray, axes: Sequence[Axis], path: Path) -> Stack:
    if len(axes) != len(array.shape):
        raise DataError(path, f"names {len(axes)} axes for an array of shape {array.shape}", "write its metadata again")
    piece = math.prod(array.array.chunks) * array.dtype.itemsize  # a shard is read chunk by chunk
    stack = make_stack(array, axes, path, segment_bytes=piece, form="Zarr")
    array.check()
    return replace(stack, kind="ome-zarr", separate=True)


def _open_node(path: Path) -> Any:
    import zarr  # takes a third of a second, and most images are none

    for name in _METADATA:
        if (path / name).exists() and not (path / name).is_file():  # a pipe or device never ends
            raise DataError(path / name, "is no file", "expected the metadata of a Zarr; copy it again")
    try:
        return zarr.open(store=path, mode="r")
    except Exception as error:  # damaged metadata raises anything
        found = f"cannot be read as a Zarr, is it damaged or incomplete? ({one_line(error)})"
        raise DataError(path, found, "copy it again") from None


def _array_axes(array: Any, path: Path) -> list[Axis]:
    """The axes of a plain array: as it names them, or as those of any other array (see ``wrap``)."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not names or None in names:
        names = default_axes(array.shape, str(path))
    return [
        Axis(_NAMES.get(str(name).lower(), str(name).lower()), n) for name, n in zip(names, array.shape, strict=True)
    ]


def _ome_axes(multiscale: Mapping[str, Any], dataset: Mapping[str, Any]) -> list[Axis]:
    """Names, units, and the step and origin of the level: its own transformation, then that of all levels."""
    axes = [a if isinstance(a, Mapping) else {"name": a} for a in multiscale.get("axes", "tczyx")]
    scale, translation, known = np.ones(len(axes)), np.zeros(len(axes)), False
    steps = [*dataset.get("coordinateTransformations", []), *multiscale.get("coordinateTransformations", [])]
    for step in steps:
        if step["type"] == "scale":
            factor = np.array(step["scale"], float)
            scale, translation, known = scale * factor, translation * factor, True
        elif step["type"] == "translation":
            translation = translation + np.array(step["translation"], float)
    return [
        Axis(str(axis["name"]), 0, float(s) if known else None, float(t), axis.get("unit"))
        for axis, s, t in zip(axes, scale, translation, strict=True)
    ]
