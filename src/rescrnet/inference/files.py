"""Predict image files: masks, probabilities and overlays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from rescrnet.data.images import (
    by_stem,
    colourise,
    list_images,
    match_channels,
    read_image,
    to_display,
    write_atomically,
)
from rescrnet.data.output import check_free, write_folder
from rescrnet.errors import DataError
from rescrnet.model import SegmentationModel


@dataclass(frozen=True)
class Outputs:
    """What to write beside the masks."""

    probabilities: bool = False
    overlay: bool = False


def find_inputs(inputs: Iterable[str | Path]) -> list[Path]:
    """The image files that ``inputs``, files and folders, mean. Raises :class:`DataError` for what is not there."""
    files: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; expected images")
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            raise DataError(f"{path}: holds no images; expected PNG, TIFF, JPEG or BMP files")
        files += found
    return list(by_stem(dict.fromkeys(files)).values())


def predict_files(
    model: SegmentationModel,
    inputs: Iterable[str | Path],
    out: str | Path,
    outputs: Outputs = Outputs(),
    done: Callable[[Path], object] = lambda file: None,
) -> list[Path]:
    """Predict images into a new folder.

    For ``cell.tif`` the folder gets ``cell.png``, class indices as 8-bit grey of the size of the image, and as asked
    ``cell_probabilities.tif`` (classes, Y, X) float32 and ``cell_overlay.png`` for the eye. ``classes.json`` says
    which index is which class. The folder appears when all of it is complete.

    Args:
        model: the trained model.
        inputs: image files and folders of them.
        out: a new folder.
        outputs: what else to write.
        done: called with every image file when it is predicted.

    Returns:
        The masks.

    Raises:
        DataError: an image is missing, not readable, or does not fit the model.
        OutputError: the folder holds files already, or cannot be written.
    """
    out = Path(out)
    check_free(out)
    files = find_inputs(inputs)
    if outputs.overlay:
        _check_overlays(files)

    def write(folder: Path) -> None:
        for file in files:
            _predict_file(model, file, folder, outputs)
            done(file)
        (folder / "classes.json").write_text(json.dumps(_legend(model), indent=2) + "\n", encoding="utf-8")

    write_folder(out, write)
    return [out / f"{file.stem}.png" for file in files]


def _check_overlays(files: Iterable[Path]) -> None:
    stems = by_stem(files)
    for stem, file in stems.items():
        if other := stems.get(f"{stem}_overlay"):
            raise DataError(f"{other}: its mask would have the name of the overlay of {file}; rename it")


def _predict_file(model: SegmentationModel, file: Path, folder: Path, outputs: Outputs) -> None:
    image = match_channels(read_image(file), model.card.in_channels, file)
    model.warn_if_unlike(image, file)
    probabilities = model.predict(image, file)
    mask = probabilities.argmax(0).astype(np.uint8)
    save_png(folder / f"{file.stem}.png", mask)
    if outputs.probabilities:
        path = folder / f"{file.stem}_probabilities.tif"
        tifffile.imwrite(path, probabilities, photometric="minisblack", metadata={"axes": "CYX"})
    if outputs.overlay:
        save_png(folder / f"{file.stem}_overlay.png", overlay(image, mask, model.colours))


def _legend(model: SegmentationModel) -> list[dict[str, Any]]:
    return [
        {"index": index, "name": entry.name, "colour": entry.display} for index, entry in enumerate(model.card.classes)
    ]


def overlay(image: NDArray[np.float32], mask: NDArray[np.uint8], colours: list[str]) -> NDArray[np.uint8]:
    """The classes in colour over the image (YXC float): RGB uint8 YXC, outlines stronger than areas."""
    grey = to_display(image).astype(np.float32)
    colour = colourise(mask, colours).astype(np.float32)
    edge = np.zeros(mask.shape, bool)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    strength = np.where(edge, 0.9, 0.35)[..., None]
    return np.asarray((grey * (1 - strength) + colour * strength).round(), dtype=np.uint8)


def save_png(path: Path, array: NDArray[np.uint8]) -> None:
    """Write YX or YXC uint8 as PNG."""
    write_atomically(path, lambda partial: Image.fromarray(array).save(partial))
