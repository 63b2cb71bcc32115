"""Checks of what the masks mean: their classes, and whether they fit the images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rescrnet.checking.explained import cross_explained, explained, turned
from rescrnet.checking.findings import Severity, faults, finds
from rescrnet.datasets.facts import SPECK, ClassFacts
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.read import Example, Reading, shares
from rescrnet.images.whole import Origin
from rescrnet.wording import printable

_RARE = 2e-3  # share of pixels
_UNLABELLED = 0.5
_CLEARLY = 2.0  # times more explained by another than by its own
_RELATED = 0.15  # so much more must be explained; a few large objects explain a tenth by chance
_TURNED_RIGHT = 0.6  # of what masks usually explain: a mask that was turned back explains about as much
_USUAL = 0.5  # explained by most masks, or one that explains nothing says little
_MANY = 3  # masks with one and the same fault become one finding
_FEWEST_CONTRASTS = 4  # images that tell what is usual
_NEARLY_ALL = 0.8
_SPECKS = 8  # in an image, on average; a few slits and corners are no fault
_CONTRAST = 0.4  # correlation of a class with brightness from which on it is clearly bright, or dark
_USUAL_CONTRAST = 0.2  # of most masks, from which on that of a mask tells whether it is inverted
_FEWEST_CELLS = 400  # on smaller images masks fit by chance


def _masks_of(examples: Iterable[Example]) -> list[Origin]:
    return [example.pair.masks.first for example in examples]


def _comparable(reading: Reading) -> list[tuple[Example, ClassFacts]]:
    """Images with masks that can be compared with one another."""
    return [
        (example, facts)
        for example, facts in reading.labelled
        if example.usable and facts.maps[0].size >= _FEWEST_CELLS and np.count_nonzero(facts.pixels) > 1
    ]


@finds(Severity.error)
def one_class(reading: Reading) -> Iterator[Fault]:
    """A mask holds one class only, which teaches the network nothing about borders; often it was left undrawn."""
    if reading.description.allow_single_class:
        return
    for example, facts in reading.labelled:
        if np.count_nonzero(facts.pixels) == 1 and not facts.unlabelled:
            name = reading.class_names[int(facts.pixels.argmax())]
            remedy = "remove the image, or, if that is meant, write dataset.yaml with 'allow_single_class: true'"
            yield from faults(_masks_of([example]), f"holds one class only, '{name}'", remedy)


@finds(Severity.warning)
def nothing_labelled(reading: Reading) -> Iterator[Fault]:
    """Not one pixel of a mask is labelled; the image does not train."""
    examples = [example for example, facts in reading.labelled if not facts.pixels.any()]
    yield from faults(_masks_of(examples), "no pixel is labelled", "label some, or remove the image")


@finds(Severity.error)
def part_unlabelled(reading: Reading) -> Iterator[Fault]:
    """No mask to train on has a labelled pixel, or none to validate on."""
    for part, kind in (("train", "training"), ("val", "validation")):
        labelled = [(example, facts) for example, facts in reading.labelled if example.part == part]
        if labelled and not any(facts.pixels.any() for _, facts in labelled):
            found = f"no pixel is labelled, nor in another {kind} mask"
            yield from faults([labelled[0][0].pair.masks.first], found, "label some, or split otherwise with --val")


@finds(Severity.error)
def too_few_classes(reading: Reading) -> Iterator[Fault]:
    """The masks show a single class; a network learns to tell at least two apart."""
    if reading.table and len(reading.table.classes) < 2:
        name, entry = reading.class_names[0], reading.table.classes[0]
        remedy = "label a second class, such as the background"
        if any(-1 in mask.values for _, mask in reading.masks):
            remedy = f"-1 is taken for unlabelled; if it is a class, save it as 1; else {remedy}"
        elif any(facts.unlabelled for _, facts in reading.labelled) and not reading.table.ignore:
            line = f"classes: [{{name: background}}, {{name: {name}, value: {entry.values[0]!r}}}]"
            remedy = f"if transparent pixels are the background, write dataset.yaml with '{line}'; else {remedy}"
        yield from faults([reading.folder], f"the masks show one class, '{name}'", remedy)


@finds(Severity.info)
def mostly_unlabelled(reading: Reading) -> Iterator[Fault]:
    """More than half of a mask is unlabelled. Unlabelled pixels are left out of training and scores."""
    examples = [
        example
        for example, facts in reading.labelled
        if facts.unlabelled > _UNLABELLED * (facts.unlabelled + facts.pixels.sum())
    ]
    examples = [example for example in examples if example.classes and example.classes.pixels.any()]
    yield from faults(_masks_of(examples), "more than half of its pixels are unlabelled", "nothing needs to be done")


@finds(Severity.error)
def class_nowhere(reading: Reading) -> Iterator[Fault]:
    """A class that is declared occurs in no mask."""
    facts = [facts for _, facts in reading.labelled]
    for name, share in zip(reading.class_names, shares(facts) if facts else (), strict=False):
        if not share:
            remedy = "remove it from dataset.yaml, or draw it"
            yield from faults([reading.folder], f"class '{name}' is in no mask", remedy)


@finds(Severity.error)
def class_only_in_validation(reading: Reading) -> Iterator[Fault]:
    """A class occurs in masks for validation but in none for training, so that it cannot be learnt."""
    yield from _one_sided(reading, "val", "train", "is in validation masks but in no training mask")


@finds(Severity.warning)
def class_not_in_validation(reading: Reading) -> Iterator[Fault]:
    """A class occurs in masks for training but in none for validation, so that nobody sees how well it is found."""
    yield from _one_sided(reading, "train", "val", "is in training masks but in no validation mask")


def _one_sided(reading: Reading, there: str, missing: str, reason: str) -> Iterator[Fault]:
    parts = {name: [(i, f) for i, f in reading.labelled if i.part == name] for name in (there, missing)}
    if not all(parts.values()):
        return
    for index, name in enumerate(reading.class_names):
        examples = [example for example, facts in parts[there] if facts.pixels[index]]
        if examples and not any(facts.pixels[index] for _, facts in parts[missing]):
            yield from faults(_masks_of(examples), f"class '{name}' {reason}", "split otherwise, with --val")


@finds(Severity.info)
def class_absent(reading: Reading) -> Iterator[Fault]:
    """A class is missing in some masks. That is allowed; where every image should show it, it was forgotten there."""
    labelled = list(reading.labelled)
    for index, name in enumerate(reading.class_names):
        examples = [example for example, facts in labelled if facts.pixels.any() and not facts.pixels[index]]
        if 0 < len(examples) < len(labelled):
            remedy = "nothing needs to be done where the images do not show it"
            yield from faults(
                _masks_of(examples), f"shows no '{name}', which {len(labelled) - len(examples)} others do", remedy
            )


@finds(Severity.warning)
def rare_class(reading: Reading) -> Iterator[Fault]:
    """A class covers fewer than two pixels in a thousand; it is hard to learn, and its score means little."""
    facts = [facts for _, facts in reading.labelled]
    for name, share in zip(reading.class_names, shares(facts) if facts else (), strict=False):
        if 0 < share < _RARE:
            remedy = "label more images that show it, or join it with another class"
            yield from faults([reading.folder], f"class '{name}' covers {share:.2%} of the pixels", remedy)


@finds(Severity.warning)
def specks(reading: Reading) -> Iterator[Fault]:
    """More than half of the connected parts of a class are specks of at most four pixels: remains of drawing or
    thresholding."""
    labelled = list(reading.labelled)
    for index, name in enumerate(reading.class_names):
        parts = sum(int(facts.parts[index]) for _, facts in labelled)
        small = sum(int(facts.specks[index]) for _, facts in labelled)
        if small > max(10, parts // 2, _SPECKS * len(labelled)):
            examples = [example for example, facts in labelled if facts.specks[index]]
            reason = f"{small} of {parts} parts of '{name}' have at most {SPECK} pixels"
            yield from faults(_masks_of(examples), reason, "clean the masks, for instance with Fiji's Despeckle")


@finds(Severity.warning)
def inverted_mask(reading: Reading) -> Iterator[Fault]:
    """With two classes, one mask shows as much of the first as the others show of the second: it was inverted."""
    if len(reading.class_names) != 2:
        return
    examples = [(example, facts.pixels[1] / max(1, facts.pixels.sum())) for example, facts in reading.labelled]
    if len(examples) < 3:
        return
    middle = float(np.median([share for _, share in examples]))
    wrong = [i for i, share in examples if abs(share - middle) > 0.4 and abs(1 - share - middle) < 0.2]
    usual = float(np.median([_contrast_of(example) for example, _ in examples]))
    if abs(usual) > _USUAL_CONTRAST:  # of an inverted mask it is the other way round
        wrong = [example for example in wrong if _contrast_of(example) * usual <= 0]
    if len(wrong) < len(examples) / 3:
        reason = f"shows as much of '{reading.class_names[0]}' as other masks show of '{reading.class_names[1]}'"
        yield from faults(_masks_of(wrong), reason, "look whether it is inverted")


@finds(Severity.warning)
def contrast_differs(reading: Reading) -> Iterator[Fault]:
    """A class is clearly brighter than the rest in some images and clearly darker in others: images, or masks, of both
    polarities are mixed."""
    pairs = _comparable(reading)
    if len(pairs) < _FEWEST_CONTRASTS or len({facts.maps.shape[0] for _, facts in pairs}) > 1:
        return
    found = np.array(
        [_correlations(facts.maps[:-1], example.image.reduced) for example, facts in pairs if example.image]
    )
    contrast = found[:, int(np.abs(found).mean(0).argmax())]
    bright, dark = contrast > _CONTRAST, contrast < -_CONTRAST
    if bright.any() and dark.any() and (bright | dark).mean() >= _NEARLY_ALL:
        fewer, word = (bright, "brighter") if bright.sum() <= dark.sum() else (dark, "darker")
        name = reading.class_names[int(np.abs(found).mean(0).argmax()) + 1]
        examples = [example for (example, _), is_one in zip(pairs, fewer, strict=True) if is_one]
        reason = f"'{name}' is {word} than the rest here, and the other way round in other images"
        yield from faults(
            [example.pair.image for example in examples],
            reason,
            "look whether these images, or their masks, are inverted (in Fiji: Edit › Invert, Image › Lookup Tables)",
        )


def _contrast_of(example: Example) -> float:
    """How the second class goes with brightness, from -1 to 1; 0 where that is not known."""
    if not (example.usable and example.image and example.classes):
        return 0.0
    return _correlations(example.classes.maps[:1], example.image.reduced)[0]


def _correlations(layers: NDArray[np.uint8], grey: NDArray[np.float32]) -> list[float]:
    """How each class goes with brightness, from -1 to 1; 0 where it is everywhere or nowhere."""
    flat = grey.ravel() - grey.mean()
    found = []
    for layer in layers:
        share = layer.ravel() - layer.mean()
        found.append(float((share @ flat) / max(1e-9, np.sqrt((share @ share) * float(flat @ flat)))))
    return found


@finds(Severity.warning)
def mask_of_another_image(reading: Reading) -> Iterator[Fault]:
    """A mask fits another image of the dataset far better than its own: two masks were swapped or the names shifted."""
    pairs = dict(enumerate(_comparable(reading)))
    greys = {number: example.image.reduced for number, (example, _) in pairs.items() if example.image}
    fits = cross_explained({number: facts.maps for number, (_, facts) in pairs.items()}, greys)
    wrong: list[tuple[Example, str]] = []
    for number, row in fits.items():
        best = max(row, key=lambda other: row[other])
        rivals = (row[number], fits[best].get(best, 0.0))  # where all show one thing in the middle, any mask fits
        if best != number and all(row[best] > max(_CLEARLY * fit, fit + _RELATED) for fit in rivals):
            reason = (
                f"fits {printable(pairs[best][0].image_file.name)} better than its own image: it explains "
                f"{row[best]:.0%} of that and {row[number]:.0%} of its own"
            )
            wrong.append((pairs[number][0], reason))
    if len(wrong) > _MANY:
        reason = f"{len(wrong)} masks fit other images better than their own; the first {wrong[0][1]}"
        wrong_items = [example for example, _ in wrong]
        yield from faults(_masks_of(wrong_items), reason, "look whether the names of images or masks are shifted")
        return
    for example, reason in wrong:
        yield from faults(_masks_of([example]), reason, "look at both and pair them rightly")


@finds(Severity.warning)
def mask_mirrored(reading: Reading) -> Iterator[Fault]:
    """A mask fits its image far better when it is mirrored or rotated: an export flipped one of the two."""
    pairs = [(example, facts) for example, facts in _comparable(reading) if example.image]
    own = _own_fits(pairs)
    usual = float(np.median(own)) if own else 0.0
    found: dict[str, list[tuple[Example, float, float]]] = defaultdict(list)
    for (example, facts), fit in zip(pairs, own, strict=True):
        ways = turned(facts.maps, example.image.reduced) if example.image else {}
        best = max(ways, key=lambda way: ways[way], default="")
        if best and ways[best] > max(_CLEARLY * fit, fit + _RELATED, _TURNED_RIGHT * usual):
            found[best].append((example, ways[best], fit))
    for way, turned_masks in found.items():
        examples, after, before = zip(*turned_masks, strict=True)
        reason = f"fits its image far better {way} ({_percent(after)} of it explained, {_percent(before)} as it is)"
        yield from faults(_masks_of(examples), reason, "look at both and rotate the mask back")


def _own_fits(pairs: Iterable[tuple[Example, ClassFacts]]) -> list[float]:
    """How much each mask explains of its image."""
    return [float(explained(f.maps, [example.image.reduced])[0]) if example.image else 0.0 for example, f in pairs]


def _percent(shares_of: Sequence[float]) -> str:
    """``3%``, or from the least to the most, ``3% to 8%``."""
    low, high = (f"{choose(shares_of):.0%}" for choose in (min, max))
    return low if low == high else f"{low} to {high}"


@finds(Severity.warning)
def mask_unrelated(reading: Reading) -> Iterator[Fault]:
    """A mask has nothing to do with what is bright and dark in its image, while other masks have."""
    pairs = _comparable(reading)
    fits = _own_fits(pairs)
    if len(fits) >= 3 and (usual := float(np.median(fits))) > _USUAL:
        wrong = [(example, fit) for (example, _), fit in zip(pairs, fits, strict=True) if fit < usual / 15]
        if wrong:
            reason = f"explains {_percent([fit for _, fit in wrong])} of its image, other masks usually {usual:.0%}"
            yield from faults(
                _masks_of(example for example, _ in wrong), reason, "look whether it belongs to the image"
            )
