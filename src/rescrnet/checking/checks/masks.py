"""Checks of the mask files: their sizes, formats and values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rescrnet.checking.facts import ImageFacts, MaskFacts
from rescrnet.checking.findings import Found, Severity, check, printable
from rescrnet.checking.survey import Item, Survey
from rescrnet.images.origins import Origin
from rescrnet.masks.infer import INDEX_LIMIT
from rescrnet.masks.table import MaskTable


def of_masks(masks: Sequence[MaskFacts], reason: str, remedy: str) -> Iterator[Found]:
    """One finding about all ``masks``, none where there are none."""
    if masks:
        yield Found(tuple(printable(mask.file) for mask in masks), reason, remedy)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _other_sizes(survey: Survey) -> Iterator[tuple[MaskFacts, ImageFacts, str]]:
    """Masks with sizes unlike their images', and in which way: turned, resized or different."""
    for item, mask in survey.masks:
        if item.image and mask.size != item.image.size:
            ratios = [m / i for m, i in zip(mask.size, item.image.size, strict=True)]
            if mask.size == item.image.size[::-1]:
                yield mask, item.image, "turned"
            elif abs(ratios[0] / ratios[1] - 1) < 0.02 and abs(ratios[0] - 1) > 0.1:
                yield mask, item.image, "resized"
            else:
                yield mask, item.image, "different"


@check(Severity.error)
def mask_size_swapped(survey: Survey) -> Iterator[Found]:
    """A mask has height and width of its image swapped: one of the two was turned or transposed."""
    for mask, image, way in _other_sizes(survey):
        if way == "turned":
            reason = f"is {_size(mask.size)}, its image {_size(image.size)}: it was turned or transposed"
            yield from of_masks([mask], reason, "turn it back, in the direction that fits")


@check(Severity.error, mended=True)
def mask_resized(survey: Survey) -> Iterator[Found]:
    """A mask is a smaller or larger version of what belongs to its image, as exported with a downsampling. The
    corrected copy scales it to the image, each pixel to the nearest."""
    for mask, image, way in _other_sizes(survey):
        if way == "resized":
            reason = f"is {_size(mask.size)}, its image {_size(image.size)}: it was scaled"
            yield from of_masks([mask], reason, "export it at full resolution, or let --fix scale it")


@check(Severity.error)
def mask_size_differs(survey: Survey) -> Iterator[Found]:
    """A mask has another size than its image, so that no pixel of it is where it belongs."""
    for mask, image, way in _other_sizes(survey):
        if way == "different":
            reason = f"is {_size(mask.size)}, its image {_size(image.size)}"
            yield from of_masks([mask], reason, "crop neither; find the mask that belongs to the image")


@check(Severity.warning, mended=True)
def jpeg_mask(survey: Survey) -> Iterator[Found]:
    """A mask was saved as JPEG, whose compression invents values along every edge. The corrected copy takes each pixel
    to the nearest of the main values, where those stand out."""
    masks = [mask for _, mask in survey.masks if mask.form == "JPEG"]
    remedy = "save it as PNG or TIFF from the program that drew it, or let --fix take values to the main ones"
    yield from of_masks(masks, "was saved as JPEG, which invents values along edges", remedy)


@check(Severity.warning, mended=True)
def soft_edges(survey: Survey) -> Iterator[Found]:
    """A mask was drawn or scaled with smooth (antialiased) edges, whose values lie between two classes; each goes to
    the nearest class."""
    if survey.table:
        masks = [mask for _, mask in survey.masks if mask.form != "JPEG" and _has_soft_edges(mask, survey.table)]
        yield from of_masks(masks, "has smooth edges, with values between the classes", "draw without antialiasing")


def _has_soft_edges(mask: MaskFacts, table: MaskTable) -> bool:
    if table.reader.layers:
        return len(mask.values) > 2
    return table.antialiased and not {code & 0xFFFFFF for code in table.indices}.issuperset(mask.values)


@check(Severity.info)
def looks_black(survey: Survey) -> Iterator[Found]:
    """A mask holds small numbers such as 0 and 1, and looks black in a viewer that does not stretch contrast. That is
    as it should be."""
    masks = [mask for _, mask in survey.masks if mask.type != "bool" and 0 < max(mask.values) <= INDEX_LIMIT]
    masks = [mask for mask in masks if not mask.palette and not mask.colour]
    yield from of_masks(masks, "looks black in most viewers, but holds classes", "nothing needs to be done")


@check(Severity.info)
def palette_mask(survey: Survey) -> Iterator[Found]:
    """A mask is an indexed PNG: its numbers are the classes, its colours are for the eye."""
    masks = [mask for _, mask in survey.masks if mask.palette]
    yield from of_masks(masks, "has a palette; its indices are taken for the classes", "nothing needs to be done")


@check(Severity.error)
def mixed_values(survey: Survey) -> Iterator[Found]:
    """Some masks count their classes 0, 1, 2, … and others have grey levels such as 0 and 255, so that one class would
    become two."""
    if survey.description.classes:
        return
    layers: dict[bool, list[MaskFacts]] = defaultdict(list)
    for item, mask in survey.masks:
        if len(item.pair.masks) == 1 and not mask.colour and mask.type != "bool" and max(mask.values) > 0:
            layers[max(mask.values) <= INDEX_LIMIT].append(mask)
    values = {kind: {value for mask in masks for value in mask.values} - {0} for kind, masks in layers.items()}
    if len(values) == 2 and not values[True] & values[False]:
        fewer = len(layers[True]) <= len(layers[False])
        listed = [", ".join(map(str, sorted(values[kind])[:4])) for kind in (fewer, not fewer)]
        reason = f"holds {listed[0]} beside 0, other masks hold {listed[1]}"
        yield from of_masks(layers[fewer], reason, "give each class one value in all masks")


@check(Severity.error)
def mixed_colours(survey: Survey) -> Iterator[Found]:
    """Some masks are in colour and others in grey, so that one class would become two."""
    single = [mask for item, mask in survey.masks if len(item.pair.masks) == 1]
    colour = [mask for mask in single if mask.colour]
    grey = [mask for mask in single if not mask.colour and len(mask.values) > 1]
    if colour and grey:
        reason = f"is {'in colour' if len(colour) <= len(grey) else 'grey'}, other masks are not"
        yield from of_masks(min(colour, grey, key=len), reason, "give each class one value in all masks")


@check(Severity.error)
def many_values(survey: Survey) -> Iterator[Found]:
    """The values of the masks are not those of a few classes: separate objects with a number each, unnamed colours, or
    a picture in place of a mask."""
    if fault := survey.faults.get("masks"):
        subject, _, rest = fault.partition(": ")
        reason, _, remedy = rest.partition("; ")
        yield Found((printable(subject),), printable(reason), printable(remedy or "mend the masks"))


@check(Severity.info)
def stray_values(survey: Survey) -> Iterator[Found]:
    """A few pixels have values of no class; each goes to the nearest class."""
    if survey.table:
        for note in survey.table.notes():
            yield Found((printable(survey.folder),), printable(note), "look at the values; nothing needs to be done")


@check(Severity.error)
def mask_is_image(survey: Survey) -> Iterator[Found]:
    """A mask holds the very pixels of its image: the wrong file was copied."""
    for item, mask in survey.masks:
        if item.image and len(mask.values) > 4 and mask.digest == item.image.digest:
            yield from of_masks([mask], "is a copy of its image", "put the mask in its place")


@check(Severity.warning)
def same_mask_twice(survey: Survey) -> Iterator[Found]:
    """Different images have one and the same mask."""
    groups: dict[str, dict[Origin, tuple[Item, MaskFacts]]] = defaultdict(dict)
    for item, mask in survey.masks:
        if item.image and len(mask.values) > 1:
            groups[mask.digest][mask.file] = item, mask
    for group in groups.values():
        images = {item.image.digest for item, _ in group.values() if item.image}
        if len(group) > 1 and len(images) > 1:
            reason = "is the same mask, though the images differ"
            yield from of_masks([mask for _, mask in group.values()], reason, "find the mask of each image")


@check(Severity.warning)
def empty_layer(survey: Survey) -> Iterator[Found]:
    """A binary mask in the folder of a class is all black in every image: nothing of the class was drawn."""
    layers: dict[str, list[MaskFacts]] = defaultdict(list)
    for item in survey.items:
        if len(item.pair.masks) > 1 and len(item.masks) == len(item.pair.masks):
            for layer, mask in zip(item.pair.masks, item.masks, strict=True):
                layers[layer].append(mask)
    for layer, masks in layers.items():
        if all(max(mask.values) == 0 for mask in masks):
            reason = f"nothing is drawn in any mask of '{printable(layer)}'"
            yield from of_masks(masks, reason, "remove the folder, or draw the class")
