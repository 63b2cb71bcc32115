"""Grey PNG written row by row, which Pillow cannot do: it wants the whole image in memory."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rescrnet.images.npy import RawArray

BAND = 4 << 20  # bytes that are compressed at once


def write_png(path: Path, array: RawArray, plane: int) -> None:
    """Write one plane of an array (planes, Y, X) uint8 as an 8-bit grey PNG."""
    rows, columns = array.shape[-2:]
    step = max(1, BAND // columns)
    compressor = zlib.compressobj(6)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
        for top in range(0, rows, step):
            band = array[(plane, slice(top, min(top + step, rows)), slice(None))]
            filtered = np.pad(band, ((0, 0), (1, 0)))  # each row begins with the number of its filter, 0 for none
            _chunk(file, b"IDAT", compressor.compress(filtered.tobytes()))
        _chunk(file, b"IDAT", compressor.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind != b"IDAT":
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
