"""Predict image files into a folder of results: all that can be predicted, and a list of those that cannot."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from rescrnet.atomic import PARTIAL, check_free, write_atomically, write_folder
from rescrnet.errors import DataError, OutputError, RescrnetError, RescrnetWarning, UsageError
from rescrnet.inference.file import FilePrediction
from rescrnet.inference.inputs import LEGEND, Input, Inputs, find_inputs, join_channels
from rescrnet.inference.journal import MANIFEST, Journal, opened
from rescrnet.inference.options import ReadOptions, WriteOptions
from rescrnet.inference.plane import model_fingerprint
from rescrnet.inference.resources import Resources
from rescrnet.model import SegmentationModel
from rescrnet.wording import count

FAILED = "failed.csv"
_SCRATCH = ".scratch"


class Then(Protocol):
    """What is made of all predictions once they are there, before their folder gets its name."""

    @property
    def name(self) -> str:
        """Of the folder that it fills beside the predictions."""

    def run(self, folder: Path, images: list[Input]) -> None:
        """Fill it; after an interruption it is called again. ``images`` are those that were predicted."""


def warn_of(image: str, error: RescrnetError) -> None:
    """Warn of an image that cannot be predicted."""
    warnings.warn(f"{error}; it is left out", RescrnetWarning, stacklevel=2)


def predict_files(
    model: SegmentationModel,
    inputs: str | Path | Iterable[str | Path] | Inputs,
    out: str | Path,
    write: WriteOptions | None = None,
    *,
    read: ReadOptions | None = None,
    recursive: bool = False,
    resources: Resources | None = None,
    advance: Callable[[float], object] = lambda images: None,
    failed: Callable[[str, RescrnetError], object] = warn_of,
    then: Then | None = None,
) -> list[Path]:
    """Predict images of any size into a new folder.

    For ``cell.tif`` the folder gets ``cell.png``, class indices as 8-bit grey of the size of the image, and as asked
    ``cell_probabilities.tif`` (classes, Y, X) float32, ``cell_uncertainty.tif`` (Y, X) float32, 0 to 1, and
    ``cell_overlay.png`` for display; large images and stacks become ``cell.ome.tif`` or ``cell.ome.zarr``, as they came
    (:func:`rescrnet.outputs.sinks.pick_kind`).
    ``classes.json`` says which index is which class. The folder appears when all of it is there. An interrupted
    prediction is resumed when it is called again. With ``write.label`` the masks lie in the images themselves.

    An image that cannot be predicted stops no other one: ``failed`` is called, and ``failed.csv`` lists it with the
    reason. The same call then does what is missing, once the image was fixed. The headers of all images are looked at
    before anything is computed.

    Args:
        model: the trained model.
        inputs: image files, folders of them, and patterns such as ``*.tif``; see
            :func:`rescrnet.inference.inputs.find_inputs`. Grey files of one name, one for each channel that the model
            has, are one image.
        out: a new folder, or one in which images are missing that could not be predicted.
        write: what to write besides the masks, and how; by default nothing else, in the format of the image.
        read: how to read the images; by default the finest level.
        recursive: take the images in sub-folders also where a folder itself holds some.
        resources: memory, scratch folder and executor.
        advance: called with the number of images done since the last call, in fractions.
        failed: called with each image that cannot be predicted and the reason; by default it is
            warned of.
        then: makes something of the results, in a folder of its own beside them.

    Returns:
        The masks.

    Raises:
        DataError: an only image, or every one, is missing, not readable, or does not fit the model.
        OutputError: the folder holds files already, or cannot be written, or the scratch folder is full.
        UsageError: the memory is too little.
    """
    out = Path(out)
    write, read = write or WriteOptions(), read or ReadOptions()
    read = replace(read, axes=read.axes or model.card.axes)
    check_free(out, MANIFEST)
    found = inputs if isinstance(inputs, Inputs) else find_inputs(inputs, recursive=recursive)
    write.check()
    if read.rescale:
        model.check_rescalable()
    images = join_channels(found.images, model.card.in_channels)
    batch = _Batch(model, images, out, write, read, resources or Resources(), advance, failed, then)
    write_folder(out, batch.run, resumable=True, unfinished=MANIFEST)
    return batch.masks


@dataclass
class _Batch:
    """The prediction of many images; the first arguments are those of :func:`predict_files`."""

    model: SegmentationModel
    images: list[Input]
    out: Path
    write: WriteOptions
    read: ReadOptions
    resources: Resources
    advance: Callable[[float], object]
    failed: Callable[[str, RescrnetError], object]
    then: Then | None = None
    masks: list[Path] = field(default_factory=list)
    failures: list[tuple[Input, RescrnetError]] = field(default_factory=list)

    def run(self, folder: Path) -> None:
        """Predict into ``folder``, that of the results or a temporary one."""
        ours = folder != self.out.absolute()
        with self._journals(folder, ours) as (results, scratch):
            every = [
                FilePrediction(self.model, image, self.read, self.write, results, scratch, self.resources, ours)
                for image in self.images
            ]
            written = {path for one, paths in self._checked(every) if self._predict(one) for path in paths}
            if not self.masks:
                raise self._nothing()
            if ours:
                _remove_others(folder, written, self.then.name if self.then else None)
            (folder / LEGEND).write_text(json.dumps(_legend(self.model), indent=2) + "\n", encoding="utf-8")
            if self.then:
                lost = {id(image) for image, _ in self.failures}
                self.then.run(folder, [image for image in self.images if id(image) not in lost])
            scratch.remove()
            Journal(folder / _SCRATCH).remove()  # it may be of before another disk was chosen
            if self.failures:
                write_atomically(folder / FAILED, self._write_failures)
            else:
                (folder / FAILED).unlink(missing_ok=True)
                results.close()
        self.masks = [
            self.out / path.relative_to(folder) if path.is_relative_to(folder) else path for path in self.masks
        ]

    @contextlib.contextmanager
    def _journals(self, folder: Path, ours: bool) -> Iterator[tuple[Journal, Journal]]:
        """That of the results, and that of unfinished work."""
        identity = [model_fingerprint(self.model), asdict(self.write), asdict(self.read)]
        with contextlib.ExitStack() as stack:
            if ours:
                results = stack.enter_context(opened(folder, identity, foreign_files=False))
            else:  # it holds results, which stay whatever happens
                found = Journal.find(folder, identity)
                if found is None:
                    raise OutputError(
                        folder,
                        "holds results of another model, or of other options",
                        "choose a new folder, or remove it first",
                    )
                results = found
            yield results, stack.enter_context(opened(self._scratch_folder(folder, identity), identity))

    def _scratch_folder(self, folder: Path, identity: object) -> Path:
        """Within the unfinished folder itself, or elsewhere under a name that no other prediction has."""
        if self.resources.scratch is None:
            return folder / _SCRATCH
        name = hashlib.sha256(json.dumps([str(folder), identity]).encode()).hexdigest()[:12]
        return self.resources.scratch / f"rescrnet-{name}"

    def _checked(self, every: list[FilePrediction]) -> list[tuple[FilePrediction, list[Path]]]:
        """Those that by their headers can be predicted, with the files that are to be."""
        sound, taken = [], dict[Path, Input]()
        for one in every:
            try:
                if one.image.fault:
                    raise one.image.fault
                paths = one.check()
                for path in paths:
                    if path in taken:
                        found = f"its result would have the name of that of {taken[path]}, {path.name}"
                        raise DataError(one.image, found, "rename one of the two")
                taken |= dict.fromkeys(paths, one.image)
                sound.append((one, paths))
            except (DataError, UsageError, OutputError) as error:
                self._fail(one, error)
        return sound

    def _predict(self, one: FilePrediction) -> bool:
        """Predict an image, or say why not; whether it was predicted."""
        told = 0.0

        def advance(images: float) -> None:
            nonlocal told
            told += images
            self.advance(images)

        try:
            self.masks += one.run(advance)
        except (DataError, UsageError) as error:
            one.discard()
            self._fail(one, error, 1 - told)
            return False
        return True

    def _fail(self, one: FilePrediction, error: RescrnetError, left: float = 1) -> None:
        self.failures.append((one.image, error))
        if len(self.images) > 1:  # of an only one the error itself is raised
            self.failed(str(one.image), error)
        self.advance(left)

    def _nothing(self) -> RescrnetError:
        """The first failure, of an image among others that all failed."""
        error, others = self.failures[0][1], len(self.failures) - 1
        more = f" ({count(others, 'other image')} cannot be predicted either)" if others else ""
        return type(error)(error.subject, error.found, f"{error.remedy}{more}")

    def _write_failures(self, path: Path) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "reason"])
        for image, error in self.failures:
            reason = error.found if str(error.subject).startswith(str(image)) else f"{error.subject}: {error.found}"
            writer.writerow([image.files[0], f"{reason}; {error.remedy}" if error.remedy else reason])
        path.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))  # a name may be no text


def _remove_others(folder: Path, written: set[Path], kept: str | None = None) -> None:
    """Remove from a temporary folder the results of images that an interrupted call had and this one has not; those in
    the folder ``kept``, finished or not, are somebody else's."""
    above = {parent for path in written for parent in path.parents}
    for path in folder.iterdir():
        if kept and path.name in (kept, f".{kept}{PARTIAL}"):
            continue
        if path.suffix == PARTIAL:
            path.unlink() if path.is_file() else shutil.rmtree(path)
        elif path in written or path.name.startswith((".", MANIFEST)) or path.name in (LEGEND, FAILED):
            continue
        elif path in above:
            _remove_others(path, written)
        else:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _legend(model: SegmentationModel) -> list[dict[str, Any]]:
    objects = model.card.object_settings
    return [
        {"index": index, "name": entry.name, "colour": entry.color}
        | ({"objects": objects[entry.name].model_dump()} if entry.name in objects else {})
        for index, entry in enumerate(model.card.classes)
    ]
