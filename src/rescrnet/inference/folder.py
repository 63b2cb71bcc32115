"""Predict image files into a folder of results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rescrnet.atomic import check_free, write_folder
from rescrnet.errors import DataError
from rescrnet.images.open import by_stem, image_stem, list_images
from rescrnet.images.zarr_reader import is_zarr
from rescrnet.inference.file import FilePrediction
from rescrnet.inference.journal import Journal, opened
from rescrnet.inference.options import ReadOptions, WriteOptions
from rescrnet.inference.plane import model_fingerprint
from rescrnet.inference.resources import Resources
from rescrnet.model import SegmentationModel

_SCRATCH = ".scratch"


def find_inputs(inputs: Iterable[str | Path]) -> list[Path]:
    """The images that ``inputs``, files and folders, mean. Raises :class:`DataError` for what is not there."""
    files: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise DataError(path, "no such file or folder", "expected images")
        images = list_images(path) if path.is_dir() and not is_zarr(path) else [path]
        if not images:
            raise DataError(path, "holds no images", "expected PNG, TIFF, JPEG, BMP, NumPy or Zarr files")
        files += images
    return list(by_stem(dict.fromkeys(files), image_stem).values())


def predict_files(
    model: SegmentationModel,
    inputs: Iterable[str | Path],
    out: str | Path,
    write: WriteOptions | None = None,
    *,
    read: ReadOptions | None = None,
    resources: Resources | None = None,
    advance: Callable[[float], object] = lambda images: None,
) -> list[Path]:
    """Predict images of any size into a new folder.

    For ``cell.tif`` the folder gets ``cell.png``, class indices as 8-bit grey of the size of the image, and as asked
    ``cell_probabilities.tif`` (classes, Y, X) float32 and ``cell_overlay.png`` for display; large images and stacks
    become ``cell.ome.tif`` or ``cell.ome.zarr``, as they came (:func:`rescrnet.outputs.sinks.pick_kind`).
    ``classes.json`` says which index is which class. The folder appears when all of it is complete. An interrupted
    prediction is resumed when it is called again. With ``write.label`` the masks lie in the images themselves.

    Args:
        model: the trained model.
        inputs: image files and folders of them.
        out: a new folder.
        write: what to write besides the masks, and how; by default nothing else, in the format of the image.
        read: how to read the images; by default the finest level.
        resources: memory, scratch folder and executor.
        advance: called with the number of images done since the last call, in fractions.

    Returns:
        The masks.

    Raises:
        DataError: an image is missing, not readable, or does not fit the model.
        OutputError: the folder holds files already, or cannot be written, or the scratch folder is full.
        UsageError: the memory is too little.
    """
    out, resources = Path(out), resources or Resources()
    write, read = write or WriteOptions(), read or ReadOptions()
    check_free(out)
    files = find_inputs(inputs)
    if write.overlay:
        _check_overlays(files)
    write.check()
    identity = [model_fingerprint(model), [_stamp(file) for file in files], asdict(write), asdict(read)]
    masks: list[Path] = []

    def predict(folder: Path) -> None:
        with (
            opened(folder, identity, foreign_files=False) as journal,
            opened(_scratch_folder(folder, resources.scratch, identity), identity) as scratch,
        ):
            for index, file in enumerate(files):
                prediction = FilePrediction(model, file, index, read, write, journal, scratch, resources)
                paths = prediction.run(advance)
                masks.extend(out / path.name if path.parent == folder else path for path in paths)
            (folder / "classes.json").write_text(json.dumps(_legend(model), indent=2) + "\n", encoding="utf-8")
            scratch.remove()
            Journal(folder / _SCRATCH).remove()  # it may be of before another disk was chosen
            journal.close()

    write_folder(out, predict, resumable=True)
    return masks


def _scratch_folder(folder: Path, scratch: Path | None, identity: object) -> Path:
    """Within the unfinished folder itself, or in ``scratch`` under a name that no other prediction has."""
    if scratch is None:
        return folder / _SCRATCH
    name = hashlib.sha256(json.dumps([str(folder), identity]).encode()).hexdigest()[:12]
    return scratch / f"rescrnet-{name}"


def _stamp(file: Path) -> list[Any]:
    """What tells an image from another; of a Zarr its metadata, for the folder changes when labels are put into it."""
    metadata = (file / name for name in ("zarr.json", ".zattrs", ".zarray", ".zgroup"))
    status = next((path for path in metadata if path.is_file()), file).stat()
    return [str(file.absolute()), status.st_size, status.st_mtime_ns]


def _check_overlays(files: Iterable[Path]) -> None:
    stems = by_stem(files, image_stem)
    for stem, file in stems.items():
        if other := stems.get(f"{stem}_overlay"):
            raise DataError(other, f"its mask would have the name of the overlay of {file}", "rename it")


def _legend(model: SegmentationModel) -> list[dict[str, Any]]:
    return [
        {"index": index, "name": entry.name, "colour": entry.color} for index, entry in enumerate(model.card.classes)
    ]
