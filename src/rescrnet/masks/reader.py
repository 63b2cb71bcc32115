"""Masks: from the encodings people use to class indices.

A mask is class indices, grey levels, colours, numbered objects, or a folder, page or channel of binary masks for each
class. All become one thing here: a mask file is read as one integer *code* a pixel, and a table from codes to classes
is looked up. The table comes from ``dataset.yaml`` or from :mod:`rescrnet.masks.infer`, which infers it. Pixels that
are not labelled have a code and a class index of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.display import hex_to_rgb
from rescrnet.errors import DataError
from rescrnet.images.origins import Origin
from rescrnet.masks.files import (
    STRAYS,
    Labels,
    as_binary,
    count_layers,
    layer_names,
    palette_of,
    read_labels,
    read_layers,
)
from rescrnet.masks.instances import CLASSES, instances_to_classes

MaskFiles = Mapping[str, Origin]  # folder of a class → file; the one key "" for a single mask of all classes

UNLABELLED = -1  # the code of an unlabelled pixel
COLOUR = 1 << 24  # marks a code that is a packed RGB colour


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
