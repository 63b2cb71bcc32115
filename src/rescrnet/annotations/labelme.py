"""LabelMe's JSON: a file for each image, https://github.com/wkentaro/labelme."""

from __future__ import annotations

import base64
import io
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from rescrnet.annotations.shapes import Annotated, Patch, Ring, Shape, ellipse, rectangle, ring
from rescrnet.errors import DataError

_WITHOUT_AREA = ("point", "points", "line", "linestrip")


def read_labelme(content: dict[str, Any], where: object) -> list[Annotated]:
    """What LabelMe's JSON says. Raises :class:`DataError` for a shape of an unknown type; other errors of any type."""
    height, width = content.get("imageHeight"), content.get("imageWidth")
    name = PurePosixPath(str(content.get("imagePath") or "").replace("\\", "/")).name
    found = Annotated(name, (int(height), int(width)) if height and width else None)
    for shape in content["shapes"]:
        kind, points = shape.get("shape_type") or "polygon", ring(shape["points"])
        if kind in _WITHOUT_AREA or (kind == "polygon" and len(points) < 3):
            found.passed_over[kind] += 1
            continue
        area = _area(kind, points, shape)
        if area is None:
            raise DataError(
                where,
                f"holds a shape of the type '{kind}' with {len(points)} points, which is not known",
                "expected polygons, rectangles, circles and masks of LabelMe",
            )
        number = shape.get("group_id")
        found.shapes.append(Shape(str(shape["label"]).strip(), [area], number))
    return [found]


def _area(kind: str, points: Ring, shape: dict[str, Any]) -> list[Ring] | Patch | None:
    if kind == "rectangle" and len(points) == 2:
        return [rectangle(*points[0], *points[1])]
    if kind in ("polygon", "rectangle", "oriented_rectangle") and len(points) > 2:
        return [points]
    if kind == "circle" and len(points) == 2:
        radius = float(np.hypot(*(points[1] - points[0])))
        return ellipse(points[0, 0], points[0, 1], radius, radius)
    if kind == "mask" and shape.get("mask"):  # a PNG as text; its upper left corner is the first point
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
            mask = np.asarray(picture.convert("L")) > 0
        return Patch(mask, round(points[0, 1]), round(points[0, 0]))
    return None
