"""A folder for each image, with its mask: a file for all classes, a file for each class, or one for each object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rescrnet.datasets.faults import Fault
from rescrnet.datasets.folders import ImageAndMaskFolders, Listing, list_folder, part_of
from rescrnet.datasets.names import by_product, name_of, plain
from rescrnet.datasets.one_folder import divide
from rescrnet.images.whole import Objects, Origin


@dataclass(frozen=True)
class ImageFolders:
    """The folders of images as they were found.

    Attributes:
        layout: what the layout is called.
        images: the image of each folder, by the name of the folder.
        masks: where its masks are, by folder of a class.
        parts: folders that hold several images each, which are one group.
        faults: what is wrong with the rest.
        foreign: files that are no images.
    """

    layout: str
    images: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, dict[str, Origin]] = field(default_factory=dict)
    parts: dict[str, ImageAndMaskFolders] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)


def find_image_folders(folder: Path) -> ImageFolders | None:
    """The folders of images in a folder; none where most of the folders in it have no image with a mask."""
    listing = list_folder(folder)
    found = ImageFolders("a folder for each image", foreign=list(listing.foreign))
    masks: dict[str, list[Path]] = {}
    lacking: list[Path] = []
    for inside in listing.folders:
        part = part_of(inside)
        listings = [] if isinstance(part, Fault) else [list_folder(part.images), list_folder(part.masks)]
        if isinstance(part, Fault) or not listings[0].images:
            lacking += [inside] if _holds_images(inside) else []
            continue
        images, of_image = _divided(part, listings)
        found.foreign.extend(file for one in listings for file in one.foreign if file not in found.foreign)
        if not images or (not of_image and not listings[1].folders):
            lacking.append(inside)
        elif len(images) == 1 and not listings[1].folders:
            found.images[inside.name], masks[inside.name] = images[0], of_image
        else:
            found.parts[inside.name] = part
    if listing.images or len(found.images) + len(found.parts) <= len(lacking):
        return None
    if lacking:
        remedy = "put the mask beside it, as 'mask.png' or in a folder 'masks', or remove the folder"
        found.faults.append(Fault("image-without-mask", tuple(lacking), "has an image but no mask", remedy))
    found.masks.update(arrange(masks, found.faults))
    return found if masks else replace(found, layout="a folder of images for each group")


def _divided(part: ImageAndMaskFolders, listings: Sequence[Listing]) -> tuple[list[Path], list[Path]]:
    """The images and the masks in the folder of an image, without overlays and the like."""
    images, masks = [list(listing.images) for listing in listings]
    if part.images == part.masks:
        images, masks = divide([file for file in images if not by_product(file.stem)])
    return images, [mask for mask in masks if not by_product(mask.stem)]


def _holds_images(folder: Path) -> bool:
    return bool(list_folder(folder).images)


def arrange(masks: Mapping[str, Sequence[Path]], faults: list[Fault]) -> dict[str, dict[str, Origin]]:
    """What the mask files of each image are: one for all classes, one for each class, or one for each object.

    Args:
        masks: the mask files of each image by its name.
        faults: where to put what is wrong.

    Returns:
        Where the masks of each image are, by folder of a class.
    """
    if all(len(files) == 1 for files in masks.values()):
        return {name: {"": files[0]} for name, files in masks.items()}
    words = {name: [name_of(file.stem) or plain(file.stem) for file in files] for name, files in masks.items()}
    every = {word for found in words.values() for word in found}
    if all(word.replace("_", "").replace(" ", "").replace("-", "").isalpha() for word in every):
        layers: dict[str, dict[str, Origin]] = {}
        for name, files in masks.items():
            layers[name] = dict(sorted(zip(words[name], files, strict=True)))
            if missing := sorted(every - layers[name].keys()):
                remedy = f"expected {files[0].with_stem(missing[0])}, all black where there is nothing of it"
                faults.append(Fault("image-without-mask", (files[0].parent,), f"has no mask '{missing[0]}'", remedy))
                del layers[name]
        return layers
    if len(masks) > 1 and len({frozenset(found) for found in words.values()}) == 1:
        first = next(iter(masks.values()))
        reason = f"the masks of every image are named {', '.join(sorted(every)[:4])}: classes, or objects?"
        remedy = "name them after the classes, such as nucleus.png, or put the objects into one mask, a number each"
        faults.append(Fault("ambiguous-pair", tuple(first), reason, remedy))
        return {}
    return {name: {"": Objects(tuple(files))} for name, files in masks.items()}
