"""TIFF files of any size, read by region: strips, tiles, pyramids, stacks, OME."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from rescrnet.errors import DataError
from rescrnet.images.axes import axis_names
from rescrnet.images.npy import Index, RawArray, as_ranges
from rescrnet.images.rows import HELD, Inflated, strip_rows
from rescrnet.images.shown import Inverted, is_ramp, upright
from rescrnet.images.stack import MICROMETRES, UNITS, ArrayLike, Axis, Stack, believable_step, decoding, make_stack
from rescrnet.images.tiff_series import main_series
from rescrnet.wording import one_line

_PRINT_COLOURS = (tifffile.PHOTOMETRIC.SEPARATED, tifffile.PHOTOMETRIC.CIELAB, tifffile.PHOTOMETRIC.ICCLAB)
_ALPHA = (1, 2)  # extra samples: associated and unassociated alpha
_DEFLATE = (8, 32946)
_DIFFERENCES = 2  # a predictor
_LARGE = 1 << 24  # bytes of a piece that is not held whole, if that can be
_JPEG = (6, 7, 34892, 33007)  # compressions that keep their tables apart
_AXES = {"Y": "y", "X": "x", "S": "c", "C": "c", "Z": "z", "T": "t", "Q": "p", "I": "p", "R": "p"}
_UNNAMED_KINDS = ("shaped", "generic", "uniform")  # of tifffile's, whose axes are guessed
_SOFTWARE, _ORIENTATION = 305, 274  # the numbers of their tags


class _Page(NamedTuple):
    """Where the strips or tiles of a page lie."""

    path: Path
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    jpeg_tables: bytes | None


class TiffArray:
    """One level of the image in a TIFF file as an array; a region decodes only the strips or tiles that it touches.

    Attributes:
        shape: extents along ``axes``.
        dtype: native byte order.
        axes: tifffile's letters.
        steps: the step between samples along axes of the finest level, and its unit, where the file says.
        full: extents of the finest level by axis.
        levels: how many there are.
        ordinary: one page, untiled, no OME: what is answered with a PNG.
        page_names: what ImageJ calls the pages, where it does.
        orientation: how the rows and columns lie when shown, by the number of the tag.
        white_is_zero: whether small values are shown bright.
        software: that wrote the file, where it says.
        unsaid: whether the file does not say which of its axes, if any, is that of channels.
    """

    def __init__(self, path: Path, level: int = 0, *, fill_missing: bool = False) -> None:
        self.path, self.level, self.fill_missing = path, level, fill_missing
        with _complaints(path), tifffile.TiffFile(path) as file:
            main = main_series(file, path)
            series = _level(main, level, path)
            self._keyframe: Any = series.keyframe
            self.shape, self.axes = tuple(series.shape), str(series.axes)
            if series.dtype is None or self._keyframe.dtype is None:
                bits = self._keyframe.bitspersample
                raise DataError(path, f"holds values of {bits} bits", "expected 8, 16 or 32; convert it")
            self.dtype = np.dtype(series.dtype).newbyteorder("=")
            self.steps, self.full = _steps(file, main.keyframe), dict(zip(main.axes, main.shape, strict=True))
            self.levels = len(main.levels)
            self.unsaid = main.kind in _UNNAMED_KINDS and "S" not in main.axes and not {"Q", "I"}.isdisjoint(main.axes)
            self.ordinary = not (self._keyframe.is_tiled or main.kind == "ome" or self.levels > 1 or len(series) > 1)
            self._byteorder = file.byteorder
            self._raw = _contiguous(series, file.byteorder, path)
            self._pages = [] if self._raw else [_page(series[i], i, path) for i in range(len(series))]
            self._decode_piece = self._keyframe.decode
            self.page_names = _page_names(file)
            self.orientation = main.keyframe.tags.valueof(_ORIENTATION)
            self.white_is_zero = _white_is_zero(file, self._keyframe)
            self.software = str(main.keyframe.tags.valueof(_SOFTWARE) or "")
            photometric = self._keyframe.photometric
            if photometric not in list(tifffile.PHOTOMETRIC):
                raise DataError(path, f"has an unknown photometric interpretation, {photometric}", "save it anew")
            photometric = tifffile.PHOTOMETRIC(photometric)
        if photometric in _PRINT_COLOURS:
            raise DataError(path, f"is stored as {photometric.name}", "expected grey or RGB; convert it")
        page_shape = tuple(self._keyframe.shape)
        if not self._raw and self.shape[-len(page_shape) :] != page_shape:
            raise DataError(path, f"has pages of shape {page_shape} in a stack of {self.shape}", "save it anew")
        self._kept: tuple[int, Any] | None = None
        self._strip: tuple[int, Inflated] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open the file themselves, once."""
        return _reopen, (self.path, self.level, self.fill_missing)

    @property
    def alpha(self) -> bool:
        """Whether the last sample of a pixel is transparency; a channel of its own must not be dropped in silence.

        It is where the file says so, and where it says nothing of a fourth one beside red, green and blue of 8 bits.
        """
        keyframe = self._keyframe
        if "S" not in self.axes or not keyframe.extrasamples:
            return False
        unsaid = keyframe.photometric == tifffile.PHOTOMETRIC.RGB and keyframe.samplesperpixel == 4
        return int(keyframe.extrasamples[-1]) in _ALPHA or (unsaid and self.dtype == np.uint8)

    @property
    def top(self) -> int:
        """The largest value that the bits of a sample can hold."""
        return int((1 << self._keyframe.bitspersample) - 1)

    @property
    def _segment(self) -> tuple[int, int]:
        """Rows and columns of a strip or tile; one row where the file is neither cut nor compressed."""
        rows, columns = self._keyframe.imagelength, self._keyframe.imagewidth
        if self._raw:
            return 1, columns
        if self._keyframe.is_tiled:
            return min(self._keyframe.tilelength, rows), min(self._keyframe.tilewidth, columns)
        return min(self._keyframe.rowsperstrip, rows), columns

    @property
    def segment_bytes(self) -> int:
        """Bytes of the largest strip or tile, decoded; of a page in one large piece what its decoder takes."""
        if self._raw:
            return 0
        if self.sequential:
            return HELD
        piece: int = math.prod(self._keyframe.chunks) * self.dtype.itemsize
        if piece < _LARGE:
            return piece
        stored = max(int(page.counts.max(initial=0)) for page in self._pages)
        copies = 3 if self._keyframe.predictor > 1 else 2
        return copies * piece + stored

    @property
    def sequential(self) -> bool:
        """Whether a page is one large deflated strip, which is unpacked from the top."""
        keyframe = self._keyframe
        return (
            not self._raw
            and keyframe.compression in _DEFLATE
            and math.prod(keyframe.chunked) == 1
            and not keyframe.is_tiled
            and keyframe.bitspersample % 8 == 0
            and keyframe.fillorder == 1
            and (keyframe.predictor == 1 or (keyframe.predictor == _DIFFERENCES and self.dtype.kind in "iu"))
            and keyframe.shaped[:2] == (1, 1)
            and keyframe.planarconfig != tifffile.PLANARCONFIG.SEPARATE
            and all(int(page.counts[0]) for page in self._pages if len(page.counts))
            and math.prod(keyframe.chunks) * self.dtype.itemsize >= _LARGE
        )

    def release(self) -> None:
        """Let go of what was decoded."""
        self._kept = self._strip = None

    def __getitem__(self, index: Index) -> NDArray[Any]:
        """A region, one integer or slice for each axis. Raises :class:`DataError` where the file is damaged there."""
        if self._raw:
            return self._raw[index]
        with decoding(self.path, "a TIFF image"):
            return self._read(index)

    def _read(self, index: Index) -> NDArray[Any]:
        count = len(self._keyframe.shape)
        outer, inner, extents = index[:-count], index[-count:], self.shape[:-count]
        ranges = as_ranges(outer, extents)
        places = itertools.product(*ranges)
        pages = [int(np.ravel_multi_index(place, extents)) if extents else 0 for place in places]
        block = np.stack([self._read_page(page, inner) for page in pages])
        kept = [len(r) for r, i in zip(ranges, outer, strict=True) if isinstance(i, slice)]
        return block.reshape(*kept, *block.shape[1:])

    def check(self) -> None:
        """Raise :class:`DataError` where strips or tiles are missing or lie beyond the end of the file."""
        expected = math.prod(self._keyframe.chunked)
        for number, page in enumerate(self._pages):
            if len(page.offsets) != expected or len(page.counts) != expected:
                raise self._damaged(f"page {number} lists {len(page.offsets)} of {expected} strips or tiles")
            beyond = int((page.offsets + page.counts > page.path.stat().st_size).sum())
            if beyond:
                raise self._damaged(f"{beyond} of {expected} strips or tiles of page {number} lie beyond its end")
            missing = int((page.counts == 0).sum())
            if missing and not self.fill_missing:
                raise DataError(
                    self.path,
                    f"{missing} of {expected} strips or tiles of page {number} are missing",
                    "copy it again, or, if its writer leaves out empty ones, predict with --fill-missing",
                )

    def _read_page(self, number: int, index: Index) -> NDArray[Any]:
        """A region of one page, along the page's own axes."""
        names = self._keyframe.axes
        within = dict(zip(names, index, strict=True))
        if self.sequential:
            return self._read_strip(number, within)
        rows, columns = as_ranges((within["Y"], within["X"]), (self._keyframe.imagelength, self._keyframe.imagewidth))
        separate, depth, _, _, contiguous = self._keyframe.shaped
        block = np.empty((separate, depth, len(rows), len(columns), contiguous), self.dtype)
        for segment in self._touched(rows, columns):
            data, (s, z, y, x, _), (d, h, w, _) = self._decode(number, segment)
            top, bottom = max(y, rows.start), min(y + h, rows.stop)
            left, right = max(x, columns.start), min(x + w, columns.stop)
            target = block[
                s, z : z + d, top - rows.start : bottom - rows.start, left - columns.start : right - columns.start
            ]
            if data is None:
                target[:] = self._keyframe.nodata
            else:
                target[:] = data[: target.shape[0], top - y : bottom - y, left - x : right - x]
        lengths = {"Y": len(rows), "X": len(columns), "Z": depth, "S": separate * contiguous}
        region = block.reshape([lengths[name] for name in names])
        return region[tuple(slice(None) if name in "YX" else within[name] for name in names)]

    def _read_strip(self, number: int, within: dict[str, int | slice]) -> NDArray[Any]:
        """A region of a page that is one large deflated strip."""
        height, width = self._keyframe.imagelength, self._keyframe.imagewidth
        samples = self._keyframe.shaped[4]
        rows, columns = as_ranges((within["Y"], within["X"]), (height, width))
        if self._strip is None or self._strip[0] != number:
            page, stored = self._pages[number], self.dtype.newbyteorder(self._byteorder)
            differences = self._keyframe.predictor == _DIFFERENCES
            where = (page.path, int(page.offsets[0]), int(page.counts[0]))
            self._strip = (number, strip_rows(*where, (height, width, samples), stored, differences=differences))
        block = self._strip[1].read(rows.start, rows.stop, columns.start, columns.stop)
        lengths = {"Y": len(rows), "X": len(columns), "Z": 1, "S": samples}
        region = block.reshape([lengths[name] for name in self._keyframe.axes])
        return region[tuple(slice(None) if name in "YX" else within[name] for name in self._keyframe.axes)]

    def _touched(self, rows: range, columns: range) -> Iterator[int]:
        """The numbers of the strips or tiles that a region touches, in all separate channels and depths."""
        height, width = self._segment
        down, across = -(-self._keyframe.imagelength // height), -(-self._keyframe.imagewidth // width)
        for layer in range(math.prod(self._keyframe.chunked) // (down * across)):
            for row in range(rows.start // height, -(-rows.stop // height)):
                for column in range(columns.start // width, -(-columns.stop // width)):
                    yield (layer * down + row) * across + column

    def _decode(self, number: int, segment: int) -> Any:
        """A strip or tile as (depth, rows, columns, samples) or none, its place, its shape."""
        if (kept := self._kept) and kept[0] == number:  # decoding an only piece anew for each region takes for ever
            return kept[1]
        page = self._pages[number]
        tables = {}
        if self._keyframe.compression in _JPEG:
            tables = {"jpegtables": page.jpeg_tables, "jpegheader": self._keyframe.jpegheader}
        kind = "tile" if self._keyframe.is_tiled else "strip"
        where = f"{kind} {segment}" + (f" of page {number}" if len(self._pages) > 1 else "")
        offset, count, data = int(page.offsets[segment]), int(page.counts[segment]), None
        if count:
            with page.path.open("rb", buffering=0) as file:
                file.seek(offset)
                data = file.read(count)
            if len(data) < count:
                raise self._damaged(f"{where} is cut short")
        elif not self.fill_missing:
            raise self._damaged(f"{where} is missing")
        try:
            decoded = self._decode_piece(data, segment, **tables)
        except Exception as error:  # decoders raise whatever they like on damaged data
            raise self._damaged(f"{where} cannot be decoded ({one_line(error)})") from None
        if math.prod(self._keyframe.chunked) == 1:
            self._kept = (number, decoded)
        return decoded

    def _damaged(self, how: str) -> DataError:
        return DataError(self.path, f"is damaged, {how}", "copy it again")


def _level(main: Any, level: int, path: Path) -> Any:
    if 0 <= level < len(main.levels):
        return main.levels[level]
    last = len(main.levels) - 1
    raise DataError(path, f"has {f'levels 0 to {last}' if last else 'one level, 0'}", f"there is no level {level}")


def _contiguous(series: Any, byteorder: str, path: Path) -> RawArray | None:
    """The series as one uncompressed stretch of the file, where it is one."""
    offset = series.dataoffset
    if offset is None or series.keyframe.bitspersample % 8 or series.is_multifile:
        return None
    return RawArray(path, series.shape, np.dtype(series.dtype).newbyteorder(byteorder), offset)


def _page(page: Any, number: int, path: Path) -> _Page:
    if page is None:
        raise DataError(path, f"page {number} is missing", "copy the file again, and those that it refers to")
    offsets, counts = np.asarray(page.dataoffsets, np.int64), np.asarray(page.databytecounts, np.int64)
    file = page.parent.filehandle
    return _Page(Path(file.dirname) / file.name, offsets, counts, page.jpegtables)


@functools.lru_cache(maxsize=16)
def _reopen(path: Path, level: int, fill_missing: bool) -> TiffArray:
    return TiffArray(path, level, fill_missing=fill_missing)


def open_tiff(path: Path, level: int = 0, *, fill_missing: bool = False, axes: str = "") -> Stack:
    """The planes of a TIFF file at a level of its pyramid. Raises :class:`DataError` where it cannot be read.

    ``axes`` are those of a file that does not say its own.
    """
    array = TiffArray(path, level, fill_missing=fill_missing)
    array.check()
    said = axis_names(axes, len(array.axes)) if array.unsaid else ""
    unknown = [letter for letter in array.axes if letter not in _AXES]
    if unknown:
        raise DataError(
            path,
            f"has axes {array.axes}, of which {', '.join(unknown)} cannot be read",
            "expected Y, X, channels and at most Z, T and pages; save the planes that you want by themselves",
        )
    names = _AXES | ({"S": "s"} if "C" in array.axes else {})
    found = []
    for place, (letter, length) in enumerate(zip(array.axes, array.shape, strict=True)):
        scale, unit = array.steps.get(letter, (None, None))
        name = said[place] if said else names[letter]
        found.append(Axis(name, length, scale and scale * array.full[letter] / length, 0.0, unit))
    pixels: ArrayLike = array
    inverted = array.white_is_zero and array.dtype.kind in "bu"
    if inverted:
        pixels = Inverted(array, array.top)
    pixels, found = upright(pixels, found, array.orientation)
    stack = make_stack(
        pixels,
        found,
        path,
        alpha=array.alpha,
        segment_bytes=array.segment_bytes,
        sequential=array.sequential,
        form="TIFF",
    )
    return replace(
        stack,
        kind="png" if array.ordinary else "tiff",
        levels=array.levels,
        separate="C" in array.axes or "c" in said,
        page_names=array.page_names,
        white_is_zero=inverted,
        software=array.software,
    )


def _page_names(file: Any) -> tuple[str, ...]:
    labels = (file.imagej_metadata or {}).get("Labels", ()) if file.is_imagej else ()
    return tuple(str(label).strip() for label in labels)


def _white_is_zero(file: Any, page: Any) -> bool:
    """Whether small values are shown bright: by the kind of the image, its palette, or the look-up table of ImageJ."""
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        return True
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
        return is_ramp(np.asarray(page.colormap).T, -1)
    tables = (file.imagej_metadata or {}).get("LUTs", ()) if file.is_imagej else ()
    down = np.arange(255, -1, -1)
    return len(tables) > 0 and all(bool((np.asarray(table).reshape(-1, 256) == down).all()) for table in tables)


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
        with decoding(path, "a TIFF image"):
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
    if records:
        found = f"cannot be read as a TIFF image, is it damaged or cut short? ({one_line(records[0].getMessage())})"
        raise DataError(path, found, "copy it again, or export it anew")


def _steps(file: Any, page: Any) -> dict[str, tuple[float, str]]:
    """The step between samples along tifffile's axes and its unit, as far as the file says."""
    if file.is_ome:
        return _ome_steps(file.ome_metadata or "")
    if file.is_svs:
        facts = tifffile.tifffile.svs_description_metadata(page.description)
        return {letter: (float(facts["MPP"]), "micrometer") for letter in "YX" if "MPP" in facts}
    right, down = page.get_resolution()
    if not (right > 0 and down > 0):
        return {}
    if file.is_imagej and (facts := file.imagej_metadata or {}).get("unit"):
        name = re.sub(r"\\u00[bB]5", "µ", str(facts["unit"])).lower()
        unit = UNITS.get(name, "")
        steps = {"Y": (1 / down, unit), "X": (1 / right, unit), "Z": (float(facts.get("spacing", 0)), unit)}
    else:
        unit = {2: "inch", 3: "centimeter", 4: "millimeter", 5: "micrometer"}.get(int(page.resolutionunit), "")
        steps = {"Y": (1 / down, unit), "X": (1 / right, unit)}
    if unit not in MICROMETRES or not believable_step(MICROMETRES[unit] / down, MICROMETRES[unit] / right):
        return {}
    return {letter: (step, unit) for letter, (step, unit) in steps.items() if step > 0}


def _ome_steps(xml: str) -> dict[str, tuple[float, str]]:
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("Pixels")), None)
    if pixels is None:
        return {}
    names = {"Y": "PhysicalSizeY", "X": "PhysicalSizeX", "Z": "PhysicalSizeZ", "T": "TimeIncrement"}
    steps = {}
    for letter, name in names.items():
        unit = UNITS.get(pixels.get(f"{name}Unit", "s" if letter == "T" else "µm").lower())
        if name in pixels.attrib and unit:
            steps[letter] = (float(pixels.attrib[name]), unit)
    return {letter: (step, unit) for letter, (step, unit) in steps.items() if step > 0}
