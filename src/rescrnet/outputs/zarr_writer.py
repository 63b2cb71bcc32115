"""Results as OME-Zarr: labels with class names, colours and a pyramid, or probabilities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rescrnet.atomic import write_atomically
from rescrnet.classes import ClassEntry
from rescrnet.display import hex_to_rgb
from rescrnet.errors import OutputError
from rescrnet.images.npy import RawArray
from rescrnet.images.stack import Axis

_CHUNK = 1024
_TYPES = {"t": "time", "c": "channel"}
_VERSIONS = {2: "0.4", 3: "0.5"}


def write_zarr(
    path: Path,
    levels: Sequence[RawArray],
    axes: Sequence[Axis],
    classes: Sequence[ClassEntry],
    zarr_format: Literal[2, 3],
    *,
    name: str,
    image: str | None = None,
) -> None:
    """Write classes (planes, Y, X) uint8 or numbers of objects (uint16, uint32) as labels, or probabilities
    (planes, C, Y, X) float32 as an image.

    Args:
        path: the new group.
        levels: the result and its smaller levels.
        axes: the axes of the planes, then y and x, with the steps and origins of the image.
        classes: in the order of their indices; none for objects, whose colours viewers choose.
        zarr_format: 2 for OME-Zarr 0.4, 3 for 0.5.
        name: of the result.
        image: the image from the group, where both lie in one Zarr.
    """
    import zarr  # takes a third of a second, and most results are none

    if levels[0].dtype.kind == "f":
        axes = [*axes[:-2], Axis("c", len(classes)), *axes[-2:]]
    # The order that the format wants; that of the levels is another where there is z.
    ordered = sorted(axes, key=lambda axis: "tczyx".index(axis.name))
    attributes = _attributes(levels, ordered, classes, zarr_format, name, image)
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format, attributes=attributes)
    for number, level in enumerate(levels):
        _write_level(group, str(number), level, ordered, axes)


def _attributes(
    levels: Sequence[RawArray],
    axes: Sequence[Axis],
    classes: Sequence[ClassEntry],
    zarr_format: Literal[2, 3],
    name: str,
    image: str | None,
) -> dict[str, Any]:
    probabilities, version = levels[0].dtype.kind == "f", _VERSIONS[zarr_format]
    multiscale = {
        "name": name,
        "axes": [_describe(axis) for axis in axes],
        "datasets": [
            {"path": str(number), "coordinateTransformations": _transformations(axes, number, probabilities)}
            for number in range(len(levels))
        ],
        "type": "mean" if probabilities else "nearest",
    }
    attributes: dict[str, Any] = {"multiscales": [multiscale]}
    if probabilities:
        attributes["omero"] = {"channels": [_channel(entry) for entry in classes]}
    else:
        attributes["image-label"] = _label(classes, image)
    if zarr_format == 3:
        return {"ome": {"version": version, **attributes}}
    for part in (multiscale, attributes.get("image-label"), attributes.get("omero")):
        if part is not None:
            part["version"] = version
    return attributes


def _write_level(group: Any, name: str, level: RawArray, ordered: Sequence[Axis], axes: Sequence[Axis]) -> None:
    """Write a level, whose planes and classes follow each other as ``axes`` say, with its axes ``ordered``."""
    lengths = {axis.name: axis.length for axis in axes}
    outer = [axis.name for axis in axes[:-2]]
    order = [outer.index(axis.name) for axis in ordered[:-2]]
    rows, columns = level.shape[-2:]
    height, width = min(_CHUNK, rows), min(_CHUNK, columns)
    new = {"dimension_names": [axis.name for axis in ordered]} if group.metadata.zarr_format == 3 else {}
    array = group.create_array(
        name,
        shape=(*(lengths[axis.name] for axis in ordered[:-2]), rows, columns),
        dtype=level.dtype,
        chunks=(*[1] * len(outer), height, width),
        chunk_key_encoding={"name": "default" if new else "v2", "separator": "/"},
        config={"write_empty_chunks": True},  # a chunk that is not there could as well have been lost
        **new,
    )
    for number, place in enumerate(np.ndindex(*[lengths[name] for name in outer])):
        source = np.unravel_index(number, level.shape[:-2])
        for y in range(0, rows, height):
            for x in range(0, columns, width):
                region = (slice(y, min(y + height, rows)), slice(x, min(x + width, columns)))
                array[(*(place[i] for i in order), *region)] = level[(*map(int, source), *region)]


def register_label(labels: Path, name: str, zarr_format: Literal[2, 3]) -> None:
    """List ``name`` in the ``labels`` group of an image, which is made if it is not there."""
    import zarr

    if zarr_format == 2:
        group = labels / ".zgroup"
        if not group.is_file():
            _replace_json(group, {"zarr_format": 2})
        file = labels / ".zattrs"
        attributes = _read_json(file) if file.is_file() else {}
        attributes["labels"] = sorted({*attributes.get("labels", []), name})
        _replace_json(file, attributes)
        return
    file = labels / "zarr.json"
    if not file.is_file():
        zarr.open_group(labels, mode="a", zarr_format=3)
    metadata = _read_json(file)
    ome = metadata.setdefault("attributes", {}).setdefault("ome", {"version": _VERSIONS[3]})
    ome["labels"] = sorted({*ome.get("labels", []), name})
    _replace_json(file, metadata)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise OutputError(file, "is no JSON object, is it damaged?", "expected the metadata of a group; copy it again")
    return content


def _replace_json(file: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2)
    write_atomically(file, lambda partial: partial.write_text(text, encoding="utf-8"))


def _describe(axis: Axis) -> dict[str, str]:
    described = {"name": axis.name, "type": _TYPES.get(axis.name, "space")}
    return described | ({"unit": axis.unit} if axis.unit else {})


def _transformations(axes: Sequence[Axis], number: int, mean: bool) -> list[dict[str, Any]]:
    """Step and origin of a level. A mean lies between its pixels, a nearest pixel where it was."""
    scale, translation = [], []
    for axis in axes:
        step, halvings = axis.scale or 1.0, 2**number if axis.name in "yx" else 1
        scale.append(step * halvings)
        translation.append(axis.translation + (step * (halvings - 1) / 2 if mean else 0.0))
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if any(translation):
        steps.append({"type": "translation", "translation": translation})
    return steps


def _label(classes: Sequence[ClassEntry], image: str | None) -> dict[str, Any]:
    if not classes:
        return {"source": {"image": image}} if image else {}
    label: dict[str, Any] = {
        "colors": [
            {
                "label-value": index,
                "rgba": [*hex_to_rgb(entry.color or "#000000"), 0 if _is_background(index, entry) else 255],
            }
            for index, entry in enumerate(classes)
        ],
        "properties": [{"label-value": index, "class": entry.name} for index, entry in enumerate(classes)],
    }
    return label | ({"source": {"image": image}} if image else {})


def _is_background(index: int, entry: ClassEntry) -> bool:
    return index == 0 and entry.name.lower() == "background"


def _channel(entry: ClassEntry) -> dict[str, Any]:
    window = {"min": 0.0, "max": 1.0, "start": 0.0, "end": 1.0}
    return {"label": entry.name, "color": (entry.color or "#ffffff")[1:], "window": window, "active": True}
