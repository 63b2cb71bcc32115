"""The masks of a dataset in memory: each file is decoded once and kept compressed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from rescrnet.errors import DataError
from rescrnet.images.open import count_planes, open_image
from rescrnet.images.picture import Palette
from rescrnet.images.whole import Origin, Page, Pixels
from rescrnet.masks.files import Labels, labels_of, read_labels
from rescrnet.wording import count


class Packed:
    """An array kept compressed: masks hold few values, and shrink to a hundredth."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._shape, self._dtype = array.shape, array.dtype
        self._bytes = imagecodecs.zstd_encode(np.ascontiguousarray(array).tobytes(), level=1)

    def array(self) -> NDArray[Any]:
        """The array."""
        return np.frombuffer(imagecodecs.zstd_decode(self._bytes), self._dtype).reshape(self._shape)


class _Kept(NamedTuple):
    """Labels, compressed."""

    values: Packed
    unlabelled: Packed | None
    palette: Palette | None
    separate: bool
    names: tuple[str, ...] | None

    @classmethod
    def of(cls, labels: Labels) -> _Kept:
        unlabelled = None if labels.unlabelled is None else Packed(labels.unlabelled)
        return cls(Packed(labels.values), unlabelled, labels.palette, labels.separate, labels.names)

    def labels(self) -> Labels:
        unlabelled = None if self.unlabelled is None else self.unlabelled.array()
        return Labels(self.values.array(), unlabelled, self.palette, self.separate, self.names)


class MaskFiles(Mapping[str, Origin]):
    """The mask of one image: where it lies, by folder of a class, or under ``""`` for a single mask of all classes.

    What was read is kept, compressed, so that a file is decoded once however often it is asked for.
    """

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = dict(origins)
        self._kept: dict[Origin, _Kept] = {}

    @classmethod
    def of(cls, files: Mapping[str, Origin]) -> MaskFiles:
        """``files`` themselves where they are of this class."""
        return files if isinstance(files, cls) else cls(files)

    def __getitem__(self, folder: str) -> Origin:
        return self._origins[folder]

    def __iter__(self) -> Iterator[str]:
        return iter(self._origins)

    def __len__(self) -> int:
        return len(self._origins)

    @property
    def first(self) -> Origin:
        """Where the mask lies, or its first layer: what to name in a message."""
        return next(iter(self._origins.values()))

    @cached_property
    def pages(self) -> int:
        """Planes of a single mask's file: a binary mask for each class."""
        origin = self.first
        return count_planes(origin) if isinstance(origin, Path) and len(self) == 1 else 1

    @property
    def page_names(self) -> tuple[str, ...]:
        """What ImageJ calls the pages of a single mask's file."""
        return open_image(self.first).page_names if isinstance(self.first, Path) else ()

    @property
    def origins(self) -> list[tuple[str, Origin]]:
        """Every plane that the mask is read from, with the folder of its class."""
        if self.pages > 1 and isinstance(self.first, Path):
            return [("", Page(self.first, index)) for index in range(self.pages)]
        return list(self._origins.items())

    def keep(self, origin: Origin, pixels: Pixels) -> None:
        """Keep what the pixels of one of :attr:`origins` say. Raises :class:`DataError` where they are no mask."""
        self._kept[origin] = _Kept.of(labels_of(pixels, origin))

    def labels(self, origin: Origin) -> Labels:
        """What one of :attr:`origins` holds. Raises :class:`DataError` where it is no readable mask."""
        if origin not in self._kept:
            self._kept[origin] = _Kept.of(read_labels(origin))
        return self._kept[origin].labels()

    def layers(self, number: int) -> list[tuple[Origin, Labels]]:
        """The binary masks in a single mask's file, which holds ``number`` of them as pages or channels."""
        if self.pages > 1:
            found = [(origin, self.labels(origin)) for _, origin in self.origins]
        else:
            labels = self.labels(self.first)
            values = labels.values if labels.values.ndim == 3 else labels.values[..., None]
            found = [(self.first, Labels(values[..., place], labels.unlabelled)) for place in range(values.shape[-1])]
        if len(found) != number:
            raise DataError(
                self.first,
                f"holds {count(len(found), 'binary mask')} but the other files {number}",
                "expected one page or channel for each class in every file; add what is missing",
            )
        return found


def layer_names(masks: Sequence[MaskFiles], number: int) -> tuple[str, ...]:
    """The names that ImageJ keeps of the pages of a stack, where all files agree; numbers otherwise."""
    numbered = tuple(f"layer {place + 1}" for place in range(number))
    agreed = {mask.page_names for mask in masks}
    names = agreed.pop() if len(agreed) == 1 else ()
    return names if len(set(names)) == number and all(names) else numbered
