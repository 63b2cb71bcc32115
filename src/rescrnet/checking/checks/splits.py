"""Checks of training and validation images against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from rescrnet.checking.checks.images import of_items
from rescrnet.checking.findings import Found, Severity, check, printable
from rescrnet.checking.overlaps import find_overlaps
from rescrnet.checking.survey import Item, Survey
from rescrnet.datasets.layouts import groups_in
from rescrnet.datasets.splits import on_both_sides
from rescrnet.errors import DataError
from rescrnet.images.origins import Page, files_of
from rescrnet.images.whole import read_image
from rescrnet.intensity_profile import IntensityProfile

_MOST_COMPARED = 100  # images; each is compared with each
_MOST_PIXELS = 100_000_000  # since all are held in memory at once
_FEWEST = 3  # training images that tell what is usual


def _by_digest(survey: Survey) -> list[list[Item]]:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item, facts in survey.images:
        if facts.low < facts.high:
            groups[facts.digest].append(item)
    return [group for group in groups.values() if len(group) > 1]


@check(Severity.error)
def same_image_on_both_sides(survey: Survey) -> Iterator[Found]:
    """The very pixels of a validation image are among the training images; its score would be that of learning by
    heart."""
    for group in _by_digest(survey):
        if len({item.part for item in group}) == 2:
            reason = "is the same image, once for training and once for validation"
            yield from of_items(group, reason, "remove one of them")


@check(Severity.warning)
def same_image_twice(survey: Survey) -> Iterator[Found]:
    """One image is there twice under different names."""
    for group in _by_digest(survey):
        if len({item.part for item in group}) == 1:
            yield from of_items(group, "is the same image under different names", "remove one of them")


def _held_together(survey: Survey) -> list[Item]:
    """The images to compare with each other, where they fit into memory together; else none."""
    items = [item for item, facts in survey.images if facts.low < facts.high and not facts.not_finite]
    pixels = sum(item.image.size[0] * item.image.size[1] for item in items if item.image)
    both = len({item.part for item in items}) == 2
    return items if both and len(items) <= _MOST_COMPARED and pixels <= _MOST_PIXELS else []


@check(Severity.warning)
def same_place_on_both_sides(survey: Survey) -> Iterator[Found]:
    """A validation image overlaps a training image: a copy with other contrast, a crop, or a neighbouring field of
    view. Looked for among up to 100 images, 100 megapixels in all."""
    items = _held_together(survey)
    for overlap in find_overlaps([read_image(item.pair.image) for item in items]):
        pair = [items[overlap.first], items[overlap.second]]
        alike = pair[0].image and pair[1].image and pair[0].image.digest == pair[1].image.digest
        if pair[0].part != pair[1].part and not alike:
            reason = f"show the same place, {overlap.share:.0%} of it, once for training and once for validation"
            yield from of_items(pair, reason, "keep both on one side, or remove one")


@check(Severity.warning)
def group_on_both_sides(survey: Survey) -> Iterator[Found]:
    """Images of one animal, sample, stack or large image are on both sides of the split; they resemble each other, and
    the score flatters."""
    pairs = {pair.stem: pair for pair in (*survey.split.train, *survey.split.val)}
    val = {pair.stem for pair in survey.split.val}
    try:
        groups = groups_in(list(pairs.values()), survey.description)
    except DataError:  # whatever is wrong with the groups, training refuses it and the last check says why
        return
    for group in on_both_sides(groups, val):
        stems = sorted((stem for stem in groups if groups[stem] == group), key=lambda stem: (stem not in val, stem))
        reason = f"group '{printable(group)}' has images for training and for validation"
        remedy = "keep a group on one side, with --val or the split column of the table"
        yield Found(tuple(printable(pairs[stem].image) for stem in stems), reason, remedy)


@check(Severity.warning)
def neighbouring_sections(survey: Survey) -> Iterator[Found]:
    """A section of a stack validates while the one next to it trains; neighbours show the same structures."""
    trained = {pair.image for pair in survey.split.train if isinstance(pair.image, Page)}
    beside = [
        pair.image
        for pair in survey.split.val
        if isinstance(pair.image, Page)
        and any(Page(pair.image.path, pair.image.index + step) in trained for step in (-1, 1))
    ]
    if beside:
        remedy = "validate on another stack, or leave some sections between out"
        yield Found(tuple(map(printable, beside)), "validates beside a section that trains", remedy)


@check(Severity.warning)
def intensities_differ(survey: Survey) -> Iterator[Found]:
    """The intensities of a validation image lie far from those of the training images, as if from another microscope
    or staining; the same is looked for when a model predicts. Among up to 100 images, 100 megapixels in all."""
    items = _held_together(survey)
    train = [item for item in items if item.part == "train"]
    if len(train) < _FEWEST or len({item.image.channels for item in items if item.image}) > 1:
        return
    histogram = IntensityProfile.fit(read_image(item.pair.image) for item in train)
    for item in items:
        if item.part == "val" and (reason := histogram.out_of_distribution(read_image(item.pair.image))):
            yield from of_items([item], reason, "train on images of that kind too, or validate on others")


@check(Severity.info)
def few_to_validate(survey: Survey) -> Iterator[Found]:
    """A single image validates; its score says little about others."""
    if len(survey.split.val) == 1 and survey.total > 1:
        files = tuple(printable(file) for file in files_of(survey.split.val[0].image))
        yield Found(files, "is the only image to validate on", "label more, where you can")
