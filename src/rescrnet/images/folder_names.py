"""What the names of folders say: whether images or masks lie in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# Names without case and separators; those of a later line count where there is none of an earlier one.
IMAGES = (
    ("images", "image", "imgs", "img", "imagestr", "x", "raw"),
    (
        *("jpegimages", "originals", "original", "originalimages", "rawimages", "inputs", "input", "photos"),
        *("src", "source"),
    ),
)
MASKS = (
    (
        *("masks", "mask", "msk", "msks", "labels", "label", "labelstr", "y", "gt", "gts", "annotations", "annotation"),
        *("segmentations", "segmentation", "seg", "groundtruth", "groundtruths", "annotated", "anno", "annos"),
        *("labelled", "labeled", "labelimages", "maskimages", "segmentationclasspng", "segmentationmasks"),
    ),
    (
        *("segmentationclass", "manual", "binary", "bw", "target", "targets", "predictedmasks", "segmented", "truth"),
        "masksmachine",
    ),
)


def folder_key(path: Path) -> str:
    """The name of a folder without case and separators."""
    return re.sub(r"[ _.-]", "", path.name.lower())


def are_masks(folder: Path, beside: Iterable[Path]) -> bool:
    """Whether a folder is named as that of the masks of images that lie in a folder beside it."""
    keys = {folder_key(path) for path in beside}
    return any(folder_key(folder) in line for line in MASKS) and any(not keys.isdisjoint(line) for line in IMAGES)
