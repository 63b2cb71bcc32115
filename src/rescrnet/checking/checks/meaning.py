"""Checks of what the masks mean: their classes, and whether they fit the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rescrnet.checking.explained import cross_explained, explained, turned
from rescrnet.checking.facts import SPECK, ClassFacts
from rescrnet.checking.findings import Found, Severity, check, printable
from rescrnet.checking.survey import Item, Survey, shares

_RARE = 2e-3  # share of pixels
_UNLABELLED = 0.5
_CLEARLY = 2.0  # times more explained by another than by its own
_RELATED = 0.15  # so much more must be explained; a few large objects explain a tenth by chance
_MANY = 3  # masks with one and the same fault become one finding
_FEWEST_CELLS = 400  # on smaller images masks fit by chance


def of_item_masks(items: Sequence[Item], reason: str, remedy: str) -> Iterator[Found]:
    """One finding about the masks of all ``items``, none where there are none."""
    if items:
        yield Found(tuple(printable(next(iter(item.pair.masks.values()))) for item in items), reason, remedy)


def _comparable(survey: Survey) -> list[tuple[Item, ClassFacts]]:
    """Images with masks that can be compared with one another."""
    return [
        (item, facts)
        for item, facts in survey.labelled
        if item.usable and facts.maps[0].size >= _FEWEST_CELLS and np.count_nonzero(facts.pixels) > 1
    ]


@check(Severity.error)
def one_class(survey: Survey) -> Iterator[Found]:
    """A mask holds one class only, which teaches the network nothing about borders; often it was left undrawn."""
    if survey.description.allow_single_class:
        return
    for item, facts in survey.labelled:
        if np.count_nonzero(facts.pixels) == 1 and not facts.unlabelled:
            name = survey.class_names[int(facts.pixels.argmax())]
            remedy = "remove the image, or, if that is meant, write dataset.yaml with 'allow_single_class: true'"
            yield from of_item_masks([item], f"holds one class only, '{name}'", remedy)


@check(Severity.warning)
def nothing_labelled(survey: Survey) -> Iterator[Found]:
    """Not one pixel of a mask is labelled; the image does not train."""
    items = [item for item, facts in survey.labelled if not facts.pixels.any()]
    yield from of_item_masks(items, "no pixel is labelled", "label some, or remove the image")


@check(Severity.info)
def mostly_unlabelled(survey: Survey) -> Iterator[Found]:
    """More than half of a mask is unlabelled. Unlabelled pixels are left out of training and scores."""
    items = [
        item
        for item, facts in survey.labelled
        if facts.unlabelled > _UNLABELLED * (facts.unlabelled + facts.pixels.sum())
    ]
    items = [item for item in items if item.classes and item.classes.pixels.any()]
    yield from of_item_masks(items, "more than half of its pixels are unlabelled", "nothing needs to be done")


@check(Severity.error)
def class_nowhere(survey: Survey) -> Iterator[Found]:
    """A class that is declared occurs in no mask."""
    facts = [facts for _, facts in survey.labelled]
    for name, share in zip(survey.class_names, shares(facts) if facts else (), strict=False):
        if not share:
            remedy = "remove it from dataset.yaml, or draw it"
            yield Found((printable(survey.folder),), f"class '{name}' is in no mask", remedy)


@check(Severity.error)
def class_only_in_validation(survey: Survey) -> Iterator[Found]:
    """A class occurs in masks for validation but in none for training, so that it cannot be learnt."""
    yield from _one_sided(survey, "val", "train", "is in validation masks but in no training mask")


@check(Severity.warning)
def class_not_in_validation(survey: Survey) -> Iterator[Found]:
    """A class occurs in masks for training but in none for validation, so that nobody sees how well it is found."""
    yield from _one_sided(survey, "train", "val", "is in training masks but in no validation mask")


def _one_sided(survey: Survey, there: str, missing: str, reason: str) -> Iterator[Found]:
    parts = {name: [(i, f) for i, f in survey.labelled if i.part == name] for name in (there, missing)}
    if not all(parts.values()):
        return
    for index, name in enumerate(survey.class_names):
        items = [item for item, facts in parts[there] if facts.pixels[index]]
        if items and not any(facts.pixels[index] for _, facts in parts[missing]):
            yield from of_item_masks(items, f"class '{name}' {reason}", "split otherwise, with --val")


@check(Severity.info)
def class_absent(survey: Survey) -> Iterator[Found]:
    """A class is missing in some masks. That is allowed; where every image should show it, it was forgotten there."""
    labelled = list(survey.labelled)
    for index, name in enumerate(survey.class_names):
        items = [item for item, facts in labelled if facts.pixels.any() and not facts.pixels[index]]
        if 0 < len(items) < len(labelled):
            remedy = "nothing needs to be done where the images do not show it"
            yield from of_item_masks(items, f"shows no '{name}', which {len(labelled) - len(items)} others do", remedy)


@check(Severity.warning)
def rare_class(survey: Survey) -> Iterator[Found]:
    """A class covers fewer than two pixels in a thousand; it is hard to learn, and its score means little."""
    facts = [facts for _, facts in survey.labelled]
    for name, share in zip(survey.class_names, shares(facts) if facts else (), strict=False):
        if 0 < share < _RARE:
            remedy = "label more images that show it, or join it with another class"
            yield Found((printable(survey.folder),), f"class '{name}' covers {share:.2%} of the pixels", remedy)


@check(Severity.warning)
def specks(survey: Survey) -> Iterator[Found]:
    """More than half of the connected parts of a class are specks of at most four pixels: remains of drawing or
    thresholding."""
    labelled = list(survey.labelled)
    for index, name in enumerate(survey.class_names):
        parts = sum(int(facts.parts[index]) for _, facts in labelled)
        small = sum(int(facts.specks[index]) for _, facts in labelled)
        if small > max(10, parts // 2):
            items = [item for item, facts in labelled if facts.specks[index]]
            reason = f"{small} of {parts} parts of '{name}' have at most {SPECK} pixels"
            yield from of_item_masks(items, reason, "clean the masks, for instance with Fiji's Despeckle")


@check(Severity.warning)
def inverted_mask(survey: Survey) -> Iterator[Found]:
    """With two classes, one mask shows as much of the first as the others show of the second: it was inverted."""
    if len(survey.class_names) != 2:
        return
    items = [(item, facts.pixels[1] / max(1, facts.pixels.sum())) for item, facts in survey.labelled]
    if len(items) < 3:
        return
    middle = float(np.median([share for _, share in items]))
    wrong = [i for i, share in items if abs(share - middle) > 0.4 and abs(1 - share - middle) < 0.2]
    if len(wrong) < len(items) / 3:
        reason = f"shows as much of '{survey.class_names[0]}' as other masks show of '{survey.class_names[1]}'"
        yield from of_item_masks(wrong, reason, "look whether it is inverted")


@check(Severity.warning)
def mask_of_another_image(survey: Survey) -> Iterator[Found]:
    """A mask fits another image of the dataset far better than its own: two masks were swapped or the names shifted."""
    pairs = dict(enumerate(_comparable(survey)))
    greys = {number: item.image.reduced for number, (item, _) in pairs.items() if item.image}
    fits = cross_explained({number: facts.maps for number, (_, facts) in pairs.items()}, greys)
    wrong: list[tuple[Item, str]] = []
    for number, row in fits.items():
        best = max(row, key=lambda other: row[other])
        if best != number and row[best] > max(_CLEARLY * row[number], row[number] + _RELATED):
            reason = (
                f"fits {printable(pairs[best][0].image_file.name)} better than its own image: it explains "
                f"{row[best]:.0%} of that and {row[number]:.0%} of its own"
            )
            wrong.append((pairs[number][0], reason))
    if len(wrong) > _MANY:
        reason = f"{len(wrong)} masks fit other images better than their own; the first {wrong[0][1]}"
        wrong_items = [item for item, _ in wrong]
        yield from of_item_masks(wrong_items, reason, "look whether the names of images or masks are shifted")
        return
    for item, reason in wrong:
        yield from of_item_masks([item], reason, "look at both and pair them rightly")


@check(Severity.warning)
def mask_mirrored(survey: Survey) -> Iterator[Found]:
    """A mask fits its image far better when it is mirrored or turned: an export flipped one of the two."""
    for item, facts in _comparable(survey):
        if item.image:
            own = float(explained(facts.maps, [item.image.reduced])[0])
            ways = turned(facts.maps, item.image.reduced)
            best = max(ways, key=lambda way: ways[way])
            if ways[best] > max(_CLEARLY * own, own + _RELATED):
                reason = f"fits its image far better {best} ({ways[best]:.0%} of it explained, {own:.0%} as it is)"
                yield from of_item_masks([item], reason, "look at both and turn the mask back")


@check(Severity.warning)
def mask_unrelated(survey: Survey) -> Iterator[Found]:
    """A mask has nothing to do with what is bright and dark in its image, while other masks have."""
    pairs = _comparable(survey)
    fits = [float(explained(f.maps, [i.image.reduced])[0]) if i.image else 0.0 for i, f in pairs]
    if len(fits) >= 3 and (usual := float(np.median(fits))) > 2 * _RELATED:
        for (item, _), fit in zip(pairs, fits, strict=True):
            if fit < usual / 10:
                reason = f"explains {fit:.0%} of its image, other masks usually {usual:.0%}"
                yield from of_item_masks([item], reason, "look whether it belongs to the image")


@check(Severity.error)
def not_loadable(survey: Survey) -> Iterator[Found]:
    """Training would refuse the dataset for a reason that no other check names."""
    for what in ("split", "loading"):
        if (fault := survey.faults.get(what)) and survey.total > 1:
            reason, _, remedy = fault.rpartition("; ")
            yield Found(
                (printable(survey.folder),), printable(reason or fault), printable(remedy or "mend the dataset")
            )
