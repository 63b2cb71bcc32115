"""How images are read, and what is written of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rescrnet.errors import DataError, UsageError
from rescrnet.images.channels import open_channels
from rescrnet.images.open import open_image, wrap
from rescrnet.images.stack import ResultFormat, Stack
from rescrnet.images.whole import Origin, files_of
from rescrnet.outputs.sinks import ResultName, label_paths, output_paths, pick_kind
from rescrnet.wording import printable

_LONGEST = 200  # bytes of the name of labels


@dataclass(frozen=True)
class ReadOptions:
    """How to read images.

    Attributes:
        level: of a pyramid, 0 the finest.
        fill_missing: take missing chunks of a Zarr for empty rather than lost.
        rescale: predict at the pixel size of the training images, and bring the result back to the size of the image.
        axes: of files that do not say theirs, one letter each, as ``CYX``; those of the training images where left out.
    """

    level: int = 0
    fill_missing: bool = False
    rescale: bool = False
    axes: str = ""

    def open(self, origin: Origin) -> Stack:
        """The planes of an image."""
        files = files_of(origin)
        if len(files) == 1:
            return open_image(files[0], self.level, fill_missing=self.fill_missing, axes=self.axes)
        if self.level:
            raise DataError(origin, "has one level, 0", f"there is no level {self.level}")
        return open_channels(files)


class Result(NamedTuple):
    """What of an image is written, and into which files."""

    name: ResultName
    paths: list[Path]


@dataclass(frozen=True)
class WriteOptions:
    """What to write and how.

    Attributes:
        probabilities: beside the masks.
        overlay: pictures of the classes over the image, beside the masks.
        kind: ``png``, ``tiff`` or ``ome-zarr``; none for the kind of the image.
        label: put the classes into the OME-Zarr images themselves, as ``labels/label``, where viewers look for them,
            and the others beside the levels; none for files of their own.
        uncertainty: of each pixel, beside the masks; see :mod:`rescrnet.inference.uncertainty`.
    """

    probabilities: bool = False
    overlay: bool = False
    kind: str | None = None
    label: str | None = None
    uncertainty: bool = False

    def kind_of(self, stack: Stack) -> ResultFormat:
        """The format of the results of an image. Raises :class:`UsageError` where it is unknown."""
        return pick_kind(stack, "ome-zarr" if self.label is not None else self.kind)

    def results(self, folder: Path, stem: str, stack: Stack) -> list[Result]:
        """The classes of an image, then its probabilities and its uncertainty where they are wanted."""
        return [Result(name, self._paths(folder, stem, stack, name)) for name in self.names]

    @property
    def names(self) -> list[ResultName]:
        """What is written of each image, the classes first."""
        wanted: dict[ResultName, bool] = {
            "classes": True,
            "probabilities": self.probabilities,
            "uncertainty": self.uncertainty,
        }
        return [name for name, asked in wanted.items() if asked]

    def check(self) -> None:
        """Raise :class:`UsageError` where these do not go together."""
        self.kind_of(wrap(np.zeros((1, 1))))
        if self.label is None:
            return
        if self.kind not in (None, "ome-zarr"):
            raise UsageError(f"--format {self.kind}", "labels in an image are ome-zarr", "leave one of the options out")
        if Path(self.label).name != self.label or self.label.startswith(".") or not self._can_be_a_name(self.label):
            raise UsageError(
                f"--label {self.label}",
                "is no name for labels",
                "expected a short one such as 'tissue', without slashes",
            )

    @staticmethod
    def _can_be_a_name(label: str) -> bool:
        """Whether file systems take it, with what is put before and after it, and JSON does."""
        return bool(label) and printable(label) == label and len(os.fsencode(label)) <= _LONGEST

    def _paths(self, folder: Path, stem: str, stack: Stack, name: ResultName) -> list[Path]:
        if self.label is not None:
            return label_paths(stack, self.label, of=name)
        return output_paths(folder, stem, stack, self.kind_of(stack), of=name)
