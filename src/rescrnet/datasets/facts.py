"""What is kept of a dataset's images and masks to judge them by; it is small."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rescrnet.datasets.thickness import border_lengths
from rescrnet.images.whole import Origin, Outlines, Pixels
from rescrnet.intensity import normalise_image
from rescrnet.no_data import filled, no_data

_SAMPLE = 1_000_000  # pixels that percentiles and numbers of values are taken from
_MANY = 257  # values that are not told apart from more
_REDUCED = 128
"""Longest side of what is kept of an image to compare it with others, pixels."""
SPECK = 4
"""Connected parts of at most as many pixels are specks."""


@dataclass(frozen=True)
class ImageFacts:
    """What is kept of an image.

    Attributes:
        size: height and width.
        channels: without alpha.
        type: of the values, as NumPy calls it.
        alpha: whether the file has an alpha channel.
        form: ``PNG``, ``TIFF``, …, by the content of the file.
        pixel_size: height and width of a pixel in micrometres, where the file tells.
        low: the smallest value, as stored.
        high: the largest.
        levels: the 1st, 50th and 99th percentile, all channels together; none of whole numbers.
        values: how many different values there are, 257 for more.
        saturated: share of the pixels with the largest value, where that is the largest of the type.
        not_finite: values that are NaN or infinite.
        no_data: values that say that there are no data, such as -9999; they are in none of the other numbers.
        grey: whether the channels of an RGB image are equal.
        white_is_zero: whether small values were stored for bright pixels, and were read the other way round.
        half_clear: share of pixels that are neither opaque nor wholly transparent.
        digest: of the pixels; equal images have equal digests.
        reduced: the image in grey, its longest side 128, YX float32.
    """

    size: tuple[int, int]
    channels: int
    type: str
    alpha: bool
    form: str
    pixel_size: tuple[float, float] | None
    low: float
    high: float
    levels: tuple[float, float, float] | None
    values: int
    saturated: float
    not_finite: int
    no_data: int
    grey: bool
    white_is_zero: bool
    half_clear: float
    digest: str
    reduced: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class MaskFacts:
    """What is kept of a mask file.

    Attributes:
        file: its place.
        size: height and width.
        type: of the values, as NumPy calls it.
        form: ``PNG``, ``TIFF``, …, by the content of the file.
        palette: whether the values stand for colours of a palette.
        values: pixels of every value; colours as 0xRRGGBB.
        colour: whether the channels differ.
        white_is_zero: whether small values were stored for bright pixels, and were read the other way round.
        digest: of the pixels.
        software: that wrote it, where a TIFF says.
        outlined: whether it was outlined, and holds no values of its own.
        passed_over: what of its outlines is in no class: ``2 points``.
    """

    file: Origin
    size: tuple[int, int]
    type: str
    form: str
    palette: bool
    values: Counter[int]
    colour: bool
    white_is_zero: bool
    digest: str
    software: str = ""
    outlined: bool = False
    passed_over: str = ""


@dataclass(frozen=True)
class ClassFacts:
    """What is kept of a mask once its values are understood as classes.

    Attributes:
        pixels: of every class.
        borders: sides of pixels between every class and the others.
        parts: connected parts of every class, pixels that touch at a corner taken together.
        specks: those of at most four pixels.
        unlabelled: pixels without a class.
        maps: share of each class but the first, and of borders between classes, in each cell of the reduced image,
            (classes, Y, X) uint8, 255 all of it. The first eight classes.
    """

    pixels: NDArray[np.int64]
    borders: NDArray[np.int64]
    parts: NDArray[np.int64]
    specks: NDArray[np.int64]
    unlabelled: int
    maps: NDArray[np.uint8] = field(repr=False)


def image_facts(pixels: Pixels) -> ImageFacts:
    """What is kept of an image."""
    colours = pixels.colours
    finite = np.isfinite(colours) if colours.dtype.kind == "f" else np.ones(1, bool)
    unit = filled(normalise_image(colours if finite.all() else np.where(finite, colours, 0), alpha=False))
    known = finite if (missing := no_data(colours)) is None else finite & ~missing
    low, high, saturated, values = _range(colours if known.all() else colours[known])
    return ImageFacts(
        size=(colours.shape[0], colours.shape[1]),
        channels=colours.shape[2],
        type=str(colours.dtype),
        alpha=pixels.alpha,
        form=pixels.form,
        pixel_size=pixels.pixel_size,
        low=low,
        high=high,
        levels=_levels(unit) if colours.dtype.kind == "f" else None,
        values=values,
        saturated=saturated,
        not_finite=int(finite.size - finite.sum()),
        no_data=0 if missing is None else int(missing.sum()),
        grey=colours.shape[2] == 3 and bool((colours == colours[..., :1]).all()),
        white_is_zero=pixels.white_is_zero,
        half_clear=_half_clear(pixels.values[..., -1]) if pixels.alpha else 0.0,
        digest=_digest(colours),
        reduced=reduced(unit.mean(-1) if unit.shape[-1] > 1 else unit[..., 0]),
    )


def _half_clear(alpha: NDArray[Any]) -> float:
    top = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
    return float(((alpha > 0) & (alpha < top)).mean())


def _range(known: NDArray[Any]) -> tuple[float, float, float, int]:
    """Smallest and largest value, share of the pixels at the top of the type, and how many values there are."""
    if known.size == 0:
        return 0.0, 0.0, 0.0, 1
    if known.dtype == np.uint8:
        counts = np.bincount(known.ravel(), minlength=256)
        there = np.flatnonzero(counts)
        return float(there[0]), float(there[-1]), float(counts[255] / known.size), len(there)
    flat = known.ravel()
    top = np.iinfo(flat.dtype).max if flat.dtype.kind in "iu" else np.inf
    some = np.unique(flat[:: max(1, flat.size // _SAMPLE)])
    return float(flat.min()), float(flat.max()), float((flat == top).mean()), min(_MANY, len(some))


def _levels(unit: NDArray[np.float32]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(unit.reshape(-1)[:: max(1, unit.size // _SAMPLE)], (1, 50, 99))
    return float(low), float(middle), float(high)


def mask_facts(pixels: Pixels, file: Origin) -> MaskFacts:
    """What is kept of a mask file, as it is stored."""
    colours = pixels.colours
    colour = colours.shape[-1] > 1 and bool((colours != colours[..., :1]).any())
    values = colours[..., 0]
    if colour and colours.shape[-1] == 3 and colours.dtype == np.uint8:
        values = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, 0)
    return MaskFacts(
        file=file,
        size=(colours.shape[0], colours.shape[1]),
        type=str(colours.dtype),
        form=pixels.form,
        palette=pixels.palette is not None and pixels.form == "PNG",
        values=_count(values),
        colour=colour,
        white_is_zero=pixels.white_is_zero,
        digest=_digest(colours),
        software=pixels.software,
        outlined=isinstance(file, Outlines),
        passed_over=pixels.passed_over,
    )


def class_facts(indices: NDArray[np.uint8], classes: int) -> ClassFacts:
    """Count pixels and connected parts of a mask of class indices, YX; indices from ``classes`` up have no class."""
    pixels = np.bincount(indices.ravel(), minlength=256)
    parts, specks = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for index in np.flatnonzero(pixels[:classes]):
        labels, parts[index] = ndimage.label(indices == index, structure=np.ones((3, 3)))
        specks[index] = int((np.bincount(labels.ravel())[1:] <= SPECK).sum())
    border = np.zeros(indices.shape, np.uint8)
    border[:, 1:] += indices[:, 1:] != indices[:, :-1]
    border[1:] += indices[1:] != indices[:-1]
    layers = [reduced((indices == index).view(np.uint8)) for index in range(1, min(classes, 8))]
    maps = np.stack([*layers, reduced(border) / 2])
    unlabelled = int(pixels[classes:].sum())
    return ClassFacts(
        pixels[:classes], border_lengths(indices, classes), parts, specks, unlabelled, (maps * 255).astype(np.uint8)
    )


def reduced(grey: NDArray[Any]) -> NDArray[np.float32]:
    """YX with its longest side made 128 by averaging over blocks; smaller images as they are. float32."""
    step = -(-max(grey.shape) // _REDUCED)
    height, width = (-(-side // step) for side in grey.shape)
    below, beside = height * step - grey.shape[0], width * step - grey.shape[1]
    padded = np.pad(grey, ((0, below), (0, beside)), mode="edge") if below or beside else grey
    kind = np.uint32 if grey.dtype == np.uint8 else np.float32
    rows = np.add.reduceat(padded, np.arange(0, padded.shape[0], step), axis=0, dtype=kind)
    sums = rows.reshape(height, width, step).sum(2, dtype=kind)
    return np.asarray(sums / np.float32(step * step), dtype=np.float32)


def _digest(array: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest() + str(array.shape)


def _count(codes: NDArray[Any]) -> Counter[int]:
    if codes.dtype == np.uint8:
        counts = np.bincount(codes.ravel(), minlength=256)
        values = np.flatnonzero(counts)
        return Counter(dict(zip(values.tolist(), counts[values].tolist(), strict=True)))
    values, numbers = np.unique(codes, return_counts=True)
    return Counter({int(value): int(n) for value, n in zip(values[:100_000], numbers, strict=False)})
