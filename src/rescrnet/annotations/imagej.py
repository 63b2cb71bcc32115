"""ImageJ's regions of interest: one in a ``.roi`` file, those of the ROI Manager in a zip."""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import Any

from rescrnet.annotations.shapes import OBJECT, Annotated, Patch, Ring, Shape, ellipse, rectangle, ring
from rescrnet.errors import DataError

_OUTLINES = ("POLYGON", "FREEHAND", "TRACED")
_WITHOUT_AREA = {
    **dict.fromkeys(("LINE", "FREELINE", "POLYLINE"), "line"),
    "ANGLE": "angle",
    "POINT": "point",
    "NOROI": "empty region",
}
_LARGEST = 1 << 26  # bytes of a region, unpacked
_NUMBER = re.compile(r"[\s_#.-]*\d+$")


def read_rois(path: Path) -> list[Annotated]:
    """The regions in a ``.roi`` file, or a zip of them, in the order of the ROI Manager.

    Their class is their group, where one of them has any; else their name without a number at its end, where all have
    one that says something; else they are all objects.

    Raises :class:`DataError` where a region is of a kind that cannot be read exactly; other errors of any type.
    """
    from roifile import ImagejRoi

    found = Annotated()
    regions: list[tuple[Any, list[Ring] | Patch]] = []
    for name, data in _files(path):
        region = ImagejRoi.frombytes(data)
        region.name = region.name or name
        if without := "text" if region.subtype.name == "TEXT" else _WITHOUT_AREA.get(region.roitype.name):
            found.passed_over[without] += 1
        else:
            regions.append((region, _area(region, path)))
    positions = {max(region.position, region.z_position, region.t_position) for region, _ in regions} - {0}
    if len(positions) > 1:
        raise DataError(
            path,
            f"holds regions of {len(positions)} slices of a stack",
            "save the slices as images of their own, and the regions of each by themselves",
        )
    names = _names([region for region, _ in regions], path)
    found.shapes += [Shape(name, [area]) for name, (_, area) in zip(names, regions, strict=True)]
    return [found]


def _files(path: Path) -> list[tuple[str, bytes]]:
    if path.suffix.lower() == ".roi":
        return [(path.stem, path.read_bytes())]
    with zipfile.ZipFile(path) as archive:
        inside = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".roi")]
        for entry in inside:
            if entry.file_size > _LARGEST:
                raise ValueError(f"{entry.filename} claims {entry.file_size} bytes")
        return [(Path(entry.filename).stem, archive.read(entry)) for entry in inside]


def _names(regions: list[Any], path: Path) -> list[str]:
    if any(region.group for region in regions):
        return [f"group {region.group}" if region.group else OBJECT for region in regions]
    names = [_NUMBER.sub("", region.name).strip() for region in regions]
    own = _NUMBER.sub("", path.stem).strip()  # a region that is saved by itself is named after its file
    telling = all(any(letter.isalpha() for letter in name) and name != own for name in names)
    return names if telling else [OBJECT] * len(names)


def _area(region: Any, path: Path) -> list[Ring] | Patch:
    kind, subtype = region.roitype.name, region.subtype.name
    reason = ""
    if region.options & 1:
        reason = "fitted with a spline"
    elif kind == "RECT" and region.rounded_rect_arc_size:
        reason = "a rectangle with round corners"
    elif subtype == "IMAGE" or kind not in ("RECT", "OVAL", *_OUTLINES):
        reason = f"of the kind {subtype if subtype != 'UNDEFINED' else kind}"
    if not reason:
        try:
            return _outline(region, kind)
        except (NotImplementedError, struct.error):
            reason = "a composite with curves"
    raise DataError(
        path,
        f"the region '{region.name}' is {reason}, which is not read exactly",
        "open the image and the regions in Fiji, and save a mask: Edit › Selection › Create Mask",
    )


def _outline(region: Any, kind: str) -> list[Ring] | Patch:
    if region.composite:
        return [ring(points) for points in region.coordinates(multi=True) if len(points) > 2]
    if kind in _OUTLINES:
        return [ring(region.coordinates())]
    if region.subpixelrect:
        left, top, width, height = region.xd, region.yd, region.widthd, region.heightd
    else:
        left, top = region.left, region.top
        width, height = region.right - region.left, region.bottom - region.top
    if kind == "OVAL":
        return ellipse(left + width / 2, top + height / 2, width / 2, height / 2)
    return [rectangle(left, top, left + width, top + height)]
