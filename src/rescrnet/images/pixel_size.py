"""The size of a pixel, where an image file tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

_MICROMETRES = {
    "m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "nm": 1e-3, "pm": 1e-6, "å": 1e-4, "inch": 25_400.0, "in": 25_400.0,
}  # fmt: skip
_PRINTER = 20.0
"""Larger pixels, micrometres, are the dots of a printer or screen: 72 a inch are 353 micrometres."""


def pixel_size(path: Path) -> tuple[float, float] | None:
    """Height and width of a pixel in micrometres, from OME-XML, ImageJ's header, or the resolution of TIFF or PNG.

    None where the file does not tell, tells the resolution of a printer, or cannot be read.
    """
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            with tifffile.TiffFile(path) as file:
                size = _of_ome(file.ome_metadata) if file.ome_metadata else _of_tags(file)
        else:
            size = _of_png(path)
    except Exception:  # what is wrong with the file is said where its pixels are read
        return None
    return size if size and all(0 < side < _PRINTER for side in size) else None


def _of_ome(xml: str) -> tuple[float, float] | None:
    pixels = next((element for element in ElementTree.fromstring(xml).iter() if element.tag.endswith("}Pixels")), None)
    if pixels is None or not (pixels.get("PhysicalSizeX") and pixels.get("PhysicalSizeY")):
        return None
    x, y = (
        float(pixels.attrib[f"PhysicalSize{axis}"])
        * _MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").lower(), 0.0)
        for axis in "XY"
    )
    return y, x


def _of_tags(file: tifffile.TiffFile) -> tuple[float, float] | None:
    tags: Any = file.pages[0].tags  # type: ignore[union-attr]
    if "XResolution" not in tags or "YResolution" not in tags:
        return None
    unit: str = {2: "inch", 3: "cm"}.get(int(tags["ResolutionUnit"].value), "") if "ResolutionUnit" in tags else ""
    if file.imagej_metadata:
        unit = re.sub(r"\\u00b5", "µ", str(file.imagej_metadata.get("unit", unit)))
    x, y = (tags[f"{axis}Resolution"].value for axis in "XY")
    scale = _MICROMETRES.get(unit.lower(), 0.0)
    return scale * y[1] / y[0], scale * x[1] / x[0]


def _of_png(path: Path) -> tuple[float, float] | None:
    with path.open("rb") as file:
        head = file.read(4096)
    place = head.find(b"pHYs") if head.startswith(b"\x89PNG") else -1
    if place < 0 or head[place + 12 : place + 13] != b"\x01":  # no unit
        return None
    x, y = (int.from_bytes(head[place + at : place + at + 4]) for at in (4, 8))
    return 1e6 / y, 1e6 / x
