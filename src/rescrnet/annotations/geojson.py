"""GeoJSON, as QuPath writes it: a file for each image, coordinates in its pixels (RFC 7946 says what may be in it)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rescrnet.annotations.shapes import OBJECT, Annotated, Ring, Shape, ring
from rescrnet.errors import DataError

_WITHOUT_AREA = {"Point": "point", "MultiPoint": "point", "LineString": "line", "MultiLineString": "line"}


def read_geojson(content: dict[str, Any] | list[Any], where: object) -> list[Annotated]:
    """What a feature, a list or a collection of features says. Raises :class:`DataError` where shapes or classes are
    not understood; other errors of any type."""
    found = Annotated()
    features = content if isinstance(content, list) else content.get("features", [content])
    classes = Counter[str]()
    for feature in features:
        geometry = feature["geometry"]
        kind = geometry["type"]
        if kind in _WITHOUT_AREA:
            found.passed_over[_WITHOUT_AREA[kind]] += 1
            continue
        if kind not in ("Polygon", "MultiPolygon"):
            raise DataError(
                where, f"holds a shape of the type '{kind}'", "expected Polygon and MultiPolygon; export it anew"
            )
        polygons = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
        areas: list[list[Ring]] = [[ring(points) for points in rings] for rings in polygons if rings]
        name = _class_of(feature.get("properties") or {})
        classes[name] += 1
        found.shapes.append(Shape(name or OBJECT, areas))
    if len(classes) > 1 and (without := classes[""]):
        named = ", ".join(sorted(name for name in classes if name))
        raise DataError(
            where,
            f"{without} of {classes.total()} annotations have no class, others are {named}",
            "give each a class in QuPath (Set class), or remove those that are none",
        )
    return [found]


def _class_of(properties: dict[str, Any]) -> str:
    """The classification of an object, which QuPath has written in several ways; nothing where it has none."""
    given = properties.get("classification")
    if isinstance(given, dict):
        given = given.get("name") or ": ".join(given.get("names") or ())
    return str(given or "").strip()
