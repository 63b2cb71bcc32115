"""The objects in the report: scores, sizes, outlines, and those that differ most from the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from rescrnet.datasets.dataset import Sample
from rescrnet.display import hex_to_rgb, to_display
from rescrnet.objects.draw import edges_of, outlined
from rescrnet.objects.match import ObjectCounts, best_overlaps
from rescrnet.reporting.figures import (
    INK,
    LARGEST,
    TRAINING,
    VALIDATION,
    Picture,
    picture,
    plain_axes,
    shrunk,
    svg,
)
from rescrnet.wording import count

_TRUTH, _FOUND = "#00d5ff", "#ffd700"  # outlines: cyan and yellow stand out from tissue and from each other
_MOST_IMAGES, _MOST_DIFFERENT, _MOST_ROWS = 4, 8, 200
_SMALL_PICTURE, _CROP = 300, 160  # pixels: smaller images are drawn larger; the side of a crop
_LOSSLESS = 512 * 512  # pixels; larger pictures are stored as JPEG
_MATCHED = 0.5

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Compared:
    """The true and the predicted objects of one class in an image, label images YX."""

    sample: Sample
    true: Labels
    found: Labels


@dataclass(frozen=True)
class ObjectSection:
    """What the page shows of the objects of one class.

    Attributes:
        name: of the class.
        counts: of all images together.
        unit: of areas.
        images: number, median area and diameter of true and predicted objects, for each image and for all.
        figures: SVG.
        outlines: pictures of images with outlines and numbers.
        different: crops around the objects that agree least, each with its caption.
        rows: predicted objects of the first images: image, number, area, diameter.
        more: how many are not among the rows.
    """

    name: str
    counts: ObjectCounts
    unit: str
    images: list[tuple[str, list[str]]]
    figures: list[str]
    outlines: list[Picture]
    different: list[Picture]
    rows: list[tuple[str, int, str, str]]
    more: int


def object_section(name: str, compared: Sequence[Compared], counts: ObjectCounts) -> ObjectSection:
    """What the page shows of the objects of one class."""
    known = all(one.sample.pixel_size for one in compared)
    areas = [(_areas(one.true, one.sample, known), _areas(one.found, one.sample, known)) for one in compared]
    unit = "µm²" if known else "pixels"
    every = [np.concatenate([pair[side] for pair in areas]) for side in (0, 1)]
    images = [(one.sample.stem, _numbers(*pair)) for one, pair in zip(compared, areas, strict=True)]
    listed = [
        (one.sample.stem, number, f"{area:.4g}", f"{2 * (area / np.pi) ** 0.5:.3g}")
        for one, (_, found) in zip(compared, areas, strict=True)
        for number, area in enumerate(found.tolist(), start=1)
    ]
    return ObjectSection(
        name=name,
        counts=counts,
        unit=unit,
        images=[*images, ("all images", _numbers(every[0], every[1]))],
        figures=[_histogram(every[0], every[1], unit), _scatter(compared, areas, unit)],
        outlines=[_outlines(one) for one in compared[:_MOST_IMAGES]],
        different=_most_different(compared),
        rows=listed[:_MOST_ROWS],
        more=max(0, len(listed) - _MOST_ROWS),
    )


def _areas(labels: Labels, sample: Sample, known: bool) -> NDArray[np.float64]:
    square = sample.pixel_size[0] * sample.pixel_size[1] if known and sample.pixel_size else 1.0
    return np.asarray(np.bincount(labels.ravel())[1:] * square, np.float64)


def _numbers(true: NDArray[np.float64], found: NDArray[np.float64]) -> list[str]:
    """Number, median area and median diameter, the truth first."""

    def median(values: NDArray[np.float64]) -> str:
        return f"{np.median(values):.4g}" if len(values) else "–"

    diameters = [2 * np.sqrt(values / np.pi) for values in (true, found)]
    return [str(len(true)), str(len(found)), *map(median, (true, found, *diameters))]


def _histogram(true: NDArray[np.float64], found: NDArray[np.float64], unit: str) -> str:
    figure, axes = plain_axes(f"area, {unit}", "objects")
    both = np.concatenate([true, found])
    bins: list[float] = np.linspace(0, float(np.quantile(both, 0.99)) if len(both) else 1.0, 25).tolist()
    axes.hist(true.clip(max=bins[-1]), bins, histtype="step", color=TRAINING, linestyle="--", label="truth")
    axes.hist(found.clip(max=bins[-1]), bins, histtype="step", color=VALIDATION, linewidth=1.6, label="prediction")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(frameon=False, labelcolor=INK)
    return svg(figure, f"Histogram of areas: {count(len(true), 'true object')}, {len(found)} predicted")


def _scatter(compared: Sequence[Compared], areas: Sequence[tuple[Any, Any]], unit: str) -> str:
    """The areas of matched pairs against each other."""
    pairs = [
        np.stack([true[numbers[:, 0] - 1], found[numbers[:, 1] - 1]], axis=1)
        for one, (true, found) in zip(compared, areas, strict=True)
        if len(numbers := _matched(one))
    ]
    points = np.concatenate(pairs) if pairs else np.zeros((0, 2))
    figure, axes = plain_axes(f"true area, {unit}", f"predicted area, {unit}")
    top = float(points.max()) * 1.05 if len(points) else 1.0
    axes.plot([0, top], [0, top], color=TRAINING, linestyle="--", linewidth=1, label="equal")
    size = 3 if len(points) < 500 else 1.5
    axes.plot(*points[:3000].T, linestyle="none", marker="o", markersize=size, color=VALIDATION, label="matched pairs")
    axes.legend(frameon=False, labelcolor=INK)
    return svg(figure, f"Predicted against true areas of {count(len(points), 'matched pair')}")


def _matched(one: Compared) -> NDArray[np.int64]:
    """The numbers of true and predicted objects that match, (pairs, 2)."""
    both = (one.true > 0) & (one.found > 0)
    pairs, shared = np.unique(np.stack([one.true[both], one.found[both]], axis=1), axis=0, return_counts=True)
    true, found = np.bincount(one.true.ravel()), np.bincount(one.found.ravel())
    union = true[pairs[:, 0]] + found[pairs[:, 1]] - shared
    return np.asarray(pairs[shared > _MATCHED * union], np.int64)


def _outlines(one: Compared) -> Picture:
    """An image with the outlines of the truth, and over them those of the prediction with their numbers."""
    scale = max(1, _SMALL_PICTURE * 2 // max(one.true.shape))
    drawn = outlined(one.sample.image, one.found, _FOUND, scale=scale).copy()
    only = edges_of(one.true.repeat(scale, 0).repeat(scale, 1)) & ~edges_of(one.found.repeat(scale, 0).repeat(scale, 1))
    drawn[only] = hex_to_rgb(_TRUTH)
    shown = shrunk(Image.fromarray(drawn), LARGEST, Image.Resampling.BOX)
    return picture(one.sample.stem, shown, "PNG" if shown.width * shown.height < _LOSSLESS else "JPEG")


def _most_different(compared: Sequence[Compared]) -> list[Picture]:
    """Crops around the true and the predicted objects whose best overlap is least."""
    worst: list[tuple[float, int, bool, Compared]] = []
    for one in compared:
        best_true, best_found = best_overlaps(one.true, one.found)
        for labels, best, is_true in ((one.true, best_true, True), (one.found, best_found, False)):
            areas = np.bincount(labels.ravel())
            for number in np.flatnonzero((best < _MATCHED) & (areas > 0) & (np.arange(len(best)) > 0)).tolist():
                worst.append((float(best[number] - 1e-9 * areas[number]), number, is_true, one))  # the largest first
    worst.sort(key=lambda entry: entry[:3])
    return [_crop(one, number, is_true, max(0.0, iou)) for iou, number, is_true, one in worst[:_MOST_DIFFERENT]]


def _crop(one: Compared, number: int, is_true: bool, iou: float) -> Picture:
    """The surroundings of an object, with the outlines of truth and prediction."""
    rows, columns = np.nonzero((one.true if is_true else one.found) == number)
    half = max(16, int(0.9 * max(np.ptp(rows), np.ptp(columns))) + 4)
    box = tuple(
        _around(int(places.mean()), half, length)
        for places, length in zip((rows, columns), one.true.shape, strict=True)
    )
    scale = max(1, _CROP // (2 * half))
    image = to_display(one.sample.image)[box].repeat(scale, 0).repeat(scale, 1)
    for labels, colour in ((one.true, _TRUTH), (one.found, _FOUND)):
        image[edges_of(labels[box].repeat(scale, 0).repeat(scale, 1))] = hex_to_rgb(colour)
    what = "missed" if is_true else "not in the truth"
    label = f"{one.sample.stem}: {what}" if iou < 0.01 else f"{one.sample.stem}: IoU {iou:.2f}"
    return picture(label, Image.fromarray(image))


def _around(middle: int, half: int, length: int) -> slice:
    """About twice ``half`` pixels around one, moved inwards at the border of the image."""
    start = max(0, min(middle - half, length - 2 * half))
    return slice(start, start + 2 * half)


def object_sections(
    compared: Mapping[str, Sequence[Compared]], counts: Mapping[str, ObjectCounts]
) -> list[ObjectSection]:
    """The sections of all classes that have objects."""
    return [
        object_section(name, compared[name], total) for name, total in counts.items() if total.true or total.predicted
    ]
