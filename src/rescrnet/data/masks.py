"""Masks: from the encodings people use to class indices.

A mask is class indices, grey levels, colours, or a folder of binary masks for each class. All become one thing here:
a mask file is read as one integer *code* a pixel, and a table from codes to classes is looked up. The table comes
from ``dataset.yaml`` or from :mod:`rescrnet.data.encodings`, which infers it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rescrnet.config import validate
from rescrnet.data.images import hex_to_rgb, read
from rescrnet.data.origins import Origin
from rescrnet.errors import DataError, UsageError

MaskFiles = Mapping[str, Origin]  # folder of a class → file; the one key "" for a single mask of all classes

IGNORE = 255  # the class index of an unlabelled pixel
COLOUR = 1 << 24  # marks a code that is a packed RGB colour
STRAY_CODE = 1e-4  # a code with a smaller share of all pixels may be a stray value, given to the nearest class
STRAYS = 1e-2  # more than this share of stray pixels in all is refused
PALETTE = ("#4d4d4d", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00")  # Okabe and Ito


class ClassEntry(BaseModel):
    """A class: its name, the values that mean it in the masks, and the colour that shows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    value: int | str | list[int | str] = Field(default_factory=list)
    """Grey values or indices, colours ``"#rrggbb"``, or the folder of binary masks; the name where left out.
    ``"background"`` is what no folder covers."""
    display: str = Field(default="", pattern="^(#[0-9a-fA-F]{6})?$")

    @field_validator("value", mode="before")
    @classmethod
    def _is_given(cls, value: Any) -> Any:
        if value is None:  # YAML takes an unquoted #ff0000 for a comment
            raise ValueError("is empty; expected a number, a folder's name, or a colour in quotes such as '#ff0000'")
        return value

    @property
    def values(self) -> list[int | str]:
        """The values as a list."""
        values = self.value if isinstance(self.value, list) else [self.value]
        return values or [self.name]


class DatasetFile(BaseModel):
    """``dataset.yaml``, which overrides what would be inferred from the masks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: list[ClassEntry] = Field(min_length=2, max_length=255)
    allow_single_class: bool = False
    """Accept masks that hold one class only."""

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
            raise DataError(f"{path}: is no dataset.yaml; expected 'classes:' with a name and a value for each")
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
        folders: the folders of binary masks, in the order of their codes 1, 2, …; empty for single masks.
        colour: whether codes are colours.
        one: the code of a set pixel in a 1-bit file among others.
    """

    folders: tuple[str, ...] = ()
    colour: bool = False
    one: int = 255

    @classmethod
    def fit(cls, masks: Sequence[MaskFiles], index_limit: int) -> MaskReader:
        """Look through all masks of a dataset once and find out how they are to be read."""
        folders = tuple(sorted({folder for files in masks for folder in files if folder}))
        if folders:
            return cls(folders)
        colour, largest = False, 0
        for files in masks:
            array = read_mask(files[""])
            colour = colour or (array.ndim == 3 and bool((array != array[..., :1]).any()))
            largest = max(largest, int(array.max()) if array.dtype != bool else 0)
        return cls(colour=colour, one=255 if largest > index_limit else 1)

    def codes(self, files: MaskFiles) -> NDArray[np.int64]:
        """The mask of one image as one integer code a pixel, YX."""
        if self.folders:
            return self._folder_codes(files)
        array = read_mask(files[""])
        if array.dtype == bool:
            array = array.astype(np.int64) * self.one
        if not self.colour:
            return np.asarray(array if array.ndim == 2 else array[..., 0], dtype=np.int64)
        rgb = np.asarray(array if array.ndim == 3 else np.stack([array] * 3, axis=-1), dtype=np.int64)
        return COLOUR | rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]

    def _folder_codes(self, files: MaskFiles) -> NDArray[np.int64]:
        layers = [_read_binary(files[folder]) for folder in self.folders]
        for folder, layer in zip(self.folders, layers, strict=True):
            if layer.shape != layers[0].shape:
                raise DataError(
                    f"{files[folder]}: is {size_of(layer)} but {files[self.folders[0]]} is {size_of(layers[0])}; "
                    "the masks of an image must have one size"
                )
        twice = int((np.sum(layers, axis=0) > 1).sum())
        if twice > STRAYS * layers[0].size:
            names = ", ".join(str(files[folder]) for folder in self.folders)
            raise DataError(f"{names}: {twice} pixels are set in more than one; expected one class a pixel; mend them")
        uncovered = self.folders.index("background") + 1 if "background" in self.folders else 0
        codes = np.full(layers[0].shape, uncovered, np.int64)
        for code, layer in enumerate(layers, start=1):
            codes[layer] = code
        return codes

    def code_of(self, value: int | str) -> int | None:
        """The code of a value in ``dataset.yaml``, or none where it cannot occur in these masks."""
        if self.folders:
            return self.folders.index(value) + 1 if value in self.folders else 0 if value == "background" else None
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
        if self.folders:
            return self.folders[code - 1] if code else "background"
        return f"#{code & 0xFFFFFF:06x}" if self.colour else code


def read_mask(path: Origin) -> NDArray[Any]:
    """A mask file as it is, bool or integers, YX or YXC with three channels; an opaque alpha channel is left out.

    Raises :class:`DataError` for transparent pixels, fractions, and colours of more than 8 bits.
    """
    array = read(path)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.round(array)).any():
            raise DataError(
                f"{path}: the mask holds fractions or NaN; expected whole numbers, one for each class; round them"
            )
        array = array.astype(np.int64)
    if array.ndim == 3 and array.shape[-1] in (2, 4):
        alpha = array[..., -1]
        clear = int((alpha < np.iinfo(array.dtype).max).sum())
        if clear:
            raise DataError(
                f"{path}: {clear} pixels of the mask are transparent; expected a class in every pixel; "
                "save it without alpha channel"
            )
        array = array[..., 0] if array.shape[-1] == 2 else array[..., :3]
    if array.ndim == 3 and array.dtype != np.uint8:
        raise DataError(f"{path}: is a colour mask of {array.dtype}; expected 8 bits a channel; convert it")
    if array.dtype != bool and int(array.min()) < 0:
        raise DataError(f"{path}: the mask holds negative values; expected whole numbers from 0; renumber them")
    return array


def _read_binary(path: Origin) -> NDArray[np.bool_]:
    """A binary mask, its antialiased edges cut at half."""
    array = read_mask(path)
    if array.ndim == 3:
        array = array.max(-1)
    if array.dtype == bool:
        return array
    top = int(array.max())
    between = int(((array > 0) & (array < top)).sum())
    if between > STRAYS * array.size:
        raise DataError(f"{path}: {between} pixels lie between 0 and {top}; expected a binary mask; threshold it")
    return array > top // 2


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
    """

    reader: MaskReader
    classes: list[ClassEntry]
    counts: Mapping[int, int]

    @property
    def indices(self) -> dict[int, int]:
        """Code → class index, for the codes that the classes name."""
        named = [(self.reader.code_of(value), place) for place, e in enumerate(self.classes) for value in e.values]
        return {code: place for code, place in named if code is not None}

    @property
    def strays(self) -> dict[int, int]:
        """Pixels of the codes that no class names."""
        return {code: n for code, n in self.counts.items() if code not in self.indices}

    def check(self, where: Path) -> None:
        """Raise :class:`DataError` with values, counts and remedy where too much of the masks is in no class."""
        total = sum(self.counts.values())
        strays = self.strays
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
        """The mask of one image as class indices, YX uint8; stray codes go to the nearest class."""
        codes = self.reader.codes(files)
        found, inverse = np.unique(codes, return_inverse=True)
        nearest = np.array([self._index(int(code)) for code in found], dtype=np.uint8)
        return nearest[inverse].reshape(codes.shape)

    def _index(self, code: int) -> int:
        indices = self.indices
        if code in indices:
            return indices[code]
        point = self._point(code)
        return indices[min(indices, key=lambda known: float(np.abs(self._point(known) - point).sum()))]

    def _point(self, code: int) -> NDArray[np.int64]:
        return np.array([code >> 16 & 255, code >> 8 & 255, code & 255] if self.reader.colour else [code])

    def notes(self) -> list[str]:
        """What else a person should know about how the masks were read."""
        strays = self.strays
        if not strays:
            return []
        return [f"stray values were given to the nearest class: {self.list_values(strays)}"]

    def rows(self) -> list[tuple[str, str, float]]:
        """The class table: values in the mask, class, share of pixels."""
        total = sum(self.counts.values())
        pixels = Counter[int]()
        for code, n in self.counts.items():
            pixels[self._index(code)] += n
        values: dict[int, list[str]] = {}
        for code, place in self.indices.items():
            if self.counts.get(code):
                values.setdefault(place, []).append(str(self.reader.value_of(code)))
        return [
            (", ".join(values.get(place, ["–"])), entry.name, pixels[place] / total)
            for place, entry in enumerate(self.classes)
        ]


def count_codes(reader: MaskReader, masks: Sequence[MaskFiles]) -> Counter[int]:
    """Pixels of every code in ``masks``."""
    counts: Counter[int] = Counter()
    for files in masks:
        values, pixels = np.unique(reader.codes(files), return_counts=True)
        counts.update(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
    return counts
