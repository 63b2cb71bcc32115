"""Checks of the images by themselves and beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from rescrnet import wording
from rescrnet.checking.findings import Severity, faults, finds
from rescrnet.datasets.facts import ImageFacts, MaskFacts
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.read import Example, Reading

_SATURATED = 0.05  # share of pixels
_FEW_VALUES = 24  # of an 8-bit image; a camera's noise alone gives more
_HALF_CLEAR = 0.5  # share of pixels; of real alpha only edges are
_SMALL = 32  # pixels; the network's kernels reach 15 about a pixel
_FEW = 4  # training images


def images_of(examples: Iterable[Example]) -> list[object]:
    """Where the images of ``examples`` lie."""
    return [example.pair.image for example in examples]


def _unlike(reading: Reading, what: Callable[[ImageFacts], str], remedy: str, kind: str) -> Iterator[Fault]:
    """A finding about the images that differ from most in ``what``."""
    counts = Counter(what(facts) for _, facts in reading.images)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        listing = ", ".join(f"{value} ({number})" for value, number in counts.most_common(6))
        others = [example for example, facts in reading.images if what(facts) != usual]
        yield from faults(images_of(others), f"{kind}: {listing}", remedy)


@finds(Severity.error, leaves_out=True, essential=True)
def not_finite(reading: Reading) -> Iterator[Fault]:
    """An image holds values that are NaN or infinite, which would corrupt every weight. The copy leaves it out."""
    for example, facts in reading.images:
        if facts.not_finite:
            yield from faults(
                images_of([example]),
                f"{facts.not_finite} values are NaN or infinite",
                "expected finite intensities; correct or remove the image",
            )


@finds(Severity.info)
def no_data(reading: Reading) -> Iterator[Fault]:
    """An image has pixels without data, marked by a value such as -9999. They are left out of the scaling of
    intensities, and the network sees 0 there."""
    examples = [example for example, facts in reading.images if facts.no_data]
    remedy = "leave these pixels unlabelled in the mask, so that nothing is learnt from them"
    yield from faults(images_of(examples), "has pixels without data, marked by a value such as -9999", remedy)


@finds(Severity.warning)
def mixed_polarity(reading: Reading) -> Iterator[Fault]:
    """Some images, or some masks, are stored with white as zero and others with black as zero, as inverting look-up
    tables do. Each is read as viewers show it; a program that wrote the wrong tag has inverted some."""
    images = [(example.pair.image, facts.white_is_zero) for example, facts in reading.images]
    masks = [(mask.file, mask.white_is_zero) for _, mask in reading.masks]
    for kind, files in (("images", images), ("masks", masks)):
        inverted = [file for file, is_inverted in files if is_inverted]
        if 0 < len(inverted) < len(files):
            reason = f"is stored with white as zero, other {kind} with black as zero; each is read as viewers show it"
            remedy = f"look at the {kind} in a viewer; save all of them alike, with black as zero"
            yield from faults(inverted, reason, remedy)


@finds(Severity.info)
def white_is_zero(reading: Reading) -> Iterator[Fault]:
    """All images, or all masks, are stored with white as zero, and are read as viewers show them. Python's tifffile
    writes arrays of True and False so unless told otherwise."""
    images = [(example.pair.image, facts.white_is_zero) for example, facts in reading.images]
    masks = [(mask.file, mask.white_is_zero) for _, mask in reading.masks if not _is_of_tifffile(mask)]
    for files in (images, masks):
        if files and all(is_inverted for _, is_inverted in files):
            reason = "is stored with white as zero, and read as viewers show it"
            remedy = "look whether it is the right way round; tifffile writes True as black without photometric="
            yield from faults([file for file, _ in files], reason, remedy + "'minisblack'")


@finds(Severity.warning)
def true_is_black(reading: Reading) -> Iterator[Fault]:
    """All masks are of one bit and were written by Python's tifffile, which stores True as black unless told otherwise:
    what the program marked is dark in every viewer, and is read so."""
    if reading.description.classes:  # which of the two is what was said
        return
    masks = [mask for _, mask in reading.masks]
    if not all(_is_of_tifffile(mask) for mask in masks):  # whoever wrote both knew which they wrote
        return
    remedy = (
        "if what is marked should be white, write dataset.yaml with 'classes: [{name: background, value: 1}, "
        "{name: object, value: 0}]', or write the masks with photometric='minisblack'"
    )
    yield from faults(
        [mask.file for mask in masks], "was written by tifffile as one bit, with True as black, and is read so", remedy
    )


def _is_of_tifffile(mask: MaskFacts) -> bool:
    return mask.white_is_zero and mask.type == "bool" and mask.software.startswith("tifffile")


@finds(Severity.warning)
def alpha_is_a_channel(reading: Reading) -> Iterator[Fault]:
    """An image has an alpha channel that is neither opaque nor clear in most places, as where a program took a fourth
    channel for alpha. It is left out."""
    examples = [example for example, facts in reading.images if facts.half_clear > _HALF_CLEAR]
    remedy = "if it is a channel, save the image as a multi-channel TIFF (axes CYX, photometric minisblack)"
    yield from faults(images_of(examples), "its alpha channel is left out, but holds an image", remedy)


@finds(Severity.error, leaves_out=True)
def constant_image(reading: Reading) -> Iterator[Fault]:
    """Every pixel of an image has one value: a blank or failed exposure. The corrected copy leaves it out."""
    for example, facts in reading.images:
        if facts.low == facts.high and not facts.not_finite:
            yield from faults(
                images_of([example]), f"every pixel has the same value, {facts.low:g}", "expected an image; remove it"
            )


@finds(Severity.error)
def channels_differ(reading: Reading) -> Iterator[Fault]:
    """Some images have more channels than others; grey images stored as RGB count as grey."""

    def channels(facts: ImageFacts) -> str:
        return wording.channels(1 if facts.grey else facts.channels)

    if len({facts.channels for _, facts in reading.images}) > 1:
        yield from _unlike(reading, channels, "expected the same channels in all; convert them", "images differ")


@finds(Severity.warning)
def types_differ(reading: Reading) -> Iterator[Fault]:
    """Images of 8 and of 16 bits, or of whole and of fractional numbers, are mixed; one scaling cannot suit both."""
    remedy = "export all images alike, at the same bit depth"
    yield from _unlike(reading, lambda facts: facts.type, remedy, "types of values differ")


@finds(Severity.warning)
def pixel_sizes_differ(reading: Reading) -> Iterator[Fault]:
    """Images were taken at different magnifications, so that one structure has different sizes in pixels."""

    def size(facts: ImageFacts) -> str:
        return f"{facts.pixel_size[0]:.3g} µm" if facts.pixel_size else "unknown"

    known = {round(facts.pixel_size[0], 9) for _, facts in reading.images if facts.pixel_size}
    if known and max(known) > 1.05 * min(known):
        yield from _unlike(reading, size, "scale all images to one pixel size", "pixel sizes differ")


@finds(Severity.info)
def sizes_differ(reading: Reading) -> Iterator[Fault]:
    """Images differ in height or width. That is allowed: patches are cut from each."""
    remedy = "nothing needs to be done; where sizes should be equal, look at the odd ones"
    yield from _unlike(reading, lambda facts: "×".join(map(str, facts.size)), remedy, "sizes differ")


@finds(Severity.info, fixable=True)
def alpha_left_out(reading: Reading) -> Iterator[Fault]:
    """An image has an alpha channel, which is left out."""
    examples = [example for example, facts in reading.images if facts.alpha]
    yield from faults(images_of(examples), "an alpha channel is left out", "nothing needs to be done")


@finds(Severity.info)
def grey_as_rgb(reading: Reading) -> Iterator[Fault]:
    """An RGB image has three equal channels. It trains as it is; as grey images the files are a third of the size."""
    examples = [example for example, facts in reading.images if facts.grey]
    yield from faults(
        images_of(examples), "is stored as RGB, but is grey", "nothing needs to be done; grey files train alike"
    )


@finds(Severity.info)
def jpeg_image(reading: Reading) -> Iterator[Fault]:
    """An image was compressed by JPEG, which blurs fine structure into blocks of eight pixels."""
    examples = [example for example, facts in reading.images if facts.form == "JPEG"]
    yield from faults(
        images_of(examples), "is compressed by JPEG", "use the microscope's own files or TIFF where you have them"
    )


@finds(Severity.info)
def narrow_range(reading: Reading) -> Iterator[Fault]:
    """A camera of 10, 12 or 14 bits wrote 16-bit files, of whose range a part is used. The `laptop` preset's
    percentile scaling sees to it; the paper's presets do not."""
    examples = [(example, _bits(f)) for example, f in reading.images if f.type == "uint16" and 0 < f.high < 2**14]
    remedy = "keep intensity scaling by percentiles (data.intensity: percentile, as in the laptop preset)"
    for bits in sorted({bits for _, bits in examples}):
        reason = f"holds {bits}-bit values in 16 bits"
        yield from faults(images_of([example for example, its in examples if its == bits]), reason, remedy)


def _bits(facts: ImageFacts) -> int:
    return next((bits for bits in (8, 10, 12, 14) if facts.high < 2**bits), 16)


@finds(Severity.warning)
def few_grey_values(reading: Reading) -> Iterator[Fault]:
    """An 8-bit image holds very few grey values: 16-bit intensities were squeezed when it was exported, or it is a
    mask."""
    examples = [
        example
        for example, facts in reading.images
        if facts.type == "uint8" and 1 < facts.values < _FEW_VALUES and min(facts.size) > _SMALL
    ]
    counts = ", ".join(sorted({str(example.image.values) for example in examples if example.image}, key=int))
    remedy = "export it again from the microscope's file, with the contrast stretched or as 16 bits"
    yield from faults(images_of(examples), f"holds only {counts} different grey values", remedy)


@finds(Severity.warning)
def saturated(reading: Reading) -> Iterator[Fault]:
    """More than a twentieth of an image has the largest value that its type can hold: what is brighter was lost."""
    found = [(e, f.saturated) for e, f in reading.images if f.saturated > _SATURATED and f.low < f.high]
    if found:
        shares = [f"{choose(share for _, share in found):.0%}" for choose in (min, max)]
        share = shares[0] if shares[0] == shares[1] else " to ".join(shares)
        remedy = "expose shorter, or export with less contrast, where you can"
        yield from faults(images_of(e for e, _ in found), f"{share} of its pixels are at the top of the range", remedy)


@finds(Severity.warning)
def float_range(reading: Reading) -> Iterator[Fault]:
    """Images of fractional numbers have very different ranges, such as 0 to 1 beside 0 to 65535."""
    tops = [
        (max(abs(facts.levels[0]), abs(facts.levels[2])), example)
        for example, facts in reading.images
        if facts.levels and not facts.not_finite
    ]
    low, high = (choose((top for top, _ in tops), default=0.0) for choose in (min, max))
    if high > 50 * max(low, 1e-9):
        reason = f"bright pixels are at {high:.3g} here, at {low:.3g} in another image"
        remedy = "bring all images to one range, or export them as 16 bits"
        yield from faults(images_of([example for top, example in tops if top == high]), reason, remedy)


@finds(Severity.warning)
def tiny_image(reading: Reading) -> Iterator[Fault]:
    """An image has a side of fewer than 32 pixels; the network looks 15 pixels about each."""
    examples = [example for example, facts in reading.images if min(facts.size) < _SMALL]
    yield from faults(images_of(examples), f"has a side of fewer than {_SMALL} pixels", "use larger fields of view")


@finds(Severity.error)
def only_image(reading: Reading) -> Iterator[Fault]:
    """There is one image only; at least two are needed, one to train and one to validate."""
    remedy = "expected at least two, one to train and one to validate; label another, or cut this one in two"
    images = (fault.files for fault in reading.faults if fault.check == "only-image")
    for files in images:
        yield from faults(files, "is the only image", remedy)


@finds(Severity.warning)
def few_images(reading: Reading) -> Iterator[Fault]:
    """Fewer than four images train; one that is unlike the others will be segmented badly."""
    train = len(reading.split.train)
    if 0 < train < _FEW and reading.total > 1:
        count = f"{train} image{'s train' if train > 1 else ' trains'}"
        yield from faults([reading.folder], count, "label about ten, from different samples")
