"""Where the pixels of an image or a mask are: a file, a page of a stack, or a file for each channel."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import tifffile

PIXELS = "YXSC"  # axes of one image; all others of a TIFF count pages


@dataclass(frozen=True)
class Page:
    """One page of a multi-page TIFF, 0 the first."""

    path: Path
    index: int

    def __str__(self) -> str:
        return f"{self.path} (page {self.index + 1})"


@dataclass(frozen=True)
class Channels:
    """An image whose channels are files of their own, in the order of the channels."""

    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{self.files[0]} (and {len(self.files) - 1} more channels)"


Origin = Path | Page | Channels


def files_of(origin: Origin) -> tuple[Path, ...]:
    """The files that an image is read from."""
    if isinstance(origin, Channels):
        return origin.files
    return (origin.path if isinstance(origin, Page) else origin,)


def count_pages(path: Path) -> int:
    """Pages of a TIFF stack, time and depth multiplied; 1 for every other file, and for one that cannot be read."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return 1
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            return max(1, prod(n for n, axis in zip(series.shape, series.axes, strict=True) if axis not in PIXELS))
    except Exception:  # the reader of the pixels says what is wrong with it
        return 1
