"""The table of objects, a row for each, and its summary, a row for each image, plane and class."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import UsageError
from rescrnet.objects.measure import Measured, axes_of
from rescrnet.wording import as_text

_ABOUT = "about the table"
Column = NDArray[Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class ObjectTable:
    """The objects of one class in one plane.

    Attributes:
        image: its name.
        plane: its name, where the image has several.
        name: of the class.
        columns: by name, each with one value an object. Names end in their unit; those without one have none.
        pixels: of the plane.
        pixel_size: height and width of a pixel in micrometres, where known.
        shares: of the classes in the area of the plane, by name.
    """

    image: str
    plane: str
    name: str
    columns: Mapping[str, Column]
    pixels: int
    pixel_size: tuple[float, float] | None
    shares: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.columns["label"])

    def save(self, file: Path) -> None:
        """Keep the table, for an interrupted work."""
        about = {name: getattr(self, name) for name in ("image", "plane", "name", "pixels", "pixel_size", "shares")}
        with file.open("wb") as opened:
            np.savez(opened, **dict(self.columns), **{_ABOUT: np.array(json.dumps(about))})  # type: ignore[arg-type]

    @classmethod
    def load(cls, file: Path) -> ObjectTable:
        """A table that was kept."""
        with np.load(file) as kept:
            about = json.loads(str(kept[_ABOUT]))
            size = about.pop("pixel_size")
            columns = {name: kept[name] for name in kept.files if name != _ABOUT}
        return cls(columns=columns, pixel_size=tuple(size) if size else None, **about)

    def rows(self) -> Iterable[Row]:
        """The rows, numbers as Python has them, what is not known as None."""
        about = {"image": as_text(self.image), "plane": self.plane, "class": self.name}
        lists = [_plain(column) for column in self.columns.values()]
        for values in zip(*lists, strict=True):
            yield {**about, **dict(zip(self.columns, values, strict=True))}

    def summary(self) -> Row:
        """Number, density, share of the area and medians, with the shares of all classes."""
        about: dict[str, Any] = {"image": as_text(self.image), "plane": self.plane, "class": self.name}
        area = self.columns["area_px"]
        about |= {
            "objects": len(self),
            "objects_per_megapixel": len(self) / self.pixels * 1e6,
            "objects_per_mm2": len(self) / (self.pixels * _square(self.pixel_size)) * 1e6 if self.pixel_size else None,
            "objects_area_fraction": float(area.sum()) / self.pixels,
        }
        for name in _MEDIANS:
            values = self.columns[name]
            known = len(self) > 0 and not np.isnan(values).all()
            about[f"median_{name}"] = float(np.median(values)) if known else None
        return about | {f"area_fraction_{name}": share for name, share in self.shares.items()}


_MEDIANS = (
    "area_px",
    "area_um2",
    "equivalent_diameter_area_px",
    "equivalent_diameter_area_um",
    "feret_diameter_min_px",
    "feret_diameter_min_um",
    "eccentricity",
    "solidity",
)


def columns_of(measured: Measured, pixel_size: tuple[float, float] | None) -> dict[str, Column]:
    """The columns of the table, in pixels and in micrometres; NaN where the size of a pixel is not known.

    Perimeters in micrometres need pixels as wide as high.
    """
    unknown = np.full(len(measured.area), np.nan)
    step = pixel_size or (np.nan, np.nan)
    square = pixel_size is not None and abs(step[0] / step[1] - 1) < 0.01
    y, x = measured.centroid.T
    area, hulls, nearest = measured.area, measured.hulls, measured.nearest()
    eccentricity, orientation = axes_of(measured.moments, pixel_size or (1.0, 1.0))
    diameter = np.sqrt(4 * area / np.pi)
    columns: dict[str, Column] = {
        "label": np.arange(1, len(area) + 1),
        "area_px": area.astype(np.int64),
        "area_um2": area * step[0] * step[1],
        "centroid_y_px": y,
        "centroid_x_px": x,
        "centroid_y_um": (y + 0.5) * step[0],
        "centroid_x_um": (x + 0.5) * step[1],
        "bbox_y0_px": measured.boxes[:, 0],
        "bbox_x0_px": measured.boxes[:, 2],
        "bbox_y1_px": measured.boxes[:, 1],
        "bbox_x1_px": measured.boxes[:, 3],
        "perimeter_px": measured.perimeter,
        "perimeter_um": measured.perimeter * step[0] if square else unknown,
        "feret_diameter_max_px": hulls.longest,
        "feret_diameter_max_um": hulls.longest_um,
        "feret_diameter_min_px": hulls.shortest,
        "feret_diameter_min_um": hulls.shortest_um,
        "equivalent_diameter_area_px": diameter,
        "equivalent_diameter_area_um": diameter * np.sqrt(step[0] * step[1]),
        "eccentricity": eccentricity,
        "solidity": area / hulls.area,
        "orientation_deg": orientation,
        "neighbors_touching": measured.neighbours,
        "nearest_distance_px": nearest,
        "nearest_distance_um": unknown if pixel_size is None else measured.nearest(pixel_size),
        "touches_edge": measured.at_border,
    }
    if measured.intensity is not None:
        for name, values in zip(("mean", "std", "min", "max"), measured.intensity, strict=True):
            columns |= {f"intensity_{name}_{channel}": values[:, channel] for channel in range(values.shape[1])}
    return columns


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, UTF-8; what is not known stays empty. The columns are those of all rows."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)


def write_tables(path: Path, tables: Sequence[ObjectTable]) -> None:
    """Write the objects of all tables as one CSV, a table at a time."""
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["image", "plane", "class", *names], restval="", lineterminator="\n")
        writer.writeheader()
        for table in tables:
            writer.writerows({name: _text(value) for name, value in row.items()} for row in table.rows())


def write_parquet(path: Path, tables: Sequence[ObjectTable]) -> None:
    """Write the objects of all tables as one Parquet file. Raises :class:`UsageError` where pyarrow is missing."""
    arrow, parquet = import_parquet()
    parts = []
    for table in tables:
        about = {"image": as_text(table.image), "plane": table.plane, "class": table.name}
        parts.append(arrow.table({name: [text] * len(table) for name, text in about.items()} | dict(table.columns)))
    parquet.write_table(arrow.concat_tables(parts, promote_options="default"), path)


def import_parquet() -> tuple[Any, Any]:
    """The modules of pyarrow. Raises :class:`UsageError` where it is missing."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("--parquet", "needs pyarrow", "pip install 'rescrnet[parquet]'") from None
    return pyarrow, pyarrow.parquet


def _plain(column: Column) -> list[Any]:
    values: list[Any] = column.tolist()
    if column.dtype.kind != "f":
        return values
    return [None if value != value else value for value in values]


def _text(value: Any) -> Any:
    """Six digits tell more than pixels do."""
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else value


def _square(pixel_size: tuple[float, float] | None) -> float:
    return 1.0 if pixel_size is None else pixel_size[0] * pixel_size[1]
