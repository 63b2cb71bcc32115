"""Objects into other programs: ImageJ's ROI manager, QuPath, and COCO."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rescrnet.display import hex_to_rgb
from rescrnet.inference.region import Region
from rescrnet.objects.find import Objects
from rescrnet.objects.outlines import Ring, rings
from rescrnet.objects.table import ObjectTable, Row
from rescrnet.wording import as_text

_IDENTITY = ("image", "plane", "class", "label")
EXPORTS = ("imagej", "qupath", "coco")

# What QuPath calls our columns, where it has them; its own measurements have these names.
_QUPATH = {
    "area_px": "Area px^2",
    "area_um2": "Area µm^2",
    "perimeter_px": "Length px",
    "perimeter_um": "Length µm",
    "feret_diameter_max_px": "Max diameter px",
    "feret_diameter_max_um": "Max diameter µm",
    "feret_diameter_min_px": "Min diameter px",
    "feret_diameter_min_um": "Min diameter µm",
    "solidity": "Solidity",
    "eccentricity": "Eccentricity",
}


@dataclass(frozen=True)
class Exported:
    """The objects of one class in one plane, with their table and colour."""

    objects: Objects
    table: ObjectTable
    colour: str
    plane: int = 0

    def masks(self) -> Iterator[tuple[Row, tuple[int, int], NDArray[np.bool_]]]:
        """Each row of the table, with where the object begins (y, x) and its pixels in its bounding box."""
        for row, (y0, y1, x0, x1) in zip(self.table.rows(), self.objects.boxes.tolist(), strict=True):
            yield row, (y0, x0), self.objects.read(Region(y0, y1, x0, x1)) == row["label"]


def write_imagej(path: Path, exported: Exported) -> None:
    """Write a ``.zip`` for ImageJ's ROI manager: of each object its outline along the sides of its pixels, no holes."""
    import roifile

    rois = []
    position = exported.plane if exported.table.plane else None  # roifile makes it 1 and more, as ImageJ counts
    for row, origin, mask in exported.masks():
        outline = rings(mask, joined=True)[0][0] + origin
        name = f"{row['label']:04}-{exported.table.name}"
        rois.append(roifile.ImagejRoi.frompoints(outline[:, ::-1], name=name, position=position))
    if rois:
        roifile.roiwrite(path, rois, mode="w")
    else:  # an empty archive is a valid one
        path.write_bytes(b"PK\x05\x06" + bytes(18))


def write_qupath(path: Path, exported: Exported) -> None:
    """Write GeoJSON as QuPath reads and writes it: a detection for each object, with class and measurements."""
    colour = list(hex_to_rgb(exported.colour))
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, (row, origin, mask) in enumerate(exported.masks()):
            measurements = {name: row[key] for key, name in _QUPATH.items() if row.get(key) is not None}
            intensities = {key: row[key] for key in row if key.startswith("intensity_")}
            feature = {
                "type": "Feature",
                "id": str(
                    uuid.uuid5(uuid.NAMESPACE_OID, f"{row['image']}/{row['plane']}/{row['class']}/{row['label']}")
                ),
                "geometry": _polygons(mask, origin),
                "properties": {
                    "objectType": "detection",
                    "name": str(row["label"]),
                    "classification": {"name": exported.table.name, "color": colour},
                    "measurements": measurements | intensities,
                },
            }
            file.write((",\n" if number else "\n") + json.dumps(feature, ensure_ascii=False))
        file.write("\n]}\n")


def _polygons(mask: NDArray[np.bool_], origin: tuple[int, int]) -> dict[str, Any]:
    """The outline as GeoJSON, x before y, each ring closed; parts that share but a corner are polygons of their own."""
    outer, holes = rings(mask)

    def closed(ring: Ring) -> list[list[int]]:
        points = (ring + origin)[:, ::-1].tolist()
        return [*points, points[0]]

    if len(outer) == 1:
        return {"type": "Polygon", "coordinates": [closed(ring) for ring in (*outer, *holes)]}
    polygons = [[closed(ring), *(closed(hole) for hole in holes if _holds(ring, hole))] for ring in outer]
    return {"type": "MultiPolygon", "coordinates": polygons}


def _holds(ring: Ring, hole: Ring) -> bool:
    """Whether a hole lies within an outer ring: by the crossings of a line to the left of a pixel of the hole."""
    top = hole[np.lexsort((hole[:, 1], hole[:, 0]))[0]]
    y, x = top[0] + 0.5, top[1] + 0.5
    (ys, xs), (ends, _) = ring.T, np.roll(ring, -1, axis=0).T
    crossings = (np.minimum(ys, ends) < y) & (y < np.maximum(ys, ends)) & (xs < x)
    return bool(crossings.sum() % 2)


def coco_lines(exported: Exported) -> Iterator[str]:
    """The annotations of the objects as JSON, a line each, whose image and category are still names."""
    rows, columns = exported.objects.shape
    for row, (y, x), mask in exported.masks():
        annotation = {
            "iscrowd": 0,
            "area": row["area_px"],
            "bbox": [x, y, mask.shape[1], mask.shape[0]],
            "segmentation": {"size": [rows, columns], "counts": run_lengths(mask, (y, x), (rows, columns))},
        }
        yield json.dumps(annotation) + "\n"


class CocoImage(NamedTuple):
    """A plane in ``coco.json``: what it is called, its rows and columns, and a file of :func:`coco_lines` by class."""

    name: str
    size: tuple[int, int]
    lines: Mapping[str, Path]


def write_coco(path: Path, images: Sequence[CocoImage], classes: Sequence[str]) -> None:
    """Write ``coco.json``: images, categories, and annotations whose segmentations are run lengths."""
    entries = [
        {"id": number, "file_name": as_text(image.name), "width": image.size[1], "height": image.size[0]}
        for number, image in enumerate(images, start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    head = json.dumps({"images": entries, "categories": categories}, ensure_ascii=False)
    written = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{head[:-1]}, "annotations": [')
        for number, image in enumerate(images, start=1):
            for category, name in enumerate(classes, start=1):
                if name not in image.lines:
                    continue
                with image.lines[name].open(encoding="utf-8") as lines:
                    for line in lines:
                        written += 1
                        about = f'{{"id": {written}, "image_id": {number}, "category_id": {category}, '
                        file.write((",\n" if written > 1 else "\n") + about + line.strip().removeprefix("{"))
        file.write("\n]}\n")


def run_lengths(mask: NDArray[np.bool_], origin: tuple[int, int], shape: tuple[int, int]) -> list[int]:
    """A mask at ``origin`` in an image of ``shape`` as COCO's run lengths: down the columns, outside first."""
    padded = np.pad(mask, ((1, 1), (0, 0))).T.astype(np.int8)
    columns, begins = np.nonzero(np.diff(padded, axis=1) == 1)
    _, ends = np.nonzero(np.diff(padded, axis=1) == -1)
    first = (columns + origin[1]) * shape[0] + origin[0]
    starts, stops = first + begins, first + ends
    meet = np.flatnonzero(starts[1:] == stops[:-1])  # from the foot of a column to the head of the next
    starts, stops = np.delete(starts, meet + 1), np.delete(stops, meet)
    places = np.stack([starts, stops], axis=1).ravel()
    counts: list[int] = np.diff(places, prepend=0, append=shape[0] * shape[1]).tolist()
    return counts
