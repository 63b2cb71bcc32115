"""Checks of the images by themselves and beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from rescrnet.checking.facts import ImageFacts
from rescrnet.checking.findings import Found, Severity, check, printable
from rescrnet.checking.survey import Item, Survey

_SATURATED = 0.05  # share of pixels
_FEW_VALUES = 24  # of an 8-bit image; a camera's noise alone gives more
_SMALL = 32  # pixels; the network's kernels reach 15 about a pixel
_FEW = 4  # training images


def of_items(items: Iterable[Item], reason: str, remedy: str) -> Iterator[Found]:
    """One finding about the images of all ``items``, none where there are none."""
    if files := tuple(printable(item.pair.image) for item in items):
        yield Found(files, reason, remedy)


def _unlike(survey: Survey, what: Callable[[ImageFacts], str], remedy: str, kind: str) -> Iterator[Found]:
    """A finding about the images that differ from most in ``what``."""
    counts = Counter(what(facts) for _, facts in survey.images)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        listing = ", ".join(f"{value} ({number})" for value, number in counts.most_common(6))
        others = [item for item, facts in survey.images if what(facts) != usual]
        yield from of_items(others, f"{kind}: {listing}", remedy)


@check(Severity.error, mended=True)
def not_finite(survey: Survey) -> Iterator[Found]:
    """An image holds values that are NaN or infinite, which would spoil every weight. The copy leaves it out."""
    for item, facts in survey.images:
        if facts.not_finite:
            yield from of_items([item], f"{facts.not_finite} values are NaN or infinite", "mend or remove the image")


@check(Severity.error, mended=True)
def constant_image(survey: Survey) -> Iterator[Found]:
    """Every pixel of an image has one value: a blank or failed exposure. The corrected copy leaves it out."""
    for item, facts in survey.images:
        if facts.low == facts.high and not facts.not_finite:
            yield from of_items([item], f"every pixel has the same value, {facts.low:g}", "remove the image")


@check(Severity.error)
def channels_differ(survey: Survey) -> Iterator[Found]:
    """Some images have more channels than others; grey images stored as RGB count as grey."""

    def channels(facts: ImageFacts) -> str:
        number = 1 if facts.grey else facts.channels
        return {1: "grey", 3: "RGB"}.get(number, f"{number} channels")

    if len({facts.channels for _, facts in survey.images}) > 1:
        yield from _unlike(survey, channels, "expected the same channels in all; convert them", "images differ")


@check(Severity.warning)
def types_differ(survey: Survey) -> Iterator[Found]:
    """Images of 8 and of 16 bits, or of whole and of fractional numbers, are mixed; one scaling cannot suit both."""
    remedy = "export all images alike, at the same bit depth"
    yield from _unlike(survey, lambda facts: facts.type, remedy, "types of values differ")


@check(Severity.warning)
def pixel_sizes_differ(survey: Survey) -> Iterator[Found]:
    """Images were taken at different magnifications, so that one structure has different sizes in pixels."""

    def size(facts: ImageFacts) -> str:
        return f"{facts.pixel_size[0]:.3g} µm" if facts.pixel_size else "unknown"

    known = {round(facts.pixel_size[0], 9) for _, facts in survey.images if facts.pixel_size}
    if known and max(known) > 1.05 * min(known):
        yield from _unlike(survey, size, "scale all images to one pixel size", "pixel sizes differ")


@check(Severity.info)
def sizes_differ(survey: Survey) -> Iterator[Found]:
    """Images differ in height or width. That is allowed: patches are cut from each."""
    remedy = "nothing needs to be done; where sizes should be equal, look at the odd ones"
    yield from _unlike(survey, lambda facts: "×".join(map(str, facts.size)), remedy, "sizes differ")


@check(Severity.info, mended=True)
def alpha_left_out(survey: Survey) -> Iterator[Found]:
    """An image has an alpha channel, which is left out."""
    items = [item for item, facts in survey.images if facts.alpha]
    yield from of_items(items, "an alpha channel is left out", "nothing needs to be done")


@check(Severity.info)
def grey_as_rgb(survey: Survey) -> Iterator[Found]:
    """An RGB image has three equal channels. It trains as it is; as grey images the files are a third of the size."""
    items = [item for item, facts in survey.images if facts.grey]
    yield from of_items(items, "is stored as RGB, but is grey", "nothing needs to be done; grey files train alike")


@check(Severity.info)
def jpeg_image(survey: Survey) -> Iterator[Found]:
    """An image was compressed by JPEG, which blurs fine structure into blocks of eight pixels."""
    items = [item for item, facts in survey.images if facts.form == "JPEG"]
    yield from of_items(items, "is compressed by JPEG", "use the microscope's own files or TIFF where you have them")


@check(Severity.info)
def narrow_range(survey: Survey) -> Iterator[Found]:
    """A camera of 10, 12 or 14 bits wrote 16-bit files, of whose range a part is used. The `laptop` preset's
    percentile scaling sees to it; the paper's presets do not."""
    items = [(item, _bits(f)) for item, f in survey.images if f.type == "uint16" and 0 < f.high < 2**14]
    remedy = "keep intensity scaling by percentiles (data.intensity: percentile, as in the laptop preset)"
    for bits in sorted({bits for _, bits in items}):
        reason = f"holds {bits}-bit values in 16 bits"
        yield from of_items([item for item, its in items if its == bits], reason, remedy)


def _bits(facts: ImageFacts) -> int:
    return next((bits for bits in (8, 10, 12, 14) if facts.high < 2**bits), 16)


@check(Severity.warning)
def few_grey_values(survey: Survey) -> Iterator[Found]:
    """An 8-bit image holds very few grey values: 16-bit intensities were squeezed when it was exported, or it is a
    mask."""
    items = [
        item
        for item, facts in survey.images
        if facts.type == "uint8" and 1 < facts.values < _FEW_VALUES and min(facts.size) > _SMALL
    ]
    counts = ", ".join(sorted({str(item.image.values) for item in items if item.image}, key=int))
    remedy = "export it again from the microscope's file, with the contrast stretched or as 16 bits"
    yield from of_items(items, f"holds only {counts} different grey values", remedy)


@check(Severity.warning)
def saturated(survey: Survey) -> Iterator[Found]:
    """More than a twentieth of an image has the largest value that its type can hold: what is brighter was lost."""
    for item, facts in survey.images:
        if facts.saturated > _SATURATED and facts.low < facts.high:
            reason = f"{facts.saturated:.0%} of its pixels are at the top of the range"
            yield from of_items([item], reason, "expose shorter, or export with less contrast, where you can")


@check(Severity.warning)
def float_range(survey: Survey) -> Iterator[Found]:
    """Images of fractional numbers have very different ranges, such as 0 to 1 beside 0 to 65535."""
    tops = [
        (max(abs(facts.levels[0]), abs(facts.levels[2])), item)
        for item, facts in survey.images
        if facts.type.startswith("float") and not facts.not_finite
    ]
    low, high = (choose((top for top, _ in tops), default=0.0) for choose in (min, max))
    if high > 50 * max(low, 1e-9):
        reason = f"bright pixels are at {high:.3g} here, at {low:.3g} in another image"
        remedy = "bring all images to one range, or export them as 16 bits"
        yield from of_items([item for top, item in tops if top == high], reason, remedy)


@check(Severity.warning)
def tiny_image(survey: Survey) -> Iterator[Found]:
    """An image has a side of fewer than 32 pixels; the network looks 15 pixels about each."""
    items = [item for item, facts in survey.images if min(facts.size) < _SMALL]
    yield from of_items(items, f"has a side of fewer than {_SMALL} pixels", "use larger fields of view")


@check(Severity.error)
def only_image(survey: Survey) -> Iterator[Found]:
    """There is one image only; at least two are needed, one to train and one to validate."""
    if "split" in survey.faults and survey.total == 1:
        first = (survey.split.train or survey.split.val)[0]
        remedy = "expected at least two, one to train and one to validate; label another, or cut this one in two"
        yield Found((printable(first.image),), "is the only image", remedy)


@check(Severity.warning)
def few_images(survey: Survey) -> Iterator[Found]:
    """Fewer than four images train; one that is unlike the others will be segmented badly."""
    train = len(survey.split.train)
    if 0 < train < _FEW and survey.total > 1:
        count = f"{train} image{'s train' if train > 1 else ' trains'}"
        yield Found((printable(survey.folder),), count, "label about ten, from different samples")
