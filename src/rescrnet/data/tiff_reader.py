"""TIFF files of any size, read by region: strips, tiles, pyramids, stacks, OME."""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from rescrnet.data.raw import Index, RawArray
from rescrnet.data.stack import MICROMETRES, Axis, Stack, make_stack
from rescrnet.errors import DataError

_PRINT_COLOURS = (tifffile.PHOTOMETRIC.SEPARATED, tifffile.PHOTOMETRIC.CIELAB, tifffile.PHOTOMETRIC.ICCLAB)
_AXES = {"Y": "y", "X": "x", "S": "c", "C": "c", "Z": "z", "T": "t", "Q": "p", "I": "p", "R": "p"}
_UNITS = {"Å": "angstrom", "pm": "picometer", "nm": "nanometer", "µm": "micrometer", "mm": "millimeter"} | {
    "cm": "centimeter",
    "m": "meter",
    "s": "second",
    "ms": "millisecond",
    "min": "minute",
    "h": "hour",
}
_COARSEST = 20.0  # micrometres: what looks larger is the resolution of a printer or screen, 1270 dots per inch or less


class TiffArray:
    """One level of the image in a TIFF file as an array; a region decodes only the strips or tiles that it touches.

    Attributes:
        shape: extents along ``axes``.
        dtype: native byte order.
        axes: tifffile's letters.
        segment: rows and columns of a strip or tile.
    """

    def __init__(self, path: Path, level: int = 0, *, fill_missing: bool = False) -> None:
        self.path, self.level, self.fill_missing = path, level, fill_missing
        with _complaints(path):
            self._file = tifffile.TiffFile(path)
            self.series = _main_series(self._file, path)
            if not 0 <= level < len(self.series.levels):
                last = len(self.series.levels) - 1
                has = f"has levels 0 to {last}" if last else "has one level, 0"
                raise DataError(f"{path}: {has}; there is no level {level}")
            self._level = self.series.levels[level]
            self._page = self._level.keyframe
            self.shape, self.axes = self._level.shape, self._level.axes
            if self._level.dtype is None or self._page.dtype is None:
                raise DataError(f"{path}: holds values of {self._page.bitspersample} bits; expected 8, 16 or 32")
            self.dtype = np.dtype(self._level.dtype).newbyteorder("=")
            self._raw = self._contiguous()
        photometric = tifffile.PHOTOMETRIC(self._page.photometric)
        if photometric in _PRINT_COLOURS:
            raise DataError(f"{path}: is stored as {photometric.name}; expected grey or RGB; convert it")
        whole = (self._page.imagelength, self._page.imagewidth)
        rows, columns = self._page.chunks[-3:-1] if self._page.axes.endswith("S") else self._page.chunks[-2:]
        self.segment = (1, whole[1]) if self._raw else (min(rows, whole[0]), min(columns, whole[1]))
        self._one_piece = math.prod(self._page.chunked) == 1
        self._kept: tuple[int, NDArray[Any]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open the file themselves, once."""
        return _reopen, (self.path, self.level, self.fill_missing)

    @property
    def segment_bytes(self) -> int:
        """Bytes of the largest strip or tile, decoded."""
        return 0 if self._raw else math.prod(self._page.chunks) * self.dtype.itemsize

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region, one integer or slice for each axis. Raises :class:`DataError` where the file is damaged there."""
        if self._raw:
            return self._raw[index]
        count = len(self._page.shape)
        outer, inner = index[:-count], index[-count:]
        extents = self.shape[:-count]
        ranges = [
            range(i, i + 1) if isinstance(i, int) else range(*i.indices(n)) for i, n in zip(outer, extents, strict=True)
        ]
        pages = [int(np.ravel_multi_index(place, extents)) if extents else 0 for place in itertools.product(*ranges)]
        block = np.stack([self._read_page(page, inner) for page in pages])
        kept = [len(r) for r, i in zip(ranges, outer, strict=True) if isinstance(i, slice)]
        return block.reshape(*kept, *block.shape[1:])

    def check(self) -> None:
        """Raise :class:`DataError` where pages, strips or tiles are missing or lie beyond the end of the file."""
        if self._raw:
            return
        end = self._file.filehandle.size
        for number in range(len(self._level)):
            page = self._tiff_page(number)
            expected = math.prod(page.chunked)
            offsets, counts = np.asarray(page.dataoffsets), np.asarray(page.databytecounts)
            if len(offsets) != expected or len(counts) != expected:
                raise self._damaged(f"page {number} lists {len(offsets)} of {expected} strips or tiles")
            beyond = int((offsets + counts > end).sum())
            if beyond:
                raise self._damaged(f"{beyond} of {expected} strips or tiles of page {number} lie beyond its end")
            missing = int((counts == 0).sum())
            if missing and not self.fill_missing:
                raise DataError(
                    f"{self.path}: {missing} of {expected} strips or tiles of page {number} are missing; "
                    "copy it again, or have them filled with --fill-missing"
                )

    def _contiguous(self) -> RawArray | None:
        offset = self._level.dataoffset
        if offset is None or self._page.bitspersample % 8 or self._level.is_multifile:
            return None
        stored = np.dtype(self._level.dtype).newbyteorder(self._file.byteorder)
        return RawArray(self.path, self.shape, stored, offset)

    def _tiff_page(self, number: int) -> Any:
        page = self._level[number]
        if page is None:
            raise self._damaged(f"page {number} is missing")
        return page

    def _read_page(self, number: int, index: Index) -> NDArray[Any]:
        """A region of one page, along the page's own axes."""
        page, names = self._tiff_page(number), self._page.axes
        within = dict(zip(names, index, strict=True))
        y0, y1, _ = within["Y"].indices(self._page.imagelength)
        x0, x1, _ = within["X"].indices(self._page.imagewidth)
        separate, depth, _, _, contiguous = self._page.shaped
        block = np.empty((separate, depth, y1 - y0, x1 - x0, contiguous), self.dtype)
        for segment in self._touched(y0, y1, x0, x1):
            data, (s, z, y, x, _), (d, h, w, _) = self._decode(page, number, segment)
            top, bottom, left, right = max(y, y0), min(y + h, y1), max(x, x0), min(x + w, x1)
            target = block[s, z : z + d, top - y0 : bottom - y0, left - x0 : right - x0]
            if data is None:
                target[:] = self._page.nodata
            else:
                target[:] = data[: target.shape[0], top - y : bottom - y, left - x : right - x]
        lengths = {"Y": y1 - y0, "X": x1 - x0, "Z": depth, "S": separate * contiguous}
        region = block.reshape([lengths[name] for name in names])
        return region[tuple(slice(None) if name in "YX" else within[name] for name in names)]

    def _touched(self, y0: int, y1: int, x0: int, x1: int) -> Iterator[int]:
        """The numbers of the strips or tiles that a region touches, in all separate channels and depths."""
        rows = self._page.tilelength if self._page.is_tiled else self._page.rowsperstrip
        columns = self._page.tilewidth if self._page.is_tiled else self._page.imagewidth
        down, across = -(-self._page.imagelength // rows), -(-self._page.imagewidth // columns)
        layers = math.prod(self._page.chunked) // (down * across)
        for layer in range(layers):
            for row in range(y0 // rows, -(-y1 // rows)):
                for column in range(x0 // columns, -(-x1 // columns)):
                    yield (layer * down + row) * across + column

    def _decode(self, page: Any, number: int, segment: int) -> Any:
        """A strip or tile as (depth, rows, columns, samples) or none, its place, its shape."""
        offset, count = page.dataoffsets[segment], page.databytecounts[segment]
        if self._kept and self._kept[0] == number:  # decoding the one piece anew for each region would take for ever
            return self._kept[1]
        tables = {}
        if self._page.compression in (6, 7, 34892, 33007):
            tables = {"jpegtables": page.jpegtables, "jpegheader": self._page.jpegheader}
        try:
            data = None
            if count:
                with self._file.filehandle.lock:
                    self._file.filehandle.seek(offset)
                    data = self._file.filehandle.read(count)
                if len(data) < count:
                    raise self._damaged("it is cut short")
            elif not self.fill_missing:
                raise self._damaged(f"strip or tile {segment} is missing")
            decoded = self._page.decode(data, segment, **tables)
        except DataError:
            raise
        except Exception as error:  # decoders raise whatever they like on damaged data
            reason = " ".join(str(error).split()) or type(error).__name__
            kind = "tile" if self._page.is_tiled else "strip"
            where = f"{kind} {segment}" + (f" of page {number}" if len(self._level) > 1 else "")
            raise self._damaged(f"{where} cannot be decoded ({reason})") from None
        if self._one_piece:
            self._kept = (number, decoded)
        return decoded

    def _damaged(self, how: str) -> DataError:
        return DataError(f"{self.path}: is damaged, {how}; copy it again")


@functools.lru_cache(maxsize=16)
def _reopen(path: Path, level: int, fill_missing: bool) -> TiffArray:
    return TiffArray(path, level, fill_missing=fill_missing)


def open_tiff(path: Path, level: int = 0, *, fill_missing: bool = False) -> Stack:
    """The planes of a TIFF file at a level of its pyramid. Raises :class:`DataError` where it cannot be read."""
    array = TiffArray(path, level, fill_missing=fill_missing)
    array.check()
    unknown = [letter for letter in array.axes if letter not in _AXES]
    if unknown:
        raise DataError(
            f"{path}: has axes {array.axes}, of which {', '.join(unknown)} cannot be read; "
            "expected Y, X, channels and at most Z, T and pages; save the planes that you want by themselves"
        )
    steps = _steps(array, path)
    base = dict(zip(array.series.axes, array.series.shape, strict=True))
    axes = []
    for letter, length in zip(array.axes, array.shape, strict=True):
        scale, unit = steps.get(letter, (None, None))
        axes.append(Axis(_AXES[letter], length, scale and scale * base[letter] / length, 0.0, unit))
    samples = dict(zip(array.axes, array.shape, strict=True)).get("S", 1)
    stack = make_stack(
        array,
        axes,
        str(path),
        alpha=samples in (2, 4),  # only samples can be alpha; a separate channel must not be dropped in silence
        segment=array.segment,
        segment_bytes=array.segment_bytes,
    )
    return Stack(stack.axes, stack.planes, path, "png" if _is_ordinary(array) else "tiff")


def _is_ordinary(array: TiffArray) -> bool:
    """One page, untiled, no OME: what is answered with a PNG."""
    first = array.series
    return not (array._page.is_tiled or first.kind == "ome" or len(first.levels) > 1 or len(array._level) > 1)


def _main_series(file: Any, path: Path) -> Any:
    """The image of a file that may hold a slide's label and thumbnail besides."""
    series = list(file.series)
    if not series:
        raise DataError(f"{path}: holds no image; expected a TIFF with at least one page")
    first = series[0]
    vendor = file.is_svs or file.is_ndpi or file.is_scn or file.is_bif or file.is_qpi or file.is_philips
    others = [s for s in series[1:] if not s.keyframe.is_reduced and "thumbnail" not in s.name.lower()]
    if others and not vendor:
        sizes = ", ".join("×".join(map(str, s.shape)) for s in [first, *others][:4])
        raise DataError(
            f"{path}: holds {1 + len(others)} different images ({sizes}); expected one; save each by itself"
        )
    return first


@contextmanager
def _complaints(path: Path) -> Iterator[None]:
    """Turn what tifffile logs, rather than raises, about damaged files into an error, and say no more about it."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign,assignment]
    logger, propagated = tifffile.logger(), tifffile.logger().propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # damaged headers raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read as a TIFF image, is it damaged or cut short? ({reason})") from None
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
    if records:
        reason = " ".join(records[0].getMessage().split())
        raise DataError(f"{path}: cannot be read as a TIFF image, is it damaged or cut short? ({reason})")


def _steps(array: TiffArray, path: Path) -> dict[str, tuple[float, str]]:
    """The step between samples along tifffile's axes and its unit, as far as the file says."""
    file = array._file
    if file.is_ome:
        return _ome_steps(file.ome_metadata or "")
    page = array.series.keyframe
    if file.is_svs:
        facts = tifffile.tifffile.svs_description_metadata(page.description)
        return {letter: (float(facts["MPP"]), "micrometer") for letter in "YX" if "MPP" in facts}
    right, down = page.get_resolution()
    if not (right > 0 and down > 0):
        return {}
    if file.is_imagej and (facts := file.imagej_metadata or {}).get("unit"):
        name = str(facts["unit"]).replace("\\u00B5", "µ").replace("micron", "µm").replace("um", "µm")
        unit = _UNITS.get(name, "")
        steps = {"Y": (1 / down, unit), "X": (1 / right, unit), "Z": (float(facts.get("spacing", 0)), unit)}
    else:
        unit = {2: "inch", 3: "centimeter", 4: "millimeter", 5: "micrometer"}.get(int(page.resolutionunit), "")
        steps = {"Y": (1 / down, unit), "X": (1 / right, unit)}
    if unit not in MICROMETRES or (not file.is_imagej and MICROMETRES[unit] / right > _COARSEST):
        return {}
    return {letter: (step, unit) for letter, (step, unit) in steps.items() if step > 0}


def _ome_steps(xml: str) -> dict[str, tuple[float, str]]:
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("Pixels")), None)
    if pixels is None:
        return {}
    names = {"Y": "PhysicalSizeY", "X": "PhysicalSizeX", "Z": "PhysicalSizeZ", "T": "TimeIncrement"}
    steps = {}
    for letter, name in names.items():
        unit = _UNITS.get(pixels.get(f"{name}Unit", "s" if letter == "T" else "µm").replace("μ", "µ"))
        if name in pixels.attrib and unit:
            steps[letter] = (float(pixels.attrib[name]), unit)
    return {letter: (step, unit) for letter, (step, unit) in steps.items() if step > 0}
