"""Images whose objects are to be found: class masks or probabilities, with what is known of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.checking.check import judge
from rescrnet.classes import IGNORE, ClassEntry, coloured
from rescrnet.config import validate
from rescrnet.datasets.read import read_dataset
from rescrnet.errors import DataError, UsageError
from rescrnet.images.open import image_stem, list_images, open_image, wrap
from rescrnet.images.stack import Source, Stack
from rescrnet.images.unpacked import unpacked
from rescrnet.images.whole import Origin, Page, open_origin, read_pixels
from rescrnet.inference.inputs import LEGEND, find_inputs
from rescrnet.inference.region import Region
from rescrnet.object_settings import ObjectSettings, default_settings, names_no_background
from rescrnet.wording import size

_LARGE_PIECE = 2**24  # bytes; a file whose pieces are larger is unpacked once instead of for every tile
SETTINGS = "objects.json"
"""The file in every folder of objects that says how they were told apart."""
_WHERE = "settings of objects"
_PROBABILITIES = "_probabilities"
_BESIDE = (_PROBABILITIES, "_uncertainty", "_overlay")  # what lies beside masks and is none


@dataclass(frozen=True)
class Legend:
    """The classes of masks, and how the objects of each are told apart.

    Attributes:
        classes: in the order of their indices, with colours.
        settings: by class, for those that have objects.
    """

    classes: list[ClassEntry]
    settings: Mapping[str, ObjectSettings]

    @property
    def names(self) -> list[str]:
        """The names of the classes."""
        return [entry.name for entry in self.classes]

    @property
    def is_guess(self) -> bool:
        """Whether it is but their order that tells which classes have objects."""
        return names_no_background(self.names) and self.settings == default_settings(self.names)

    @classmethod
    def named(cls, names: Sequence[str]) -> Legend:
        """The legend of classes of which nothing but their names is known."""
        return cls(coloured([ClassEntry(name=name) for name in names]), default_settings(names))


@dataclass(frozen=True, eq=False)
class Subject:
    """An image whose objects are to be found.

    Attributes:
        place: of its results below the folder of results, without a suffix.
        mask: class indices, or numbers of objects.
        legend: what its values mean; None where they number objects.
        probabilities: of the classes, where they are there.
        image: whose intensities are measured, where it is there.
        pixel_size: height and width of a pixel, micrometres, where known.
        files: that it is read from.
        content: a hash of what is no file.
        numbers: of the true objects that the classes of the mask were made of, where they are there.
    """

    place: str
    mask: Stack
    legend: Legend | None
    probabilities: Stack | None = None
    image: Stack | None = None
    pixel_size: tuple[float, float] | None = None
    files: tuple[Path, ...] = ()
    content: str = ""
    numbers: Stack | None = None

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return str(self.mask.path or self.place)

    def check(self) -> None:
        """Raise :class:`DataError` where its parts do not fit each other, or the mask is none."""
        source = self.mask[0].source
        if source.shape[2] != 1 or source.dtype.kind == "f":
            what = "fractions" if source.dtype.kind == "f" else f"{source.shape[2]} channels"
            found = f"holds {what} and is no class mask"
            raise DataError(self.name, found, "expected whole numbers, as predict writes them, or a dataset folder")
        for what, stack in (("probabilities", self.probabilities), ("image", self.image)):
            if stack is not None and (stack.size, len(stack)) != (self.mask.size, len(self.mask)):
                planes = f" in {len(stack)} planes" if len(stack) > 1 or len(self.mask) > 1 else ""
                of_mask = f" in {len(self.mask)} planes" if planes else ""
                raise DataError(
                    stack.path or self.place,
                    f"is {size(stack.size)}{planes}, but the mask {self.name} is {size(self.mask.size)}{of_mask}",
                    f"expected the {what} of that mask, of the same size",
                )
        if self.probabilities is not None and self.legend is not None:
            channels = self.probabilities[0].source.shape[2]
            if channels != len(self.legend.classes):
                found = f"holds {channels} probabilities a pixel, but there are {len(self.legend.classes)} classes"
                raise DataError(self.probabilities.path, found, "expected those of the same model; predict again")


def find_subjects(
    inputs: Iterable[Path], images: Path | None, *, names: Sequence[str] = (), numbered: bool = False
) -> list[Subject]:
    """The masks in ``inputs``: files, folders of predictions or masks, or dataset folders.

    Args:
        inputs: where they are.
        images: a folder of images, or one image, by which intensities and pixel sizes are known; stems must agree.
        names: of the classes, where no ``classes.json`` says them.
        numbered: the masks number objects.

    Raises:
        DataError: there are no masks, nothing says which classes they hold, or a mask has no image in ``images``.
    """
    found: list[Subject] = []
    files: list[Path] = []
    for path in inputs:
        if path.is_dir() and _is_dataset(path) and not numbered:
            found += _of_dataset(path)
        else:
            files.append(path)
    if not files:
        return found
    masks = [one for one in find_inputs(files, recursive=True).images if not _is_result(one.files[0])]
    stems = {one.files[0].parent / image_stem(one.files[0]) for one in masks}
    known = _images_in(images)
    for one in masks:
        file = one.files[0]
        stem = image_stem(file)
        if one.fault:
            raise one.fault
        if any(stem.endswith(end) and file.parent / stem.removesuffix(end) in stems for end in _BESIDE):
            continue
        mask, image = open_image(file, indices=True), known.get(one.place) or known.get(Path(one.place).name)
        if images is not None and image is None:
            raise DataError(
                file, f"has no image of its name in {images}", f"expected {stem}.*; leave --images out, or add it"
            )
        opened = None if image is None else open_image(image)
        probabilities = None if numbered else _probabilities_of(file)
        found.append(
            Subject(
                place=one.place,
                mask=mask,
                legend=None if numbered else _legend(file, names),
                probabilities=probabilities,
                image=opened,
                pixel_size=(opened.pixel_size if opened else None) or mask.pixel_size,
                files=tuple(path for path in (file, image, probabilities and probabilities.path) if path),
            )
        )
    return found


def _is_result(file: Path) -> bool:
    """Whether a file lies in a folder that was written here."""
    return any((folder / SETTINGS).is_file() for folder in file.absolute().parents[:3])


def _is_dataset(folder: Path) -> bool:
    """Whether this is a labelled dataset rather than a folder of masks."""
    if (folder / LEGEND).is_file():
        return False
    return any((folder / name).exists() for name in ("dataset.yaml", "dataset.yml", "train_local", "images"))


def _of_dataset(folder: Path) -> list[Subject]:
    """The images of a dataset with their true masks."""
    reading = read_dataset(folder)
    dataset = judge(reading, essential=True).require()
    origins = {example.pair.stem: example.pair.image for example in reading.examples}
    settings = default_settings(
        [entry.name for entry in dataset.classes], numbered=dataset.table.reader.instances is not None
    )
    legend = Legend(dataset.classes, settings)
    return [
        Subject(
            place=sample.stem,
            mask=wrap(sample.mask, "yx", name=f"{folder} ({sample.stem})"),
            legend=legend,
            image=_as_stored(origins[sample.stem]),
            numbers=sample.numbers and wrap(sample.numbers(), "yx", name=f"{folder} ({sample.stem})"),
            pixel_size=sample.pixel_size,
            content=hashlib.sha256(sample.mask.tobytes() + sample.image.tobytes()).hexdigest(),
        )
        for sample in (*dataset.train, *dataset.val)
    ]


def _as_stored(origin: Origin) -> Stack:
    """An image of a dataset with the values of its file."""
    if not isinstance(origin, Page):
        return open_origin(origin)[0]
    return wrap(read_pixels(origin).colours, "yxc", name=str(origin))


def _images_in(images: Path | None) -> dict[str, Path]:
    if images is None:
        return {}
    found = find_inputs([images], recursive=True).images
    return {image.place: image.files[0] for image in found if not image.fault}


def _probabilities_of(file: Path) -> Stack | None:
    """Those that predict wrote beside a mask."""
    stem = f"{image_stem(file)}{_PROBABILITIES}"
    beside = next((path for path in list_images(file.parent) if image_stem(path) == stem), None)
    return None if beside is None else open_image(beside)


def _legend(file: Path, names: Sequence[str]) -> Legend:
    if names:
        return Legend.named(names)
    for folder in file.absolute().parents[:4]:
        if (folder / LEGEND).is_file():
            return read_legend(folder / LEGEND)
    raise DataError(
        file,
        f"has no {LEGEND} beside it that says which class each value is",
        "say --names background,cell for the values 0, 1, …, or --numbered if each value is an object",
    )


def read_legend(file: Path) -> Legend:
    """What ``classes.json`` says. Raises :class:`DataError` where it is not understood."""
    try:
        entries = sorted(json.loads(file.read_text(encoding="utf-8")), key=lambda entry: int(entry["index"]))
        classes = [ClassEntry(name=entry["name"], color=entry.get("colour") or "") for entry in entries]
        stored = {
            entry["name"]: ObjectSettings.model_validate(entry["objects"]) for entry in entries if entry.get("objects")
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(file, "is not the legend that predict writes", "predict again, or say --names") from None
    settings = stored or default_settings([entry.name for entry in classes])
    return Legend(coloured(classes), settings)


def chosen_settings(
    subject: Subject, classes: Sequence[str], changes: Mapping[str, Any], micrometres: bool
) -> dict[str, ObjectSettings]:
    """How the objects of each class that is asked for are told apart; ``changes`` go before what is known.

    Raises:
        DataError: sizes are in micrometres, and the size of a pixel is not known.
        UsageError: there is no such class, or none with objects, or no boundary where one is needed.
    """
    if micrometres:
        if subject.pixel_size is None:
            raise DataError(
                subject.name,
                "does not say how large its pixels are, and --um gives sizes in micrometres",
                "say where images that do are, with --images, or leave --um out and give pixels",
            )
        changes = _in_pixels(changes, subject.pixel_size)
    if subject.legend is None:
        return {"object": validate(ObjectSettings, changes, _WHERE)}
    legend = subject.legend
    if unknown := [name for name in (*classes, *filter(None, [changes.get("boundary")])) if name not in legend.names]:
        raise UsageError(f"class '{unknown[0]}'", "is unknown", f"expected {', '.join(legend.names)}")
    asked = classes or list(legend.settings)
    if not asked:
        raise UsageError("--class", f"none of {', '.join(legend.names)} is known to have objects", "name those that do")
    found = {}
    for name in asked:
        settings = legend.settings.get(name) or next(iter(default_settings(legend.names).values()), ObjectSettings())
        settings = validate(ObjectSettings, {**dict(settings), **changes}, _WHERE)
        if settings.boundary == name:
            settings = settings.model_copy(update={"boundary": None, "with_boundary": False, "split": "parts"})
        if changes.get("split") == "watershed" and settings.boundary is None:
            raise UsageError(
                "--split watershed",
                f"none of the classes {', '.join(legend.names)} is known to lie between objects",
                "name it with --boundary, or use --split distance",
            )
        found[name] = settings
    return found


_LENGTHS, _AREAS = ("smoothing", "radius"), ("smallest", "fill_holes")


def _in_pixels(changes: Mapping[str, Any], pixel_size: tuple[float, float]) -> dict[str, Any]:
    square = pixel_size[0] * pixel_size[1]
    scaled = dict(changes)
    for name in _LENGTHS:
        if name in scaled:
            scaled[name] = scaled[name] / square**0.5
    if "radius" in scaled:
        scaled["radius"] = max(1, round(scaled["radius"]))
    return scaled | {name: round(scaled[name] / square) for name in _AREAS if name in scaled}


@dataclass
class SourceScores:
    """Probabilities or a class mask of one plane, read by region."""

    mask: Source
    probabilities: Source | None
    _last: tuple[Region, NDArray[Any]] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.mask.shape[:2]

    def read(self, region: Region, index: int) -> NDArray[np.float32]:
        """See :class:`rescrnet.objects.evidence.Scores`."""
        if self._last is None or self._last[0] != region:  # a read decodes all classes, and several are asked for
            self._last = region, (self.probabilities or self.mask).read(*region)
        block = self._last[1]
        if self.probabilities is None:
            return np.asarray(block[..., 0] == index, np.float32)
        return np.asarray(block[..., index], np.float32)


def by_region(source: Source, file: Path, large: bool) -> Source:
    """The plane, or where every read would decode all of it, and that is felt, a copy in ``file``."""
    felt = source.sequential or (large and source.segment_bytes >= _LARGE_PIECE)
    return unpacked(source, file) if felt else source


def class_pixels(source: Source, legend: Legend, band: int) -> dict[str, float]:
    """The share of each class in the labelled area. Raises :class:`DataError` where a value is no class."""
    rows, columns, _ = source.shape
    counts = np.zeros(256, np.int64)
    for y0 in range(0, rows, band):
        block = source.read(y0, min(rows, y0 + band), 0, columns)[..., 0]
        if int(block.max()) > IGNORE or int(block.min()) < 0:
            raise _no_class_mask(source, int(block.max()), legend)
        counts += np.bincount(block.ravel().astype(np.uint8), minlength=256)
    strange = [value for value in np.flatnonzero(counts[:IGNORE]) if value >= len(legend.classes)]
    if strange:
        raise _no_class_mask(source, int(strange[0]), legend)
    labelled = max(1, int(counts[:IGNORE].sum()))
    return {entry.name: int(counts[index]) / labelled for index, entry in enumerate(legend.classes)}


def _no_class_mask(source: Source, value: int, legend: Legend) -> DataError:
    names = ", ".join(f"{index} {name}" for index, name in enumerate(legend.names))
    return DataError(
        source.name,
        f"holds the value {value} and is no mask of the classes {names}",
        "expected a class index for each pixel; say --numbered if each value is an object",
    )
