"""Checks of folders, names and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from rescrnet.checking.findings import Severity, enter, faults, finds
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.read import Reading
from rescrnet.images.foreign import foreign_among
from rescrnet.images.open import named_form
from rescrnet.images.whole import files_of
from rescrnet.wording import count, printable

_LONGEST = 200  # bytes; results add to the name, and file systems end at 255
_DESCRIPTIONS = ("dataset.yaml", "dataset.yml", "dataset.json")
_SOMETHING_MISSES = {"missing-folder", "no-images", "image-without-mask", "mask-without-image"}
_MOST_LOOKED_AT = 2000


def _reported(name: str) -> Callable[[Reading], Iterator[Fault]]:
    """What was noticed for the check ``name`` when the dataset was read."""

    def find(reading: Reading) -> Iterator[Fault]:
        noticed = [*reading.faults, *(fault for example in reading.examples for fault in example.faults)]
        return (fault for fault in noticed if fault.check == name)

    return find


@finds(Severity.error, essential=True)
def form_not_read(reading: Reading) -> Iterator[Fault]:
    """Images or masks are missing, and files lie there in a form that is not read: a microscope's own, or annotations
    of CVAT, YOLO and others, or those of LabelMe, COCO, QuPath and ImageJ in another place than they are read from, or
    beside masks of pixels."""
    if not any(fault.check in _SOMETHING_MISSES for fault in reading.faults):
        return
    within = (path for pattern in ("*", "*/*", "*/*/*") for path in sorted(reading.folder.glob(pattern)))
    files = dict.fromkeys([*reading.foreign, *islice(within, _MOST_LOOKED_AT)])
    told = {file for fault in reading.faults for file in fault.files} | _files_of_masks(reading)
    untold = (file for file in files if file.name not in _DESCRIPTIONS and file not in told)
    for form, found in foreign_among(untold).items():
        reason = f"is of a form that is not read: {form.name}"
        if form.is_read:
            reason = f"holds {form.name}, but lies elsewhere, or beside masks of pixels, and is not read"
        remedy = f"{form.remedy}, beside the images under the same names" if form.annotations else form.remedy
        yield from faults(found, reason, form.remedy if form.is_read else remedy)


def _files_of_masks(reading: Reading) -> set[Path]:
    pairs = (*reading.split.train, *reading.split.val)
    return {file for pair in pairs for origin in pair.masks.values() for file in files_of(origin)}


for _name, _left_out, _explanation in (
    ("missing-folder", False, "A folder of images or masks is not there, so that no layout is recognised."),
    (
        "ambiguous-folder",
        False,
        "Two folders could both hold the images, or the masks, such as `masks` beside `labels`.",
    ),
    ("no-images", False, "A folder or table holds no images."),
    (
        "ambiguous-pair",
        False,
        "Two masks could belong to one image, or two images to one mask; rescrnet does not guess.",
    ),
    ("image-without-mask", True, "An image has no mask of its name. The corrected copy leaves it out."),
    ("mask-without-image", True, "A mask has no image of its name. The corrected copy leaves it out."),
    (
        "mixed-masks",
        False,
        "Single masks stand beside folders of masks for each class, or training and validation differ in that.",
    ),
    (
        "same-name",
        False,
        "Two images have one name, such as one for training and one for validation; scores could not tell them apart.",
    ),
    (
        "missing-channel",
        True,
        "Every channel is a file of its own, and one of an image is missing. The corrected copy leaves the image out.",
    ),
    (
        "axes-unknown",
        True,
        "An array was saved without saying what its axes are, and fits its mask only if one of them is that of "
        "channels. `axes:` in `dataset.yaml` says so.",
    ),
    ("pages-differ", True, "A stack has another number of pages than its mask. The corrected copy leaves it out."),
    (
        "table-row",
        True,
        "A line of the CSV table names a file that is not there, or a split that is unknown. The copy leaves it out.",
    ),
    ("description", False, "`dataset.yaml` or nnU-Net's `dataset.json` cannot be understood."),
    (
        "unreadable-image",
        True,
        "An image is damaged, cut short, empty, or no image at all. The corrected copy leaves it out.",
    ),
    (
        "unreadable-mask",
        True,
        "A mask is damaged, cut short, or holds what no mask can: fractions, or colours of 16 bits. The "
        "corrected copy leaves it out.",
    ),
):
    enter(_name, Severity.error, _explanation, _reported(_name), leaves_out=_left_out, essential=True)


@finds(Severity.warning, fixable=True)
def wrong_suffix(reading: Reading) -> Iterator[Fault]:
    """A file is not what the end of its name says, such as a JPEG called `.png`; other programs may refuse it."""
    wrong: dict[tuple[str, str], list[Path]] = {}
    for example in reading.examples:
        read = [(file, example.image.form) for file in files_of(example.pair.image)] if example.image else []
        read += [(file, mask.form) for mask in example.masks if not mask.outlined for file in files_of(mask.file)]
        for file, form in read:
            if form not in ("", "Zarr", named_form(file)):
                wrong.setdefault((form, file.suffix.lower()), []).append(file)
    for (form, suffix), files in wrong.items():
        reason = f"the content is {form}, the name ends in {suffix}"
        yield from faults(files, reason, "save it again from the program that wrote it, or rename it")


@finds(Severity.warning, fixable=True)
def odd_name(reading: Reading) -> Iterator[Fault]:
    """A name is longer than 200 bytes, or holds bytes that are not UTF-8 or control characters; results could not be
    named after it."""
    for pair in (*reading.split.train, *reading.split.val):
        file = files_of(pair.image)[0]
        if printable(file.name) != file.name:
            yield from faults([file], "its name cannot be written as text", "rename the file")
        elif len(file.name.encode()) > _LONGEST:
            reason = f"its name is {len(file.name.encode())} bytes long, more than {_LONGEST}"
            yield from faults([file], reason, "give it a shorter name")


@finds(Severity.info)
def other_files(reading: Reading) -> Iterator[Fault]:
    """Files that are no images, such as `Thumbs.db` or notes, lie among the images or masks; they are passed over."""
    told = {file for fault in form_not_read(reading) for file in fault.files}
    foreign = [file for file in reading.foreign if file.name not in _DESCRIPTIONS and file not in told]
    if foreign:
        reason = f"{count(len(foreign), 'file')} among the images {'is' if len(foreign) == 1 else 'are'} no image"
        yield from faults(foreign[:20], reason, "nothing needs to be done")


@finds(Severity.info)
def not_all_opened(reading: Reading) -> Iterator[Fault]:
    """The dataset is very large; only some of its images, evenly spread, were opened."""
    if len(reading.examples) < reading.total:
        reason = f"{len(reading.examples)} of {reading.total} images were opened, evenly spread"
        yield from faults([reading.folder], reason, "check parts of it by themselves to have all opened")
