"""Checks of training and validation images against each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from rescrnet.checking.checks.images import of_items
from rescrnet.checking.findings import Found, Severity, check, printable
from rescrnet.checking.survey import Item, Survey
from rescrnet.data.origins import Page, files_of

_SHIFT = 3.0  # spreads of the training images' brightness


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


@check(Severity.warning)
def group_on_both_sides(survey: Survey) -> Iterator[Found]:
    """Images of one animal, sample or stack are on both sides of the split; they resemble each other, and the score
    flatters."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for part, pairs in (("train", survey.split.train), ("val", survey.split.val)):
        for pair in pairs:
            if pair.group:
                groups[pair.group][part].append(printable(pair.image))
    for group, parts in groups.items():
        if len(parts) == 2:
            reason = f"group '{printable(group)}' has images for training and for validation"
            remedy = "keep a group on one side, with --val or the split column of the table"
            yield Found((*parts["val"], *parts["train"]), reason, remedy)


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
def brightness_differs(survey: Survey) -> Iterator[Found]:
    """Validation images are far brighter or darker than all training images, as if from another microscope or
    staining."""
    levels = {part: [f.levels[1:] for i, f in survey.images if i.part == part] for part in ("train", "val")}
    if len(levels["train"]) < 3 or not levels["val"]:
        return
    train = np.array(levels["train"])
    middle = np.median(train, 0)
    spread = np.maximum(np.abs(train - middle).max(0), 0.05)
    far = [
        item
        for item, facts in survey.images
        if item.part == "val" and (np.abs(np.array(facts.levels[1:]) - middle) > _SHIFT * spread).any()
    ]
    reason = "is far brighter or darker than every training image"
    yield from of_items(far, reason, "train on images of that kind too, or validate on others")


@check(Severity.info)
def few_to_validate(survey: Survey) -> Iterator[Found]:
    """A single image validates; its score says little about others."""
    if len(survey.split.val) == 1 and survey.total > 1:
        files = tuple(printable(file) for file in files_of(survey.split.val[0].image))
        yield Found(files, "is the only image to validate on", "label more, where you can")
