"""Masks: from the encodings people use to class indices.

A mask is class indices, grey levels, colours, numbered objects, or a folder, page or channel of binary masks for each
class. All become one thing here: a mask file is read as one integer *code* a pixel, and a table from codes to classes
is looked up. The table comes from ``dataset.yaml`` or from :mod:`rescrnet.masks.infer`, which infers it. Pixels that
are not labelled have a code and a class index of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.display import hex_to_rgb
from rescrnet.errors import DataError
from rescrnet.images.whole import Origin, Outlines
from rescrnet.masks.edges import Codes
from rescrnet.masks.files import STRAYS, Labels, as_binary
from rescrnet.masks.instances import CLASSES, instances_to_classes
from rescrnet.masks.stored import MaskFiles, layer_names
from rescrnet.wording import size

UNLABELLED = -1  # the code of an unlabelled pixel
COLOUR = 1 << 24  # marks a code that is a packed RGB colour
GROUND = 1 << 26  # the code of a transparent pixel where those are the background


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
        ground: whether transparent pixels are the background, not unlabelled.
        outlined: whether the layers are the classes of outlines, painted one over the other.
        instances: width of the boundary, pixels, where codes number objects, which become background, interior and
            boundary.
    """

    layers: tuple[str, ...] = ()
    colour: bool = False
    one: int = 255
    stacked: bool = False
    palette: bool = False
    ignore: tuple[int, ...] = ()
    ground: bool = False
    outlined: bool = False
    instances: float | None = None

    @classmethod
    def fit(cls, masks: Sequence[Mapping[str, Origin]], index_limit: int) -> MaskReader:
        """Look through all masks of a dataset once and find out how they are to be read."""
        stored = [MaskFiles.of(files) for files in masks]
        folders = tuple(sorted({folder for files in stored for folder in files if folder}))
        if folders:
            return cls(folders)
        if any(isinstance(files.first, Outlines) and not files.first.numbered for files in stored):
            return cls._of_outlines(stored)
        if (pages := stored[0].pages) > 1:
            return cls(layer_names(stored, pages), stacked=True)
        palette = not _palettes_agree(stored)
        colour, largest, layers = False, 0, 1
        for files in stored:
            labels = files.labels(files.first)
            values = labels.colours if palette else labels.values
            layers = max(layers, files.pages if files.pages > 1 else replace(labels, values=values).layers)
            colour = colour or (values.ndim == 3 and bool((values != values[..., :1]).any()))
            largest = max(largest, int(values.max()) if values.dtype != bool else 0)
        if layers > 1:
            return cls(layer_names(stored, layers), stacked=True)
        return cls(colour=colour, one=255 if largest > index_limit else 1, palette=palette)

    @classmethod
    def _of_outlines(cls, stored: Sequence[MaskFiles]) -> MaskReader:
        """A reader of outlines, whose classes are those of all files."""
        names: set[str] = set()
        for files in stored:
            if (found := files.labels(files.first).names) is None:
                raise DataError(
                    files.first, "is a mask of pixels, others are outlines", "keep one kind of masks in a dataset"
                )
            names.update(found)
        return cls(tuple(sorted(names)), outlined=True)

    @property
    def names(self) -> tuple[str, ...]:
        """What the codes 1, 2, … are called where they have names; 0 is the background then."""
        return CLASSES[1:] if self.instances else self.layers

    @property
    def named(self) -> bool:
        """Whether codes have names, though there may be none."""
        return bool(self.names) or self.outlined

    def codes(self, files: Mapping[str, Origin]) -> Codes:
        """The mask of one image as one integer code a pixel, YX."""
        codes, unlabelled = self._stored(files)
        if self.instances:
            codes = instances_to_classes(codes, self.instances, unlabelled).astype(np.int16)
        if unlabelled is not None:
            codes[unlabelled] = UNLABELLED
        return codes

    def numbers(self, files: Mapping[str, Origin]) -> NDArray[np.int32]:
        """Of a mask that numbers objects, the objects, YX: numbered from 1 in the order of their codes, else 0."""
        codes, unlabelled = self._stored(files)
        if unlabelled is not None:
            codes = np.where(unlabelled, 0, codes)
        values = np.union1d([0], codes)
        order = np.argsort(values != 0, kind="stable")  # whatever is below zero is an object, too
        places = np.empty(len(values), np.int32)
        places[order] = np.arange(len(values))
        return np.asarray(places[np.searchsorted(values, codes)], np.int32)

    def _stored(self, files: Mapping[str, Origin]) -> tuple[Codes, NDArray[np.bool_] | None]:
        """The codes as the files have them, and which pixels are unlabelled."""
        stored = MaskFiles.of(files)
        if self.outlined:
            codes, unlabelled = self._outlined_codes(stored)
        else:
            codes, unlabelled = self._layer_codes(stored) if self.layers else self._single_codes(stored)
        if self.ground and unlabelled is not None:
            codes = codes.astype(np.int64)
            codes[unlabelled], unlabelled = GROUND, None
        if self.ignore:
            ignored = np.isin(codes, self.ignore)
            unlabelled = ignored if unlabelled is None else unlabelled | ignored
        return codes, unlabelled

    def _single_codes(self, files: MaskFiles) -> tuple[Codes, NDArray[np.bool_] | None]:
        labels = files.labels(files.first)
        array = labels.colours if self.palette else labels.values
        if array.dtype == bool:
            array = array * np.int16(self.one)
        if not self.colour:
            return _signed(array if array.ndim == 2 else array[..., 0]), labels.unlabelled
        rgb = np.asarray(array if array.ndim == 3 else np.stack([array] * 3, axis=-1), dtype=np.int32)
        return COLOUR | rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2], labels.unlabelled

    def _outlined_codes(self, files: MaskFiles) -> tuple[Codes, NDArray[np.bool_] | None]:
        labels = files.labels(files.first)
        codes = np.array([0, *(self.layers.index(name) + 1 for name in labels.names or ())], np.int16)
        return codes[labels.values], labels.unlabelled

    def _layer_codes(self, files: MaskFiles) -> tuple[Codes, NDArray[np.bool_] | None]:
        read = self._read_layers(files)
        layers = [layer.values for _, layer in read]
        for name, layer in read:
            if layer.values.shape != layers[0].shape:
                raise DataError(
                    name,
                    f"is {size(layer.values.shape)} but {read[0][0]} is {size(layers[0].shape)}",
                    "the masks of an image must have one size",
                )
        covered = np.sum(layers, axis=0)
        if (twice := int((covered > 1).sum())) > STRAYS * covered.size:
            names = ", ".join(dict.fromkeys(str(name) for name, _ in read))
            where = "layer" if self.stacked else "mask"
            raise DataError(
                names, f"{twice} pixels are set in more than one {where}", "expected one class a pixel; correct them"
            )
        background = self.layers.index("background") + 1 if "background" in self.layers else 0
        codes = np.full(covered.shape, background, np.int16)
        for code, on in enumerate(layers, start=1):
            codes[on] = code
        unlabelled = [layer.unlabelled for _, layer in read if layer.unlabelled is not None]
        return codes, np.any(unlabelled, axis=0) & (covered == 0) if unlabelled else None

    def _read_layers(self, files: MaskFiles) -> list[tuple[Origin, Labels]]:
        if self.stacked:
            return [(origin, as_binary(origin, layer)) for origin, layer in files.layers(len(self.layers))]
        return [(files[name], as_binary(files[name], files.labels(files[name]))) for name in self.layers]

    def code_of(self, value: int | str) -> int | None:
        """The code of a value in ``dataset.yaml``, or none where it cannot occur in these masks."""
        if self.named:
            return self.names.index(value) + 1 if value in self.names else 0 if value == "background" else None
        if value == "background" and self.ground:
            return GROUND
        if isinstance(value, int):
            return COLOUR | value * 0x010101 if self.colour else value
        if not re.fullmatch("#[0-9a-fA-F]{6}", value):
            return None
        red, green, blue = hex_to_rgb(value)
        if self.colour:
            return COLOUR | red << 16 | green << 8 | blue
        return red if red == green == blue else None

    def value_of(self, code: int) -> int | str:
        """The inverse of :meth:`code_of`."""
        if self.named:
            return self.names[code - 1] if code else "background"
        if code == GROUND:
            return "background"
        return f"#{code & 0xFFFFFF:06x}" if self.colour else code

    @property
    def kind(self) -> str:
        """What the masks are, for messages."""
        if self.instances:
            return "numbered objects"
        if self.outlined:
            return f"outlines of {', '.join(self.layers) or 'nothing'}"
        if self.layers:
            return ("layers " if self.stacked else "folders ") + ", ".join(self.layers)
        return "colours" if self.colour else "grey"

    def points(self, codes: Codes) -> Codes:
        """Codes (n,) as numbers that can be compared, (n, 1) grey levels or (n, 3) colours."""
        return np.stack([codes >> 16 & 255, codes >> 8 & 255, codes & 255] if self.colour else [codes], axis=-1)


def _signed(array: NDArray[Any]) -> Codes:
    """The values in the smallest signed type that holds them."""
    kinds = {1: np.int16, 2: np.int32}
    return array.astype(kinds.get(array.dtype.itemsize, np.int64))


def _palettes_agree(masks: Sequence[MaskFiles]) -> bool:
    """Whether an index means one colour in all palette images, and there are no colours beside them."""
    known: dict[int, bytes] = {}
    palettes = colours = False
    for files in masks:
        labels = files.labels(files.first)
        if labels.palette is None:
            colours = colours or labels.values.ndim == 3
            continue
        palettes, entries = True, labels.palette.colours
        for index in np.unique(labels.values).tolist():
            colour = entries[index].tobytes() if index < len(entries) else b""
            if known.setdefault(index, colour) != colour:
                return False
    return not (palettes and colours)
