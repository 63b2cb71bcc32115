"""Checks of training and validation images against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rescrnet.checking.checks.images import images_of
from rescrnet.checking.findings import Severity, faults, finds
from rescrnet.checking.overlaps import find_overlaps
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.grouping import on_both_sides
from rescrnet.datasets.read import MOST_COMPARED, MOST_PIXELS, Example, Reading
from rescrnet.images.whole import Page, files_of
from rescrnet.intensity_profile import IntensityProfile
from rescrnet.wording import printable

_FEWEST = 3  # training images that tell what is usual


def _by_digest(reading: Reading) -> list[list[Example]]:
    groups: dict[str, list[Example]] = defaultdict(list)
    for example, facts in reading.images:
        if facts.low < facts.high:
            groups[facts.digest].append(example)
    return [group for group in groups.values() if len(group) > 1]


@finds(Severity.error)
def same_image_on_both_sides(reading: Reading) -> Iterator[Fault]:
    """The identical pixels of a validation image are among the training images; its score would be that of learning by
    heart."""
    for group in _by_digest(reading):
        if len({example.part for example in group}) == 2:
            reason = "is the same image, once for training and once for validation"
            yield from faults(images_of(group), reason, "remove one of them")


@finds(Severity.warning)
def same_image_twice(reading: Reading) -> Iterator[Fault]:
    """One image is there twice under different names."""
    for group in _by_digest(reading):
        if len({example.part for example in group}) == 1:
            yield from faults(images_of(group), "is the same image under different names", "remove one of them")


def _held_together(reading: Reading) -> list[tuple[Example, NDArray[np.float32]]]:
    """The images to compare with each other, where they were few enough to be kept in memory together; else none."""
    kept = [
        (example, example.pixels)
        for example, facts in reading.images
        if example.pixels is not None and facts.low < facts.high and not facts.not_finite
    ]
    few = len(kept) <= MOST_COMPARED and sum(image.shape[0] * image.shape[1] for _, image in kept) <= MOST_PIXELS
    return kept if few and len({example.part for example, _ in kept}) == 2 else []


@finds(Severity.warning)
def same_place_on_both_sides(reading: Reading) -> Iterator[Fault]:
    """A validation image overlaps a training image: a copy with other contrast, a crop, or a neighbouring field of
    view. Looked for among up to 100 images, 100 megapixels in all."""
    kept = _held_together(reading)
    for overlap in find_overlaps([image for _, image in kept]):
        pair = [kept[overlap.first][0], kept[overlap.second][0]]
        alike = pair[0].image and pair[1].image and pair[0].image.digest == pair[1].image.digest
        if pair[0].part != pair[1].part and not alike:
            reason = f"show the same place, {overlap.share:.0%} of it, once for training and once for validation"
            yield from faults(images_of(pair), reason, "keep both on one side, or remove one")


@finds(Severity.warning)
def group_on_both_sides(reading: Reading) -> Iterator[Fault]:
    """Images of one animal, sample, stack or large image are on both sides of the split; they resemble each other, and
    the score flatters."""
    pairs = {pair.stem: pair for pair in (*reading.split.train, *reading.split.val)}
    val = {pair.stem for pair in reading.split.val}
    groups = reading.groups
    for group in on_both_sides(groups, val):
        stems = sorted((stem for stem in groups if groups[stem] == group), key=lambda stem: (stem not in val, stem))
        reason = f"group '{printable(group)}' has images for training and for validation"
        remedy = "keep a group on one side, with --val or the split column of the table"
        yield from faults([pairs[stem].image for stem in stems], reason, remedy)


@finds(Severity.warning)
def neighbouring_sections(reading: Reading) -> Iterator[Fault]:
    """A section of a stack validates while the one next to it trains; neighbours show the same structures."""
    trained = {pair.image for pair in reading.split.train if isinstance(pair.image, Page)}
    beside = [
        pair.image
        for pair in reading.split.val
        if isinstance(pair.image, Page)
        and pair.image.index is not None
        and any(replace(pair.image, index=pair.image.index + step) in trained for step in (-1, 1))
    ]
    if beside:
        remedy = "validate on another stack, or leave some sections between out"
        yield from faults(beside, "validates beside a section that trains", remedy)


@finds(Severity.warning)
def intensities_differ(reading: Reading) -> Iterator[Fault]:
    """The intensities of a validation image lie far from those of the training images, as if from another microscope
    or staining; the same is looked for when a model predicts. Among up to 100 images, 100 megapixels in all."""
    kept = _held_together(reading)
    train = [image for example, image in kept if example.part == "train"]
    if len(train) < _FEWEST or len({image.shape[-1] for _, image in kept}) > 1:
        return
    histogram = IntensityProfile.fit(train)
    for example, image in kept:
        if example.part == "val" and (reason := histogram.out_of_distribution(image)):
            yield from faults(images_of([example]), reason, "train on images of that kind too, or validate on others")


@finds(Severity.error)
def split(reading: Reading) -> Iterator[Fault]:
    """The images cannot be divided into some to train on and some to validate on as asked for."""
    return (fault for fault in reading.faults if fault.check == "split")


@finds(Severity.info)
def few_to_validate(reading: Reading) -> Iterator[Fault]:
    """A single image validates; its score says little about others."""
    if len(reading.split.val) == 1 and reading.total > 1:
        files = files_of(reading.split.val[0].image)
        yield from faults(files, "is the only image to validate on", "label more, where you can")
