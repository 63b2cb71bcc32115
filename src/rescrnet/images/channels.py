"""An image whose channels are files of their own: known by their names, read as one image."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from rescrnet.errors import DataError
from rescrnet.images.npy import Index
from rescrnet.images.open import image_stem, open_image
from rescrnet.images.stack import Axis, Source, Stack, make_stack

CHANNEL = re.compile(
    r"(?P<name>.+?)[ _.-]+(?:(?:c|ch|channel)[ _-]?(?P<number>\d{1,4})|w(?P<wavelength>\d))", re.IGNORECASE
)
NNUNET_CHANNEL = re.compile(r"(?P<name>.+)_(?P<number>\d{4})")
_FIJI_CHANNEL = re.compile(  # "Split Channels", and projections of them: MAX_C1-cell
    r"(?P<before>(?:max|avg|min|sum|std|med)_)?c(?P<number>\d)-(?P<name>.+)", re.IGNORECASE
)
_CHANNEL_INSIDE = re.compile(  # Micro-Manager
    r"(?P<name>.+?)[ _.-]+(?:ch|channel)[ _-]?(?P<number>\d{1,4})(?P<rest>[ _.-].+)", re.IGNORECASE
)


def group_channels(files: Iterable[Path], pattern: re.Pattern[str] = CHANNEL) -> dict[str, dict[int, Path]]:
    """The file of each channel by its number, by the name of the image; nothing where a file has no such name."""
    numbered: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in files:
        channel = channel_of(image_stem(file), pattern)
        if not channel and pattern is CHANNEL:
            channel = _channel_in_metadata(file)
        if not channel:
            return {}
        numbered[channel[0]][channel[1]] = file
    return dict(numbered)


def channel_of(stem: str, pattern: re.Pattern[str] = CHANNEL) -> tuple[str, int] | None:
    """The name of the image and the number of the channel that a stem says: ``cell_c1``, ``C1-cell``; else none."""
    stem = re.sub(r"\.(?:tiff?|png)$", "", stem, flags=re.IGNORECASE)  # Fiji: "C1-cell.tif.png"
    for tried in (pattern, *((_FIJI_CHANNEL, _CHANNEL_INSIDE) if pattern is CHANNEL else ())):
        if match := tried.fullmatch(stem):
            found = match.groupdict()
            name, _, suffix = found["name"].rpartition(".")
            name = name if suffix.lower() in ("tif", "tiff") else found["name"]
            return (found.get("before") or "") + name + (found.get("rest") or ""), int(
                found["number"] or found["wavelength"]
            )
    return None


def _channel_in_metadata(file: Path) -> tuple[str, int] | None:
    """The same of an OME-TIFF that says of itself that it is one channel of several files, whatever they are called.

    The name is what the names of the files begin with.
    """
    if not file.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return None
    places: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    try:
        for element in ElementTree.fromstring(_description(file)).iter():
            if element.tag.endswith("}TiffData"):
                place = (element.get("FirstC", "0"), element.get("FirstZ", "0"), element.get("FirstT", "0"))
                places[next((uuid.get("FileName", "") for uuid in element), "")].add(place)
    except ElementTree.ParseError:
        return None
    single = {name: next(iter(held)) for name, held in places.items() if len(held) == 1}
    numbers = {name: int(c) for name, (c, z, t) in single.items() if z == t == "0" and c.isdecimal()}
    if file.name not in numbers or not len(places) == len(numbers) == len(set(numbers.values())) > 1:
        return None
    stems = [image_stem(Path(name)) for name in numbers]
    common = os.path.commonprefix(stems).rstrip(" _.-")  # noqa: RUF071 - of letters, not of folders
    return common or image_stem(file), numbers[file.name]


class _JoinedChannels:
    """Grey planes, one for each channel, as one array (Y, X, C)."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.shape = (*sources[0].shape[:2], len(sources))
        self.dtype = sources[0].dtype

    def release(self) -> None:
        """Let go of what was decoded."""
        for source in self._sources:
            source.release()

    def __getitem__(self, index: Index) -> NDArray[Any]:
        rows, columns, chosen = index
        if not (isinstance(rows, slice) and isinstance(columns, slice) and isinstance(chosen, slice)):
            raise ValueError(f"region {index} is not one of slices")
        (y0, y1, _), (x0, x1, _) = rows.indices(self.shape[0]), columns.indices(self.shape[1])
        return np.stack([source.read(y0, y1, x0, x1)[..., 0] for source in self._sources[chosen]], axis=-1)


def open_channels(files: Sequence[Path]) -> Stack:
    """Grey files, one for each channel, as one image. Raises :class:`DataError` where they do not fit together."""
    stacks = [open_image(file) for file in files]
    if _are_one_set(files, stacks):
        return stacks[0]
    first = stacks[0][0].source
    for file, stack in zip(files, stacks, strict=True):
        source = stack[0].source
        if len(stack) > 1 or source.shape != (*first.shape[:2], 1) or source.dtype != first.dtype:
            raise DataError(
                file,
                f"holds {_shape(stack)} of {source.dtype}, but another channel of the image, {files[0]}, "
                f"{_shape(stacks[0])} of {first.dtype}",
                "expected grey files of one size and type; convert it",
            )
    steps = {axis.name: axis for axis in stacks[0].axes}
    axes = [replace(steps["y"]), replace(steps["x"]), Axis("c", len(files))]
    largest = max(stack[0].source.segment_bytes for stack in stacks)
    joined = make_stack(
        _JoinedChannels([stack[0].source for stack in stacks]),
        axes,
        files[0],
        segment_bytes=largest * len(files),
        sequential=any(stack[0].source.sequential for stack in stacks),
        form=stacks[0].form,
    )
    return replace(joined, kind=stacks[0].kind, separate=True)


def _are_one_set(files: Sequence[Path], stacks: Sequence[Stack]) -> bool:
    """Whether each file says of itself that it and the others are one image: OME-TIFFs that share their metadata."""
    if any(len(stack) > 1 or stack[0].source.shape[-1] != len(files) for stack in stacks):
        return False
    heads = [_description(file) for file in files]
    return all(f'FileName="{file.name}"' in head for file in files for head in heads)


def _description(file: Path) -> str:
    try:
        with tifffile.TiffFile(file) as tiff:
            return tiff.pages.first.description
    except (OSError, ValueError, tifffile.TiffFileError):
        return ""


def _shape(stack: Stack) -> tuple[int, ...]:
    height, width, channels = stack[0].source.shape
    pages = (len(stack),) if len(stack) > 1 else ()
    return (*pages, height, width, *((channels,) if channels > 1 else ()))
