"""The rows of large images that are compressed in one piece, or stored from bottom to top: read a band at a time.

A PNG, and a TIFF of one deflated strip, can only be unpacked from the top. Reading on from where the last read ended
costs nothing twice; reading above it begins anew. So they are read top-down, once, and never held whole.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

BAND = 1 << 20  # bytes that are unpacked at once
HELD = 6 * BAND
"""The most that reading holds beside what is read, bytes."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIECE = 1 << 16  # bytes that are read from the file at once
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG, by its colour type
_GREY, _INDEXED = 0, 3


class Inflated:
    """Rows that were deflated one after the other.

    Args:
        pieces: yields the compressed bytes from the start.
        shape: rows, and bytes of a row as deflated.
        decode: makes rows of pixels of rows of bytes, and is called for all of them in order, from ``restart`` on.
        restart: called before the first row is decoded anew.
    """

    def __init__(
        self,
        pieces: Callable[[], Iterator[bytes]],
        shape: tuple[int, int],
        decode: Callable[[bytes, int], NDArray[Any]],
        restart: Callable[[], object] = lambda: None,
    ) -> None:
        self._pieces, self._decode, self._restart = pieces, decode, restart
        self._height, self._row = shape
        self._lock = threading.Lock()
        self._begin()

    def read(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Rows ``y0`` to ``y1``, columns ``x0`` to ``x1``, ends left out. Raises what zlib does of damage."""
        with self._lock:
            if y0 < self._top:
                self._begin()
            rows: NDArray[Any] | None = None
            while True:
                above = self._top + (0 if self._band is None else len(self._band))
                if self._band is not None and y0 < above:
                    first, last = max(y0, self._top), min(y1, above)
                    part = self._band[first - self._top : last - self._top, x0:x1]
                    rows = np.empty((y1 - y0, *part.shape[1:]), part.dtype) if rows is None else rows
                    rows[first - y0 : last - y0] = part
                    if last == y1:
                        return rows
                self._next(above)

    def _begin(self) -> None:
        self._restart()
        self._top = 0
        self._band: NDArray[Any] | None = None
        self._bytes = self._inflate()

    def _next(self, top: int) -> None:
        count = min(max(1, BAND // self._row), self._height - top)
        self._band = None  # before the next one is made
        self._band, self._top = self._decode(next(self._bytes), count), top

    def _inflate(self) -> Iterator[bytes]:
        """The bytes of each band."""
        unpacking, band, top = zlib.decompressobj(), bytearray(), 0
        for piece in self._pieces():
            left = piece
            while left:
                wanted = min(max(1, BAND // self._row), self._height - top) * self._row
                if not wanted:
                    return
                band += unpacking.decompress(left, wanted - len(band))
                left = unpacking.unconsumed_tail
                if len(band) == wanted:
                    yield bytes(band)
                    band.clear()
                    top += wanted // self._row
        raise ValueError(f"is cut short after row {top}")


def png_rows(path: Path, head: bytes) -> Inflated | None:
    """The rows of a PNG whose first 33 bytes are ``head``, indices where it is indexed; none where it must be whole.

    Undoing the filters of a PNG is left to its library: a band becomes a PNG of its own, below the row before it.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head[16:29])
    if interlaced or depth not in (8, 16) or colour not in _CHANNELS or (depth == 16 and colour == _INDEXED):
        return None
    row = width * _CHANNELS[colour] * depth // 8
    before = bytes(row)

    def restart() -> None:
        nonlocal before
        before = bytes(row)

    def decode(filtered: bytes, count: int) -> NDArray[Any]:
        nonlocal before
        kind = _GREY if colour == _INDEXED else colour
        rows = np.asarray(imagecodecs.png_decode(_png((width, count + 1, depth, kind), b"\0" + before + filtered)))
        before = rows[-1].astype(rows.dtype.newbyteorder(">")).tobytes()
        return rows[1:]

    return Inflated(lambda: _image_data(path), (height, row + 1), decode, restart)


def _png(form: tuple[int, int, int, int], filtered: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", *form, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered, 0)), (b"IEND", b""))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _image_data(path: Path) -> Iterator[bytes]:
    """The compressed bytes of a PNG."""
    with path.open("rb") as file:
        file.seek(len(_SIGNATURE))
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            left = int.from_bytes(head[:4])
            if head[4:] != b"IDAT":
                file.seek(left + 4, 1)
                continue
            checked = zlib.crc32(b"IDAT")
            while left:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    raise ValueError("is cut short")
                checked, left = zlib.crc32(piece, checked), left - len(piece)
                yield piece
            if file.read(4) != struct.pack(">I", checked):
                raise ValueError("a checksum is wrong")


def strip_rows(
    path: Path, offset: int, count: int, shape: tuple[int, int, int], dtype: np.dtype[Any], *, differences: bool
) -> Inflated:
    """The rows of a deflated strip of a TIFF, ``shape`` (rows, columns, samples).

    Args:
        path: the file.
        offset: where the strip begins in it.
        count: its bytes.
        shape: of its pixels.
        dtype: of its values, byte order as stored.
        differences: each value was stored as its difference to the one at its left.
    """
    height, width, samples = shape

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(offset)
            for start in range(0, count, _PIECE):
                yield file.read(min(_PIECE, count - start))

    def decode(stored: bytes, rows: int) -> NDArray[Any]:
        values = np.frombuffer(stored, dtype).reshape(rows, width, samples).astype(dtype.newbyteorder("="), copy=False)
        return np.cumsum(values, axis=1, dtype=values.dtype) if differences else values

    return Inflated(pieces, (height, width * samples * dtype.itemsize), decode)


class BitmapRows:
    """The rows of an uncompressed BMP of 8 or 24 bits, which lie in the file as they are: indices or RGB."""

    def __init__(self, path: Path, shape: tuple[int, int], start: int, bits: int, *, upwards: bool) -> None:
        self._path, self._start, self._upwards = path, start, upwards
        self._height, self._width, self._samples = *shape, bits // 8
        self._stride = (self._width * self._samples + 3) // 4 * 4

    def read(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
        """Rows ``y0`` to ``y1``, columns ``x0`` to ``x1``, ends left out. Raises :class:`ValueError` of damage."""
        first = self._height - y1 if self._upwards else y0
        wanted = (y1 - y0) * self._stride
        with self._path.open("rb") as file:
            file.seek(self._start + first * self._stride)
            stored = np.frombuffer(file.read(wanted), np.uint8)
        if len(stored) < wanted:
            raise ValueError("is cut short")
        rows = stored.reshape(y1 - y0, self._stride)[:: -1 if self._upwards else 1]
        rows = rows[:, x0 * self._samples : x1 * self._samples].copy()
        return rows.reshape(y1 - y0, x1 - x0, 3)[..., ::-1] if self._samples == 3 else rows


def bitmap_rows(path: Path) -> BitmapRows | None:
    """The rows of a BMP; none where it must be decoded whole."""
    with path.open("rb") as file:
        head = file.read(34)
    if len(head) < 34 or head[:2] != b"BM":
        return None
    start, size, width, height, _, bits, compression = struct.unpack("<IIiiHHI", head[10:34])
    if size < 40 or bits not in (8, 24) or compression or width <= 0 or not height:
        return None
    return BitmapRows(path, (abs(height), width), start, bits, upwards=height > 0)
