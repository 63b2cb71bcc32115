"""Checks of folders, names and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rescrnet.checking.facts import files_in, form_of
from rescrnet.checking.findings import Found, Severity, check, printable
from rescrnet.checking.survey import Survey
from rescrnet.images.origins import files_of

_LONGEST = 200  # bytes; results add to the name, and file systems end at 255
_DESCRIPTIONS = ("dataset.yaml", "dataset.json")
_FORMS = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}


def _of_kind(survey: Survey, kind: str) -> Iterator[Found]:
    for problem in survey.problems:
        if problem.kind == kind:
            yield Found(tuple(map(printable, problem.files)), problem.reason, problem.remedy)


def told(message: str, file: object) -> Found:
    """A one-line error about ``file`` as what was found and what to do."""
    rest = message.removeprefix(f"{file}: ") if message.startswith(f"{file}: ") else message
    reason, _, remedy = rest.rpartition("; ")
    return Found((printable(file),), printable(reason or rest), printable(remedy if reason else "mend or remove it"))


@check(Severity.error)
def missing_folder(survey: Survey) -> Iterator[Found]:
    """A folder of images or masks is not there, so that no layout is recognised."""
    yield from _of_kind(survey, "missing-folder")


@check(Severity.error)
def ambiguous_folder(survey: Survey) -> Iterator[Found]:
    """Two folders could both hold the images, or the masks, such as `masks` beside `labels`."""
    yield from _of_kind(survey, "ambiguous-folder")


@check(Severity.error)
def no_images(survey: Survey) -> Iterator[Found]:
    """A folder or table holds no images."""
    yield from _of_kind(survey, "no-images")


@check(Severity.error, mended=True)
def image_without_mask(survey: Survey) -> Iterator[Found]:
    """An image has no mask of its name. The corrected copy leaves it out."""
    yield from _of_kind(survey, "image-without-mask")


@check(Severity.error, mended=True)
def mask_without_image(survey: Survey) -> Iterator[Found]:
    """A mask has no image of its name. The corrected copy leaves it out."""
    yield from _of_kind(survey, "mask-without-image")


@check(Severity.error)
def ambiguous_pair(survey: Survey) -> Iterator[Found]:
    """Two masks could belong to one image, or two images to one mask; rescrnet does not guess."""
    yield from _of_kind(survey, "ambiguous-pair")


@check(Severity.error)
def mixed_masks(survey: Survey) -> Iterator[Found]:
    """Single masks stand beside folders of masks for each class, or training and validation differ in that."""
    yield from _of_kind(survey, "mixed-masks")


@check(Severity.error)
def same_name(survey: Survey) -> Iterator[Found]:
    """Two images have one name, such as one for training and one for validation; scores could not tell them apart."""
    yield from _of_kind(survey, "same-name")


@check(Severity.error, mended=True)
def missing_channel(survey: Survey) -> Iterator[Found]:
    """Every channel is a file of its own, and one of an image is missing. The corrected copy leaves the image out."""
    yield from _of_kind(survey, "missing-channel")


@check(Severity.error, mended=True)
def pages_differ(survey: Survey) -> Iterator[Found]:
    """A stack has another number of pages than its mask. The corrected copy leaves it out."""
    yield from _of_kind(survey, "pages-differ")


@check(Severity.error, mended=True)
def table_row(survey: Survey) -> Iterator[Found]:
    """A line of the CSV table names a file that is not there, or a split that is unknown. The copy leaves it out."""
    yield from _of_kind(survey, "table-row")


@check(Severity.error)
def description(survey: Survey) -> Iterator[Found]:
    """`dataset.yaml` or nnU-Net's `dataset.json` cannot be understood."""
    if fault := survey.faults.get("description"):
        subject = fault.partition(": ")[0]
        yield told(fault, subject)


@check(Severity.error, mended=True)
def unreadable_image(survey: Survey) -> Iterator[Found]:
    """An image is damaged, cut short, empty, or no image at all. The corrected copy leaves it out."""
    for item in survey.items:
        if item.image_fault:
            yield told(item.image_fault, item.image_file)


@check(Severity.error, mended=True)
def unreadable_mask(survey: Survey) -> Iterator[Found]:
    """A mask is damaged, cut short, or holds what no mask can: fractions, or colours of 16 bits. The corrected copy
    leaves it out."""
    for item in survey.items:
        for layer, fault in item.mask_faults.items():
            origin = item.pair.masks.get(layer, next(iter(item.pair.masks.values())))
            yield told(fault, files_of(origin)[0])


@check(Severity.warning, mended=True)
def wrong_suffix(survey: Survey) -> Iterator[Found]:
    """A file is not what the end of its name says, such as a JPEG called `.png`; other programs may refuse it."""
    wrong: dict[tuple[str, str], list[Path]] = {}
    for item in survey.items:
        for file in (*files_of(item.pair.image), *files_in(item.pair.masks)):
            form, suffix = form_of(file), file.suffix.lower()
            if form and form != _FORMS.get(suffix):
                wrong.setdefault((form, suffix), []).append(file)
    for (form, suffix), files in wrong.items():
        reason = f"the content is {form}, the name ends in {suffix}"
        yield Found(tuple(map(printable, files)), reason, "save it again from the program that wrote it, or rename it")


@check(Severity.warning, mended=True)
def odd_name(survey: Survey) -> Iterator[Found]:
    """A name is longer than 200 bytes, or holds bytes that are not UTF-8 or control characters; results could not be
    named after it."""
    for pair in (*survey.split.train, *survey.split.val):
        name = files_of(pair.image)[0].name
        shown = printable(name)
        if shown != name:
            yield Found((printable(files_of(pair.image)[0]),), "its name cannot be written as text", "rename the file")
        elif len(name.encode()) > _LONGEST:
            reason = f"its name is {len(name.encode())} bytes long, more than {_LONGEST}"
            yield Found((str(files_of(pair.image)[0]),), reason, "give it a shorter name")


@check(Severity.info)
def other_files(survey: Survey) -> Iterator[Found]:
    """Files that are no images, such as `Thumbs.db` or notes, lie among the images or masks; they are passed over."""
    foreign = [file for file in survey.foreign if file.name not in _DESCRIPTIONS]
    if foreign:
        count = f"{len(foreign)} file{'s' * (len(foreign) > 1)}"
        reason = f"{count} among the images {'is' if len(foreign) == 1 else 'are'} no image"
        yield Found(tuple(map(printable, foreign[:20])), reason, "nothing needs to be done")


@check(Severity.info)
def not_all_opened(survey: Survey) -> Iterator[Found]:
    """The dataset is very large; only some of its images, evenly spread, were opened."""
    if len(survey.items) < survey.total:
        reason = f"{len(survey.items)} of {survey.total} images were opened, evenly spread"
        yield Found((printable(survey.folder),), reason, "check parts of it by themselves to have all opened")
