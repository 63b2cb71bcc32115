"""Masks: from the encodings people use to class indices.

A mask is class indices, grey levels, colours, numbered objects, or a folder, page or channel of binary masks for each
class. All become one thing here: a mask file is read as one integer *code* a pixel, and a table from codes to classes
is looked up. The table comes from ``dataset.yaml`` or from :mod:`rescrnet.data.encodings`, which infers it. Pixels that
are not labelled have a code and a class index of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator

from rescrnet.config import MaskValues, validate
from rescrnet.data.edges import settle_edges
from rescrnet.data.images import hex_to_rgb
from rescrnet.data.instances import CLASSES, instances_to_classes
from rescrnet.data.mask_files import (
    STRAYS,
    Labels,
    as_binary,
    count_layers,
    layer_names,
    palette_of,
    read_labels,
    read_layers,
)
from rescrnet.data.origins import Origin
from rescrnet.errors import DataError, UsageError

MaskFiles = Mapping[str, Origin]  # folder of a class → file; the one key "" for a single mask of all classes

IGNORE = 255  # the class index of an unlabelled pixel
UNLABELLED = -1  # the code of an unlabelled pixel
COLOUR = 1 << 24  # marks a code that is a packed RGB colour
STRAY_CODE = 1e-4  # a code with a smaller share of all pixels may be a stray value, given to the nearest class
PALETTE = ("#4d4d4d", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00")  # Okabe and Ito


class ClassEntry(BaseModel):
    """A class: its name, the values that mean it in the masks, and the colour that shows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    value: MaskValues = Field(default_factory=list)
    """Grey values or indices, colours ``"#rrggbb"``, or the folder of binary masks; the name where left out.
    ``"background"`` is what no folder covers."""
    display: str = Field(default="", pattern="^(#[0-9a-fA-F]{6})?$")

    @property
    def values(self) -> list[int | str]:
        """The values as a list."""
        return as_list(self.value) or [self.name]


def as_list(value: MaskValues) -> list[int | str]:
    """One value or several as a list."""
    return value if isinstance(value, list) else [value]


class DatasetFile(BaseModel):
    """``dataset.yaml``, which overrides what would be inferred from the masks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: list[ClassEntry] = Field(default=[], max_length=255)
    """Inferred where left out."""
    allow_single_class: bool = False
    """Accept masks that hold one class only."""
    ignore: MaskValues = []
    """Values of unlabelled pixels; transparent pixels and NaN are unlabelled by themselves."""
    instances: PositiveInt | None = None
    """The masks number objects: make background, interior and boundary of them, the boundary this many pixels wide."""
    groups: dict[str, list[str]] = {}
    """Images that belong together, by what they were taken from: an animal, a stack of sections, one large image.
    They train or they validate, all of them."""
    validation: list[str] = []
    """The images that validate; split off where left out."""
    pixel_size: tuple[PositiveFloat, PositiveFloat] | None = None
    """Height and width of a pixel, micrometres."""

    @field_validator("classes")
    @classmethod
    def _are_several(cls, classes: list[ClassEntry]) -> list[ClassEntry]:
        if len(classes) == 1:
            raise ValueError(f"lists '{classes[0].name}' alone; expected at least two classes")
        return classes

    @classmethod
    def beside(cls, folder: Path) -> DatasetFile | None:
        """The ``dataset.yaml`` in ``folder``, or none. Raises a one-line error where it is not valid."""
        path = folder / "dataset.yaml"
        if not path.is_file():
            return None
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from None
        if not isinstance(values, dict):
            raise DataError(
                f"{path}: is no dataset.yaml; expected keys such as 'classes:', with a name and a value for each"
            )
        try:
            return validate(cls, values, where=str(path))
        except UsageError as error:
            raise DataError(str(error)) from None


def coloured(classes: Sequence[ClassEntry]) -> list[ClassEntry]:
    """The classes, each with a colour to be shown in."""
    return [
        entry if entry.display else entry.model_copy(update={"display": PALETTE[place % len(PALETTE)]})
        for place, entry in enumerate(classes)
    ]


@dataclass(frozen=True)
class MaskReader:
    """Reads mask files as codes.

    Attributes:
        layers: the folders, pages or channels of binary masks, in the order of their codes 1, 2, …; empty for single
            masks.
        colour: whether codes are colours.
        one: the code of a set pixel in a 1-bit file among others.
        stacked: whether the layers are in one file each image.
        palette: whether palette images are read as colours, since equal indices mean different ones.
        ignore: codes of unlabelled pixels.
        instances: width of the boundary where codes number objects, which become background, interior and boundary.
    """

    layers: tuple[str, ...] = ()
    colour: bool = False
    one: int = 255
    stacked: bool = False
    palette: bool = False
    ignore: tuple[int, ...] = ()
    instances: int | None = None

    @classmethod
    def fit(cls, masks: Sequence[MaskFiles], index_limit: int) -> MaskReader:
        """Look through all masks of a dataset once and find out how they are to be read."""
        folders = tuple(sorted({folder for files in masks for folder in files if folder}))
        if folders:
            return cls(folders)
        origins = [files[""] for files in masks]
        if (pages := count_layers(origins[0])) > 1:
            return cls(layer_names(origins, pages), stacked=True)
        palette = not _palettes_agree(origins)
        colour, largest, layers = False, 0, 1
        for origin in origins:
            values = read_labels(origin, palette=palette).values
            layers = max(layers, count_layers(origin, values))
            colour = colour or (values.ndim == 3 and bool((values != values[..., :1]).any()))
            largest = max(largest, int(values.max()) if values.dtype != bool else 0)
        if layers > 1:
            return cls(layer_names(origins, layers), stacked=True)
        return cls(colour=colour, one=255 if largest > index_limit else 1, palette=palette)

    @property
    def names(self) -> tuple[str, ...]:
        """What the codes 1, 2, … are called where they have names; 0 is the background then."""
        return CLASSES[1:] if self.instances else self.layers

    def codes(self, files: MaskFiles) -> NDArray[np.int64]:
        """The mask of one image as one integer code a pixel, YX."""
        codes, unlabelled = self._layer_codes(files) if self.layers else self._single_codes(files[""])
        if self.ignore:
            unlabelled = unlabelled | np.isin(codes, self.ignore)
        if self.instances:
            codes = instances_to_classes(codes, self.instances, unlabelled).astype(np.int64)
        codes[unlabelled] = UNLABELLED
        return codes

    def _single_codes(self, origin: Origin) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        labels = read_labels(origin, palette=self.palette)
        array = labels.values
        if array.dtype == bool:
            array = array.astype(np.int64) * self.one
        if not self.colour:
            return (array if array.ndim == 2 else array[..., 0]).astype(np.int64), labels.unlabelled
        rgb = np.asarray(array if array.ndim == 3 else np.stack([array] * 3, axis=-1), dtype=np.int64)
        return COLOUR | rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2], labels.unlabelled

    def _layer_codes(self, files: MaskFiles) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        found = self._read_layers(files)
        layers = [layer.values for _, layer in found]
        for name, layer in found:
            if layer.values.shape != layers[0].shape:
                raise DataError(
                    f"{name}: is {size_of(layer.values)} but {found[0][0]} is {size_of(layers[0])}; "
                    "the masks of an image must have one size"
                )
        covered = np.sum(layers, axis=0)
        if (twice := int((covered > 1).sum())) > STRAYS * covered.size:
            names = ", ".join(dict.fromkeys(str(name) for name, _ in found))
            kind = "layer" if self.stacked else "one"
            raise DataError(
                f"{names}: {twice} pixels are set in more than one{' ' + kind if self.stacked else ''}; "
                "expected one class a pixel; mend them"
            )
        background = self.layers.index("background") + 1 if "background" in self.layers else 0
        codes = np.full(covered.shape, background, np.int64)
        for code, on in enumerate(layers, start=1):
            codes[on] = code
        return codes, np.any([layer.unlabelled for _, layer in found], axis=0) & (covered == 0)

    def _read_layers(self, files: MaskFiles) -> list[tuple[Origin, Labels]]:
        if self.stacked:
            origin = files[""]
            return [(origin, as_binary(origin, layer)) for layer in read_layers(origin, len(self.layers))]
        return [(files[name], as_binary(files[name], read_labels(files[name]))) for name in self.layers]

    def code_of(self, value: int | str) -> int | None:
        """The code of a value in ``dataset.yaml``, or none where it cannot occur in these masks."""
        if self.names:
            return self.names.index(value) + 1 if value in self.names else 0 if value == "background" else None
        if isinstance(value, int):
            return COLOUR | value * 0x010101 if self.colour else value
        if not (value.startswith("#") and len(value) == 7):
            return None
        red, green, blue = hex_to_rgb(value)
        if self.colour:
            return COLOUR | red << 16 | green << 8 | blue
        return red if red == green == blue else None

    def value_of(self, code: int) -> int | str:
        """The inverse of :meth:`code_of`."""
        if self.names:
            return self.names[code - 1] if code else "background"
        return f"#{code & 0xFFFFFF:06x}" if self.colour else code

    @property
    def kind(self) -> str:
        """What the masks are, for messages."""
        if self.instances:
            return "numbered objects"
        if self.layers:
            return ("layers " if self.stacked else "folders ") + ", ".join(self.layers)
        return "colours" if self.colour else "grey"

    def points(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Codes (n,) as numbers that can be compared, (n, 1) grey levels or (n, 3) colours."""
        return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255] if self.colour else [codes], axis=-1)


def _palettes_agree(origins: Sequence[Origin]) -> bool:
    """Whether an index means one colour in all palette images, and there are no colours beside them."""
    known: dict[int, bytes] = {}
    palettes = [(origin, palette) for origin in origins if (palette := palette_of(origin)) is not None]
    for origin, palette in palettes:
        for index in np.unique(read_labels(origin).values).tolist():
            colour = palette[index].tobytes() if index < len(palette) else b""
            if known.setdefault(index, colour) != colour:
                return False
    others = set(map(str, origins)) - {str(origin) for origin, _ in palettes} if palettes else set()
    return not any(str(origin) in others and read_labels(origin).values.ndim == 3 for origin in origins)


def size_of(array: NDArray[Any]) -> str:
    """The size as ``height×width``."""
    return f"{array.shape[0]}×{array.shape[1]}"


@dataclass(frozen=True)
class MaskTable:
    """The table from codes to classes, and how it came to be.

    Attributes:
        reader: reads the files.
        classes: the classes in the order of their indices.
        counts: pixels of every code in the dataset it was made for.
        antialiased: whether codes of no class are the edges between classes, and go to the one next to them.
        ignore: the values of unlabelled pixels, declared or inferred.
        remarks: what else a person should know about how the masks were read.
    """

    reader: MaskReader
    classes: list[ClassEntry]
    counts: Mapping[int, int]
    antialiased: bool = False
    ignore: tuple[int | str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def indices(self) -> dict[int, int]:
        """Code → class index, for the codes that the classes name."""
        named = [(self.reader.code_of(value), place) for place, e in enumerate(self.classes) for value in e.values]
        return {code: place for code, place in named if code is not None}

    @property
    def strays(self) -> dict[int, int]:
        """Pixels of the codes that no class names."""
        return {code: n for code, n in labelled(self.counts).items() if code not in self.indices}

    def check(self, where: Path) -> None:
        """Raise :class:`DataError` with values, counts and remedy where too much of the masks is in no class."""
        total = sum(labelled(self.counts).values())
        strays = self.strays
        if not total:
            raise DataError(
                f"{where}: no pixel of the masks is labelled, all are {self._unlabelled()}; label some, or mend "
                f"'ignore' in {where / 'dataset.yaml'}"
            )
        if self.antialiased:
            return
        if sum(strays.values()) > STRAYS * total or any(n >= STRAY_CODE * total for n in strays.values()):
            raise DataError(
                f"{where}: the masks hold values that belong to no class: {self.list_values(strays)}; "
                f"mend the masks, or list every value in {where / 'dataset.yaml'}"
            )

    def list_values(self, counts: Mapping[int, int], most: int = 8) -> str:
        """``value × count`` of the most frequent codes, for messages."""
        ranked = Counter(counts).most_common(most)
        more = f" and {len(counts) - most} more" if len(counts) > most else ""
        return ", ".join(f"{self.reader.value_of(code)} ({n} pixels)" for code, n in ranked) + more

    def decode(self, files: MaskFiles) -> NDArray[np.uint8]:
        """The mask of one image as class indices, YX uint8; stray codes go to the nearest class.

        Unlabelled pixels are :data:`IGNORE`.
        """
        codes = self.reader.codes(files)
        if self.antialiased:
            codes = settle_edges(codes, list(self.indices), self.reader.points)
        found, inverse = np.unique(codes, return_inverse=True)
        nearest = np.array([self._index(int(code)) for code in found], dtype=np.uint8)
        return nearest[inverse].reshape(codes.shape)

    def _index(self, code: int) -> int:
        indices = self.indices
        if code == UNLABELLED:
            return IGNORE
        if code in indices:
            return indices[code]
        known = np.array(list(indices))
        distance = np.abs(self.reader.points(known) - self.reader.points(np.array([code]))).sum(-1)
        return indices[int(known[distance.argmin()])]

    def _unlabelled(self) -> str:
        return ", ".join(map(str, self.ignore)) or "transparent or NaN"

    def notes(self) -> list[str]:
        """What else a person should know about how the masks were read."""
        strays = self.strays
        if not strays:
            return [*self.remarks]
        how = (
            "at antialiased edges were given to the class next to them"
            if self.antialiased
            else ("were given to the nearest class")
        )
        return [*self.remarks, f"stray values {how}: {self.list_values(strays)}"]

    def rows(self) -> list[tuple[str, str, float]]:
        """The class table: values in the mask, class, share of pixels; unlabelled pixels last, where there are any."""
        total = sum(self.counts.values())
        pixels = Counter[int]()
        for code, n in self.counts.items():
            pixels[self._index(code)] += n
        values: dict[int, list[str]] = {}
        for code, place in self.indices.items():
            if self.counts.get(code):
                values.setdefault(place, []).append(str(self.reader.value_of(code)))
        rows = [
            (", ".join(values.get(place, ["–"])), entry.name, pixels[place] / total)
            for place, entry in enumerate(self.classes)
        ]
        return [*rows, (self._unlabelled(), "unlabelled", pixels[IGNORE] / total)] if pixels[IGNORE] else rows


def labelled(counts: Mapping[int, int]) -> dict[int, int]:
    """Pixels of every code but that of unlabelled pixels."""
    return {code: n for code, n in counts.items() if code != UNLABELLED}


def pool(counts: Iterable[Mapping[int, int]]) -> Counter[int]:
    """Counts of several masks together."""
    return sum((Counter(one) for one in counts), Counter[int]())
