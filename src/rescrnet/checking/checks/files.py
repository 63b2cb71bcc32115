"""Checks of folders, names and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rescrnet.checking.findings import Severity, check, enter, faults, printable
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.read import Reading
from rescrnet.images.open import named_form
from rescrnet.images.whole import files_of
from rescrnet.wording import count

_LONGEST = 200  # bytes; results add to the name, and file systems end at 255
_DESCRIPTIONS = ("dataset.yaml", "dataset.json")


def _reported(name: str) -> Callable[[Reading], Iterator[Fault]]:
    """What was noticed for the check ``name`` when the dataset was read."""

    def find(reading: Reading) -> Iterator[Fault]:
        noticed = [*reading.faults, *(fault for example in reading.examples for fault in example.faults)]
        return (fault for fault in noticed if fault.check == name)

    return find


for _name, _fixable, _explanation in (
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
    enter(_name, Severity.error, _explanation, _reported(_name), fixable=_fixable, essential=True)


@check(Severity.warning, fixable=True)
def wrong_suffix(reading: Reading) -> Iterator[Fault]:
    """A file is not what the end of its name says, such as a JPEG called `.png`; other programs may refuse it."""
    wrong: dict[tuple[str, str], list[Path]] = {}
    for example in reading.examples:
        read = [(file, example.image.form) for file in files_of(example.pair.image)] if example.image else []
        read += [(file, mask.form) for mask in example.masks for file in files_of(mask.file)]
        for file, form in read:
            if form not in ("", "Zarr", named_form(file)):
                wrong.setdefault((form, file.suffix.lower()), []).append(file)
    for (form, suffix), files in wrong.items():
        reason = f"the content is {form}, the name ends in {suffix}"
        yield from faults(files, reason, "save it again from the program that wrote it, or rename it")


@check(Severity.warning, fixable=True)
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


@check(Severity.info)
def other_files(reading: Reading) -> Iterator[Fault]:
    """Files that are no images, such as `Thumbs.db` or notes, lie among the images or masks; they are passed over."""
    foreign = [file for file in reading.foreign if file.name not in _DESCRIPTIONS]
    if foreign:
        reason = f"{count(len(foreign), 'file')} among the images {'is' if len(foreign) == 1 else 'are'} no image"
        yield from faults(foreign[:20], reason, "nothing needs to be done")


@check(Severity.info)
def not_all_opened(reading: Reading) -> Iterator[Fault]:
    """The dataset is very large; only some of its images, evenly spread, were opened."""
    if len(reading.examples) < reading.total:
        reason = f"{len(reading.examples)} of {reading.total} images were opened, evenly spread"
        yield from faults([reading.folder], reason, "check parts of it by themselves to have all opened")
