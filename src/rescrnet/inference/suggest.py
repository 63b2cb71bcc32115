"""Which of many unlabelled images, and which regions of them, to label next."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rescrnet.display import to_display
from rescrnet.errors import DataError, UsageError
from rescrnet.inference.inputs import Input
from rescrnet.inference.options import ReadOptions
from rescrnet.inference.plane import fits_whole
from rescrnet.inference.rank import REGION, choose_at_random, rank_diverse, region_means
from rescrnet.inference.region import Region
from rescrnet.inference.resources import Resources
from rescrnet.inference.stream import read_unit
from rescrnet.inference.uncertainty import predictive_entropy
from rescrnet.model import SegmentationModel

LONGEST = 320
"""Side of the pictures that are kept, pixels."""


class Chosen(NamedTuple):
    """One thing to label: an image, or the region of it whose upper left pixel is (``y``, ``x``)."""

    choice: str
    kind: str
    rank: int
    image: int
    y: int
    x: int
    uncertainty: float


@dataclass(frozen=True)
class Suggested:
    """What to label next.

    Attributes:
        names: of the images.
        shown: of each image, RGB uint8 YXC, small.
        steps: pixels of each image that are one of those shown.
        chosen: images and regions, by uncertainty and at random, each in its order.
    """

    names: list[str]
    shown: list[NDArray[np.uint8]]
    steps: list[int]
    chosen: list[Chosen]

    @property
    def first(self) -> str:
        """The name of the image to label first."""
        return self.names[self.of("uncertain", "image")[0].image]

    def of(self, choice: str, kind: str) -> list[Chosen]:
        """Those of one choice (``uncertain``, ``random``) and kind (``image``, ``region``), in their order."""
        return [one for one in self.chosen if (one.choice, one.kind) == (choice, kind)]


def look_at(
    model: SegmentationModel, images: Sequence[Input], number: int, advance: Callable[[float], object]
) -> Suggested:
    """Predict the first plane of each image and rank images and regions.

    The uncertainty is weighted by one over the share of the predicted classes among all regions, so that rare classes
    count; that of an image is the mean of its regions. The random choice passes over a class called background.

    Args:
        model: the trained model.
        images: unlabelled ones.
        number: of images, and of regions, that each choice names.
        advance: called with the number of images done.

    Raises:
        DataError: an image cannot be read or does not fit the model.
        UsageError: an image does not fit the memory.
    """
    shown, steps, entropies, classes, areas = [], [], [], [], []
    for image in images:
        picture, probabilities = _predict(model, image)
        step = -(-max(picture.shape) // LONGEST)
        shown.append(np.asarray(Image.fromarray(picture).reduce(step)))
        steps.append(step)
        classes.append(region_means(probabilities))
        areas.append(_areas(probabilities.shape[1:]))
        entropies.append(region_means(predictive_entropy(probabilities)))
        advance(1)
    places = [(index, y, x) for index, part in enumerate(entropies) for y, x in np.ndindex(*part.shape)]
    shares = np.concatenate([part.reshape(len(part), -1) for part in classes], axis=1).T
    weight = shares @ (1 / np.maximum(shares.mean(0), 1e-3)) / shares.shape[1]
    uncertain = np.concatenate([part.ravel() for part in entropies]) * weight
    of_image = np.array([index for index, _, _ in places])
    every, area = range(len(images)), np.concatenate([part.ravel() for part in areas])
    means = np.array([np.average(uncertain[of_image == i], weights=area[of_image == i]) for i in every])
    contents = np.array([shares[of_image == index].mean(0) for index in every])
    background = [index for index, name in enumerate(model.classes) if name.lower() == "background"]
    chosen = []
    for kind, values, features, where in (
        ("image", means, contents, [(index, 0, 0) for index in every]),
        ("region", uncertain * area, shares, places),  # what is cut by the margin is less worth the work
    ):
        orders = {
            "uncertain": rank_diverse(values, features, number),
            "random": choose_at_random(1 - features[:, background].sum(1), number),
        }
        for choice, order in orders.items():
            for rank, best in enumerate(order, start=1):
                index, y, x = where[best]
                chosen.append(Chosen(choice, kind, rank, index, y * REGION, x * REGION, float(values[best])))
    return Suggested([image.place for image in images], shown, steps, chosen)


def _areas(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The share of a full region that each region of an image (Y, X) has; those at the margin are smaller."""
    rows, columns = (np.minimum(REGION, side - np.arange(0, side, REGION)) / REGION for side in shape)
    return np.asarray(np.outer(rows, columns), np.float64)


def write_table(found: Suggested, path: Path) -> None:
    """Write a line for each image and region chosen, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["choice", "kind", "rank", "image", "y", "x", "uncertainty"])
    for one in found.chosen:
        place = (one.y, one.x) if one.kind == "region" else ("", "")
        writer.writerow([one.choice, one.kind, one.rank, found.names[one.image], *place, f"{one.uncertainty:.4f}"])
    path.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))


def _predict(model: SegmentationModel, image: Input) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The first plane as it is shown, and its probabilities (classes, Y, X)."""
    if image.fault:
        raise image.fault
    stack = ReadOptions(axes=model.card.axes).open(image.origin)
    if len(stack) > 1:
        raise DataError(image, f"has {len(stack)} planes", "suggest takes single images; save the planes by themselves")
    height, width = stack.size
    if not fits_whole(model, (height, width), Resources(), str(image)):
        raise UsageError(image, "does not fit the memory", "cut it into smaller images")
    whole = read_unit(model, stack[0].source, Region(0, height, 0, width), str(image))
    return to_display(whole), model.predict_normalised(whole)
