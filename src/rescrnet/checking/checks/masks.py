"""Checks of the mask files: their sizes, formats and values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from rescrnet.checking.findings import Severity, faults, finds
from rescrnet.datasets.facts import MaskFacts
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.read import Example, Reading
from rescrnet.images.whole import Origin
from rescrnet.masks.infer import INDEX_LIMIT
from rescrnet.masks.table import MaskTable
from rescrnet.wording import printable, size

_ROUNDED = 2  # pixels that a size is off where it was rounded
_DIFFERS = {
    "other": ("", "crop neither; find the mask that belongs to the image"),
    "rounded": (
        ": an export rounded its size",
        "export it anew at the size of the image, or crop or pad the side where pixels are missing",
    ),
    "barred": (
        ": does the image have an info bar that the mask has not?",
        "crop the bar off the image, so that both have one size",
    ),
}


def _files(masks: Iterable[MaskFacts]) -> list[Origin]:
    return [mask.file for mask in masks]


def _of_other_size(reading: Reading, way: str) -> Iterator[tuple[MaskFacts, str]]:
    """Masks whose sizes differ from their images' in one ``way``, and both sizes in words."""
    for example, mask in reading.masks:
        if example.image and mask.size != example.image.size and _way(mask.size, example.image.size) == way:
            yield mask, f"is {size(mask.size)}, its image {size(example.image.size)}"


def _way(mask: tuple[int, int], image: tuple[int, int]) -> str:
    down, across = (m / i for m, i in zip(mask, image, strict=True))
    if mask == image[::-1]:
        return "swapped"
    if max(abs(m - i) for m, i in zip(mask, image, strict=True)) <= _ROUNDED and min(image) > 2 * _ROUNDED:
        return "rounded"
    if mask[1] == image[1] and 0.75 < down < 1:
        return "barred"
    return "resized" if abs(down / across - 1) < 0.02 and abs(down - 1) > 0.1 else "other"


@finds(Severity.error, essential=True)
def mask_size_swapped(reading: Reading) -> Iterator[Fault]:
    """A mask has height and width of its image swapped: one of the two was rotated or transposed."""
    for mask, sizes in _of_other_size(reading, "swapped"):
        remedy = "rotate it back, in the direction that fits"
        yield from faults([mask.file], f"{sizes}: it was rotated or transposed", remedy)


@finds(Severity.error, fixable=True, essential=True)
def mask_resized(reading: Reading) -> Iterator[Fault]:
    """A mask is a smaller or larger version of what belongs to its image, as exported with a downsampling. The
    corrected copy scales it to the image, each pixel to the nearest."""
    for mask, sizes in _of_other_size(reading, "resized"):
        yield from faults([mask.file], f"{sizes}: it was scaled", "export it at full resolution, or let --fix scale it")


@finds(Severity.error, leaves_out=True, essential=True)
def mask_size_differs(reading: Reading) -> Iterator[Fault]:
    """A mask has another size than its image, so that no pixel of it is where it belongs. The corrected copy leaves
    the image out; it would have to guess at which side pixels are missing."""
    for way, (why, remedy) in _DIFFERS.items():
        alike: dict[str, list[Origin]] = defaultdict(list)
        for mask, sizes in _of_other_size(reading, way):
            alike[sizes].append(mask.file)
        for sizes, files in alike.items():
            yield from faults(files, f"{sizes}{why}", remedy)


@finds(Severity.warning, fixable=True)
def jpeg_mask(reading: Reading) -> Iterator[Fault]:
    """A mask was saved as JPEG, whose compression invents values along every edge. The corrected copy takes each pixel
    to the nearest of the main values, where those stand out."""
    masks = [mask for _, mask in reading.masks if mask.form == "JPEG"]
    remedy = "save it as PNG or TIFF from the program that drew it, or let --fix take values to the main ones"
    yield from faults(_files(masks), "was saved as JPEG, which invents values along edges", remedy)


@finds(Severity.warning, fixable=True)
def soft_edges(reading: Reading) -> Iterator[Fault]:
    """A mask was drawn or scaled with smooth (antialiased) edges, whose values lie between two classes; each goes to
    the nearest class."""
    if reading.table:
        masks = [mask for _, mask in reading.masks if mask.form != "JPEG" and _has_soft_edges(mask, reading.table)]
        yield from faults(
            _files(masks),
            "has smooth edges, with values between the classes",
            "draw without antialiasing, and resize masks without interpolation",
        )


def _has_soft_edges(mask: MaskFacts, table: MaskTable) -> bool:
    if table.reader.layers:
        return len(mask.values) > 2 and not mask.outlined
    return table.antialiased and not {code & 0xFFFFFF for code in table.indices}.issuperset(mask.values)


@finds(Severity.warning)
def shapes_without_area(reading: Reading) -> Iterator[Fault]:
    """Outlines lie beside points, lines or boxes, which have no area and are in no class."""
    kinds: dict[str, list[MaskFacts]] = defaultdict(list)
    for _, mask in reading.masks:
        if mask.passed_over:
            kinds[mask.passed_over].append(mask)
    for passed_over, masks in kinds.items():
        reason = f"holds {passed_over} beside outlines, which have no area and are left out"
        yield from faults(_files(masks), reason, "outline these objects too, or remove them")


@finds(Severity.info)
def looks_black(reading: Reading) -> Iterator[Fault]:
    """A mask holds small numbers such as 0 and 1, and looks black in a viewer that does not stretch contrast. That is
    as it should be."""
    masks = [mask for _, mask in reading.masks if mask.type != "bool" and 0 < max(mask.values) <= INDEX_LIMIT]
    masks = [mask for mask in masks if not mask.palette and not mask.colour and not mask.outlined]
    yield from faults(_files(masks), "looks black in most viewers, but holds classes", "nothing needs to be done")


@finds(Severity.info)
def palette_mask(reading: Reading) -> Iterator[Fault]:
    """A mask is an indexed PNG: its numbers are the classes, its colours are for display."""
    masks = [mask for _, mask in reading.masks if mask.palette]
    yield from faults(_files(masks), "has a palette; its indices are taken for the classes", "nothing needs to be done")


@finds(Severity.error)
def mixed_values(reading: Reading) -> Iterator[Fault]:
    """Some masks count their classes 0, 1, 2, … and others have grey levels such as 0 and 255, so that one class would
    become two."""
    if reading.description.classes:
        return
    layers: dict[bool, list[MaskFacts]] = defaultdict(list)
    for example, mask in reading.masks:
        if len(example.pair.masks) == 1 and not mask.colour and mask.type != "bool" and max(mask.values) > 0:
            layers[max(mask.values) <= INDEX_LIMIT].append(mask)
    values = {kind: {value for mask in masks for value in mask.values} - {0} for kind, masks in layers.items()}
    if len(values) == 2 and not values[True] & values[False]:
        fewer = len(layers[True]) <= len(layers[False])
        listed = [", ".join(map(str, sorted(values[kind])[:4])) for kind in (fewer, not fewer)]
        reason = f"holds {listed[0]} beside 0, other masks hold {listed[1]}"
        both = sorted(values[True] | values[False])
        same = f"; if they mean the same, say in dataset.yaml 'value: {both}'" if len(both) == 2 else ""
        yield from faults(_files(layers[fewer]), reason, f"give each class one value in all masks{same}")


@finds(Severity.error)
def mixed_colours(reading: Reading) -> Iterator[Fault]:
    """Some masks are in colour and others in grey, so that one class would become two."""
    single = [mask for example, mask in reading.masks if len(example.pair.masks) == 1]
    colour = [mask for mask in single if mask.colour]
    grey = [mask for mask in single if not mask.colour and len(mask.values) > 1]
    if colour and grey:
        reason = f"is {'in colour' if len(colour) <= len(grey) else 'grey'}, other masks are not"
        fewer = colour if len(colour) <= len(grey) else grey
        yield from faults(_files(fewer), reason, "give each class one value in all masks")


@finds(Severity.error, essential=True)
def many_values(reading: Reading) -> Iterator[Fault]:
    """The values of the masks are not those of a few classes: separate objects with a number each, unnamed colours, or
    a picture in place of a mask."""
    yield from (fault for fault in reading.faults if fault.check == "many-values")


@finds(Severity.info)
def stray_values(reading: Reading) -> Iterator[Fault]:
    """A few pixels have values of no class; each goes to the nearest class."""
    if reading.table:
        for note in reading.table.notes():
            yield from faults([reading.folder], printable(note), "look at the values; nothing needs to be done")


@finds(Severity.error)
def mask_is_image(reading: Reading) -> Iterator[Fault]:
    """A mask holds the identical pixels of its image: the wrong file was copied."""
    for example, mask in reading.masks:
        if example.image and len(mask.values) > 4 and mask.digest == example.image.digest:
            yield from faults(_files([mask]), "is a copy of its image", "put the mask in its place")


@finds(Severity.warning)
def same_mask_twice(reading: Reading) -> Iterator[Fault]:
    """Different images have one and the same mask."""
    groups: dict[str, dict[Origin, tuple[Example, MaskFacts]]] = defaultdict(dict)
    for example, mask in reading.masks:
        if example.image and len(mask.values) > 1:
            groups[mask.digest][mask.file] = example, mask
    for group in groups.values():
        images = {example.image.digest for example, _ in group.values() if example.image}
        if len(group) > 1 and len(images) > 1:
            reason = "is the same mask, though the images differ"
            yield from faults(_files([mask for _, mask in group.values()]), reason, "find the mask of each image")


@finds(Severity.warning)
def empty_layer(reading: Reading) -> Iterator[Fault]:
    """A binary mask in the folder of a class is all black in every image: nothing of the class was drawn."""
    layers: dict[str, list[MaskFacts]] = defaultdict(list)
    for example in reading.examples:
        if len(example.pair.masks) > 1 and len(example.masks) == len(example.pair.masks):
            for layer, mask in zip(example.pair.masks, example.masks, strict=True):
                layers[layer].append(mask)
    for layer, masks in layers.items():
        if all(max(mask.values) == 0 for mask in masks):
            reason = f"nothing is drawn in any mask of '{printable(layer)}'"
            yield from faults(_files(masks), reason, "remove the folder, or draw the class")
