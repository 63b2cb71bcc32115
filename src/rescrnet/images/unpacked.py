"""Copies of planes that cannot be read by region where they are, because every read would decode much of their file."""

from __future__ import annotations

from pathlib import Path

from rescrnet.atomic import write_atomically
from rescrnet.images.npy import RawArray
from rescrnet.images.open import wrap
from rescrnet.images.stack import Source


def unpacked(source: Source, file: Path) -> Source:
    """A copy of a plane that is read by region, in ``file``, which is made where it is not there; decodes it once."""
    if not file.is_file():
        write_atomically(file, lambda partial: _unpack(source, partial), durable=False)
        source.release()
    return wrap(RawArray.open(file), "yxc", name=source.name)[0].source


def _unpack(source: Source, file: Path) -> None:
    array = RawArray.create(file, source.shape, source.dtype)
    for y0, y1, x0, x1 in source.bands():
        array[(slice(y0, y1), slice(x0, x1), slice(None))] = source.read(y0, y1, x0, x1)
