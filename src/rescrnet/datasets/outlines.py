"""Which outlines, in files of annotations, belong to which image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rescrnet.annotations.read import COCO, LABELME, form_of, read_annotations
from rescrnet.datasets.faults import Fault
from rescrnet.datasets.names import plain
from rescrnet.datasets.pairing import pair_names
from rescrnet.errors import DataError
from rescrnet.images.whole import Channels, Origin, Outlines, Page


@dataclass
class Outlined:
    """Images with their outlines.

    Attributes:
        masks: the outlines of each image.
        faults: what is wrong with the rest.
    """

    masks: dict[Path, Outlines] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def files(self) -> set[Path]:
        """The files of annotations that something is said of."""
        return {one.path for one in self.masks.values()} | {file for fault in self.faults for file in fault.files}


def find_outlines(
    files: Iterable[Path], images: Mapping[Path, Path | Channels], folder: Path, beside: Sequence[Path]
) -> Outlined:
    """The outlines of images, as the names of the files say, and the names of images in them.

    Args:
        files: of any kind; those that are no annotations are passed over.
        images: the images, by the names that masks would have.
        folder: where a mask would be expected.
        beside: other files there, named where an image has no mask.

    Returns:
        Nothing at all where no file holds annotations.
    """
    forms = {file: form_of(file) for file in dict.fromkeys(files)}
    singles = [file for file, form in forms.items() if form not in ("", COCO)]
    many = [file for file, form in forms.items() if form == COCO]
    found = Outlined()
    if not (singles or many):
        return found
    listed = _of_many(many, images, found)
    left = {name: image for name, image in images.items() if name not in listed}
    _of_one(singles, forms, left if many else images, found, folder, beside if singles else many)
    if many and not singles:
        found.faults = [fault for fault in found.faults if fault.check != "image-without-mask"]
        if left and not any(fault.check == "unreadable-mask" for fault in found.faults):
            remedy = f"{many[0]} does not list it; annotate it there, or remove it"
            found.faults.append(Fault("image-without-mask", tuple(sorted(left)), "has no mask", remedy))
    return found


def _of_many(many: Sequence[Path], images: Mapping[Path, Path | Channels], found: Outlined) -> set[Path]:
    """Find the images that files of many list; all that are listed."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_stem[plain(image.stem)].append(image)
    by_name = {plain(image.name): image for image in images}
    for file in many:
        try:
            names = [one.image for one in read_annotations(file)]
        except DataError as error:
            found.faults.append(Fault.of("unreadable-mask", error))
            continue
        missing = []
        for name in names:
            same = by_stem.get(plain(PurePosixPath(name).stem), [])
            listed = by_name.get(plain(name)) or (same[0] if len(same) == 1 else None)
            if listed is None:
                missing.append(name)
            elif listed in found.masks:
                both, reason = (found.masks[listed].path, file), f"both list the image '{name}'"
                found.faults.append(Fault("ambiguous-pair", both, reason, "keep one of them", named=2))
            else:
                found.masks[listed] = Outlines(file, images[listed], name)
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            reason = f"lists the image '{missing[0]}'{more}, which is not there"
            remedy = "put it beside the others, or remove it from the list"
            found.faults.append(Fault("mask-without-image", (file,), reason, remedy))
    return set(found.masks)


def _of_one(
    singles: Sequence[Path],
    forms: Mapping[Path, str],
    images: Mapping[Path, Path | Channels],
    found: Outlined,
    folder: Path,
    beside: Sequence[Path],
) -> None:
    """Find the images that files of one belong to: by their own names, else by the image that LabelMe's names."""
    stems = {plain(name.stem) for name in images}
    by_name = {plain(name.name): name for name in images}
    said: dict[Path, Path] = {}
    for file in singles:
        if forms[file] == LABELME and plain(file.stem) not in stems:
            try:
                name = read_annotations(file)[0].image
            except DataError:  # it is said where it is read
                continue
            if image := by_name.get(plain(name)):
                said[file] = image
            elif name:
                reason = f"was drawn on '{name}', which is not there"
                found.faults.append(Fault("mask-without-image", (file,), reason, "put the image beside it"))
    told = {file for fault in found.faults for file in fault.files}
    others = [name for name in images if name not in said.values()]
    paired = pair_names(others, [file for file in singles if file not in said and file not in told], folder, beside)
    found.faults += paired.faults
    for image, file in [*paired.pairs.items(), *((image, file) for file, image in said.items())]:
        found.masks[image] = Outlines(file, images[image])


def as_outlines(mask: Path, image: Path | Page) -> Origin:
    """A mask that a table names: outlines where the file holds annotations, else the file itself."""
    form = form_of(mask)
    file = image.path if isinstance(image, Page) else image
    return Outlines(mask, image, file.name if form == COCO else "") if form else mask
