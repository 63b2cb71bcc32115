"""COCO's JSON: one file for many images, as CVAT, Roboflow and COCO write it, https://cocodataset.org/#format-data."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.annotations.shapes import Annotated, Patch, Ring, Shape, ring
from rescrnet.errors import DataError


def read_coco(content: dict[str, Any], where: object) -> list[Annotated]:
    """What COCO's JSON says of each image. Raises :class:`DataError` for runs that do not fit; other errors of any
    type."""
    names = {category["id"]: str(category["name"]).strip() for category in content["categories"]}
    images: dict[Any, Annotated] = {}
    for image in content["images"]:
        height, width = image.get("height"), image.get("width")
        name = PurePosixPath(str(image["file_name"]).replace("\\", "/")).name
        images[image["id"]] = Annotated(name, (int(height), int(width)) if height and width else None)
    for place, annotation in enumerate(content["annotations"]):
        if annotation["image_id"] not in images or annotation["category_id"] not in names:
            raise DataError(
                where,
                f"annotation {annotation.get('id', place)} is of image {annotation['image_id']} and category "
                f"{annotation['category_id']}, which are not both listed",
                "export it anew",
            )
        found = images[annotation["image_id"]]
        areas = _areas(annotation.get("segmentation"), where)
        if areas:
            found.shapes.append(Shape(names[annotation["category_id"]], areas))
        else:
            found.passed_over["box" if annotation.get("bbox") else "annotation without segmentation"] += 1
    return list(images.values())


def _areas(segmentation: Any, where: object) -> list[list[Ring] | Patch]:
    if isinstance(segmentation, dict):
        height, width = (int(side) for side in segmentation["size"])
        return [Patch(_runs(segmentation["counts"], height, width, where))]
    rings = [ring(points) for points in segmentation or ()]
    return [[corners] for corners in rings if len(corners) > 2]


def _runs(counts: str | list[int], height: int, width: int, where: object) -> NDArray[np.bool_]:
    """The mask of runs of pixels outside and inside by turns, column by column."""
    lengths = np.array(_unpacked(counts) if isinstance(counts, str) else counts, np.int64)
    if lengths.sum() != height * width or (lengths < 0).any():
        raise DataError(where, f"holds runs of {lengths.sum()} pixels for {height * width}", "export it anew")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def _unpacked(text: str) -> list[int]:
    """The runs that pycocotools packs into text: 5 bits a letter, least first, a sixth says that more follow.

    From the fourth on, a run is given by how it differs from the one before the last.
    """
    runs: list[int] = []
    value = bits = 0
    for letter in text.encode("ascii"):
        code = letter - 48
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:  # negative
            value -= 1 << bits
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = bits = 0
    return runs
