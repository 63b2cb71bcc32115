"""The Cell Tracking Challenge's folders: ``01``, a film, and ``01_GT/SEG``, the masks of some of its images."""

from __future__ import annotations

import re
from pathlib import Path

from rescrnet.datasets.faults import Fault
from rescrnet.datasets.folders import list_folder

_FILM = re.compile(r"\d\d")
_IMAGE = re.compile(r"t(\d{3,4})", re.IGNORECASE)
_MASK = re.compile(r"man_seg(\d{3,4})", re.IGNORECASE)
_REFERENCES = ("GT", "ST")  # made by people, or else by programs that agreed

Film = dict[str, tuple[Path, Path]]
"""An image and its mask, by name."""


def find_films(folder: Path) -> tuple[dict[str, Film], list[Fault]] | None:
    """The images that have a mask in each film, by the film's name; none where the folder is no such dataset.

    Images without a mask are no fault: only some are annotated. A mask without an image is one.
    """
    films: dict[str, Film] = {}
    faults: list[Fault] = []
    for inside in list_folder(folder).folders:
        masks = _masks_of(inside) if _FILM.fullmatch(inside.name) else {}
        if not masks:
            continue
        images = {found[1]: file for file in list_folder(inside).images if (found := _IMAGE.fullmatch(file.stem))}
        both = sorted(images.keys() & masks.keys())
        films[inside.name] = {f"{inside.name}-t{number}": (images[number], masks[number]) for number in both}
        if lost := sorted(masks[number] for number in masks.keys() - images.keys()):
            faults.append(Fault("mask-without-image", tuple(lost), "has no image", f"expected t000.tif, … in {inside}"))
    return (films, faults) if films else None


def _masks_of(film: Path) -> dict[str, Path]:
    """The masks of a film by the number of the image; those of the people where there are some."""
    for reference in _REFERENCES:
        folder = film.with_name(f"{film.name}_{reference}") / "SEG"
        if folder.is_dir():
            files = list_folder(folder).images
            if found := {match[1]: file for file in files if (match := _MASK.fullmatch(file.stem))}:
                return found
    return {}
