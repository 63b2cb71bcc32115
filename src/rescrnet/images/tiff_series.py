"""Which of the images in a TIFF file is the image."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from rescrnet.errors import DataError

_THUMBNAIL = 4  # an image beside another that is this much smaller in height and width is its thumbnail


def main_series(file: Any, path: Path) -> Any:
    """The image of an open tifffile.TiffFile, which may hold a slide's label and thumbnail besides.

    Raises :class:`DataError` where it holds none, several, or pages without end.
    """
    _check_chain(file, path)
    series = list(file.series)
    if not series:
        raise DataError(path, "holds no image", "expected a TIFF with at least one page")
    first = series[0]
    vendor = file.is_svs or file.is_ndpi or file.is_scn or file.is_bif or file.is_qpi or file.is_philips
    others = [s for s in series[1:] if not s.keyframe.is_reduced and not _is_thumbnail(s, first)]
    if others and not vendor:
        sizes = ", ".join("×".join(map(str, s.shape)) for s in [first, *others][:4])
        raise DataError(
            path, f"holds {1 + len(others)} different images ({sizes})", "expected one; save each by itself"
        )
    return first


def _check_chain(file: Any, path: Path) -> None:
    """Refuse pages of which one names an earlier one as the next: they would be read without end."""
    try:
        form, seen, place = file.tiff, set(), int(file.pages.first.offset)
    except IndexError:  # there is none
        return
    with path.open("rb") as handle:
        while place and place not in seen:
            seen.add(place)
            handle.seek(place)
            count = handle.read(form.tagnosize)
            if len(count) < form.tagnosize:
                return  # tifffile says so
            handle.seek(struct.unpack(form.tagnoformat, count)[0] * form.tagsize, 1)
            after = handle.read(form.offsetsize)
            place = struct.unpack(form.offsetformat, after)[0] if len(after) == form.offsetsize else 0
    if place:
        raise DataError(path, f"is damaged, page {len(seen)} leads back to an earlier one", "copy it again")


def _is_thumbnail(series: Any, first: Any) -> bool:
    small, large = series.keyframe, first.keyframe
    ratio = min(large.imagelength / max(1, small.imagelength), large.imagewidth / max(1, small.imagewidth))
    return "thumbnail" in series.name.lower() or ratio >= _THUMBNAIL
