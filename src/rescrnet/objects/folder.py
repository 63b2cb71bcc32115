"""Find, measure and write the objects of many images into a folder that appears when it is complete."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rescrnet.atomic import write_atomically, write_folder
from rescrnet.display import save_png
from rescrnet.errors import DataError, UsageError
from rescrnet.images.npy import RawArray
from rescrnet.images.stack import Axis, Source, Stack
from rescrnet.inference.file import stamp
from rescrnet.inference.journal import Journal, opened
from rescrnet.inference.resources import Resources
from rescrnet.intensity import normalise
from rescrnet.object_settings import ObjectSettings
from rescrnet.objects.draw import outlined
from rescrnet.objects.evidence import Evidence
from rescrnet.objects.export import (
    EXPORTS,
    CocoImage,
    Exported,
    coco_lines,
    write_coco,
    write_imagej,
    write_qupath,
)
from rescrnet.objects.find import BYTES, Objects, find_objects, numbered_objects
from rescrnet.objects.measure import measure
from rescrnet.objects.scratch import OnDisk
from rescrnet.objects.subjects import SETTINGS, SourceScores, Subject, by_region, chosen_settings, class_pixels
from rescrnet.objects.table import (
    ObjectTable,
    columns_of,
    import_parquet,
    write_csv,
    write_parquet,
    write_tables,
)
from rescrnet.outputs.pyramid import build_pyramid
from rescrnet.outputs.sinks import named_axes
from rescrnet.outputs.tiff_writer import write_tiff
from rescrnet.outputs.zarr_writer import write_zarr

_SCRATCH = ".scratch"
_MOST = {16: 2**16 - 1, 32: 2**31 - 1}
_FORMATS = {"tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}


@dataclass(frozen=True)
class ObjectOptions:
    """What to find and what to write.

    Attributes:
        classes: whose objects; all that are known to have any where left out.
        changes: settings of :class:`~rescrnet.object_settings.ObjectSettings` that go before those that are known.
        micrometres: sizes in ``changes`` are in micrometres, areas in µm².
        kind: of the label images: ``tiff`` or ``ome-zarr``; none for that of the mask.
        bits: of the label images, 16 or 32; none for 16 where the numbers fit.
        exports: of ``imagej``, ``qupath`` and ``coco``.
        parquet: also write the table as Parquet.
        outlines: also draw the outlines and numbers over each image.
    """

    classes: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    micrometres: bool = False
    kind: str | None = None
    bits: int | None = None
    exports: tuple[str, ...] = ()
    parquet: bool = False
    outlines: bool = False

    def check(self) -> None:
        """Raise :class:`UsageError` where an option is unknown, or a library is missing."""
        if unknown := [name for name in self.exports if name not in EXPORTS]:
            raise UsageError(f"--export {unknown[0]}", "is unknown", f"expected {', '.join(EXPORTS)}")
        if self.kind not in (None, *_FORMATS):
            raise UsageError(f"--format {self.kind}", "cannot number objects", f"expected {' or '.join(_FORMATS)}")
        if self.bits not in (None, *_MOST):
            raise UsageError(f"--bits {self.bits}", "is unknown", "expected 16 or 32")
        if self.parquet:
            import_parquet()


def write_objects(
    subjects: Sequence[Subject],
    out: str | Path,
    options: ObjectOptions | None = None,
    *,
    resources: Resources | None = None,
    advance: Callable[[float], object] = lambda images: None,
) -> list[ObjectTable]:
    """Find the objects in masks or probabilities of any size, measure them, and write them into a new folder.

    For ``cell`` and the class ``nucleus`` the folder gets ``cell_nucleus_labels.ome.tif`` (or ``.ome.zarr``), numbers
    of objects of 16 or 32 bits, 0 outside; and what is asked for of ``cell_nucleus_rois.zip``, ``cell_nucleus.geojson``
    and ``cell_nucleus_outlines.png``. ``objects.csv`` has a row for each object of all images, ``summary.csv`` one for
    each image and class, ``objects.json`` says how they were told apart. An interrupted call is resumed when it is
    called again.

    Args:
        subjects: from :func:`~rescrnet.objects.subjects.find_subjects`.
        out: a new folder.
        options: what to find and write.
        resources: memory and scratch folder.
        advance: called with the number of images done since the last call, in fractions.

    Returns:
        The tables, one for each image, plane and class.

    Raises:
        DataError: a mask is no class mask, or what belongs to it has another size.
        OutputError: the folder holds files already, or cannot be written, or the scratch folder is full.
        UsageError: an option does not fit the masks, or the memory is too little.
    """
    options = options or ObjectOptions()
    options.check()
    every = []
    taken: dict[str, str] = {}
    for subject in subjects:
        subject.check()
        settings = chosen_settings(subject, options.classes, options.changes, options.micrometres)
        every.append((subject, settings))
        for name in settings:
            what, result = f"{name} in {subject.name}", f"{subject.place}_{_in_file_names(name)}"
            if result.casefold() in taken:
                found = f"its result would have the name of that of {taken[result.casefold()]}, {result}"
                raise DataError(what, found, "rename one of the two, or find them in separate calls")
            taken[result.casefold()] = what
    batch = _Batch(every, options, resources or Resources(), advance)
    write_folder(Path(out), batch.run, resumable=True)
    return batch.tables


def _in_file_names(name: str) -> str:
    """The name of a class without what file systems do not like."""
    return re.sub(r"[^\w.-]+", "-", name)


@dataclass
class _Batch:
    """The objects of many images; the arguments are those of :func:`write_objects`."""

    subjects: list[tuple[Subject, dict[str, ObjectSettings]]]
    options: ObjectOptions
    resources: Resources
    advance: Callable[[float], object]
    tables: list[ObjectTable] = field(default_factory=list)

    def run(self, folder: Path) -> None:
        """Fill ``folder``, which may hold what an interrupted call did."""
        with opened(folder, self._identity(), foreign_files=False) as journal, self._scratch(journal) as scratch:
            coco: dict[tuple[str, int], CocoImage] = {}
            for subject, settings in self.subjects:
                for name, how in settings.items():
                    one = _OneClass(self.options, self.resources, subject, name, how, folder, scratch)
                    self.tables += one.run(partial(self._advance, parts=len(settings)))
                    for plane, lines in enumerate(one.coco_files()):
                        known = coco.setdefault((subject.place, plane), one.coco_image(plane))
                        coco[subject.place, plane] = known._replace(lines={**known.lines, name: lines})
            names = list(dict.fromkeys(name for _, settings in self.subjects for name in settings))
            if coco:
                write_coco(folder / "coco.json", list(coco.values()), names)
            self._write_tables(folder)
            scratch.remove()
            journal.close()

    def _advance(self, share: float, parts: int) -> None:
        self.advance(share / parts)

    def _identity(self) -> object:
        about = [
            [
                subject.place,
                [*(stamp(file) for file in subject.files), subject.content],
                subject.pixel_size,
                {name: how.model_dump() for name, how in settings.items()},
            ]
            for subject, settings in self.subjects
        ]
        return [about, {**asdict(self.options), "changes": dict(self.options.changes)}]

    @contextlib.contextmanager
    def _scratch(self, journal: Journal) -> Iterator[Journal]:
        """Of unfinished work: within the folder of results, or where asked for under a name of its own."""
        if self.resources.scratch is None:
            yield journal.child(_SCRATCH)
            return
        name = hashlib.sha256(json.dumps([str(journal.folder), journal.identity]).encode()).hexdigest()[:12]
        with opened(self.resources.scratch / f"rescrnet-objects-{name}", journal.identity) as scratch:
            yield scratch

    def _write_tables(self, folder: Path) -> None:
        write_tables(folder / "objects.csv", self.tables)
        write_csv(folder / "summary.csv", [table.summary() for table in self.tables])
        if self.options.parquet:
            write_parquet(folder / "objects.parquet", self.tables)
        used = {
            one.place: {name: how.model_dump() for name, how in settings.items()} for one, settings in self.subjects
        }
        first = next(iter(used.values()), {})
        content = first if all(one == first for one in used.values()) else used
        (folder / SETTINGS).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@dataclass
class _OneClass:
    """The objects of one class in all planes of an image."""

    options: ObjectOptions
    resources: Resources
    subject: Subject
    name: str
    settings: ObjectSettings
    folder: Path
    scratch: Journal

    @property
    def memory(self) -> int:
        """Bytes to work with."""
        return max(1, self.resources.memory - self.resources.program)

    @property
    def base(self) -> Path:
        """The results but for what follows their names."""
        place = self.folder / self.subject.place
        return place.with_name(f"{place.name}_{_in_file_names(self.name)}")

    @property
    def journal(self) -> Journal:
        """With a step for each plane, and one for the label image."""
        return self.scratch.child(hashlib.sha256(f"{self.subject.place}/{self.name}".encode()).hexdigest()[:16])

    def run(self, advance: Callable[[float], object]) -> list[ObjectTable]:
        """Write the results; the tables of the planes."""
        self.base.parent.mkdir(parents=True, exist_ok=True)
        journal, planes = self.journal, len(self.subject.mask)
        for index in range(planes):
            if journal.done(f"plane-{index}"):
                advance(0.95 / planes)
                continue
            inner = journal.child(f"plane-{index}")
            self._plane(index, inner, lambda share: advance(share * 0.95 / planes))
            journal.record(f"plane-{index}")
            inner.remove()
        tables = [ObjectTable.load(journal.folder / f"table-{index}.npz") for index in range(planes)]
        if not journal.done("labels"):
            self._write_labels(max(map(len, tables)))
            journal.record("labels")
        advance(0.05)
        return tables

    def coco_files(self) -> list[Path]:
        """The annotations of each plane, where they are wanted."""
        wanted = "coco" in self.options.exports
        return [self.journal.folder / f"coco-{index}.jsonl" for index in range(len(self.subject.mask)) if wanted]

    def coco_image(self, index: int) -> CocoImage:
        """What a plane is called in ``coco.json``."""
        file = self.subject.image.path if self.subject.image else self.subject.mask.path
        name, plane = file.name if file else self.subject.place, self.subject.mask[index].name
        return CocoImage(f"{name} ({plane})" if plane else name, self.subject.mask.size, {})

    @property
    def _labels(self) -> RawArray:
        """The numbers of all planes, (planes, Y, X) uint32."""
        shape = (len(self.subject.mask), *self.subject.mask.size)
        return OnDisk(self.journal).array("labels", shape, np.uint32)  # type: ignore[no-any-return]

    def _plane(self, index: int, inner: Journal, advance: Callable[[float], object]) -> None:
        """Find, measure and export the objects of one plane; its table and numbers are kept in the journal."""
        plane, source = self.subject.mask[index]
        band = max(1, self.memory // (BYTES * source.shape[1]))
        mask = self._source(self.subject.mask, index, inner.folder / "mask-copy.npy")
        legend = self.subject.legend
        shares = {} if legend is None else class_pixels(mask, legend, band)
        objects = self._find(mask, index, inner, lambda share: advance(share * 0.7))
        self._check_number(objects)
        image = self._source(self.subject.image, index, inner.folder / "image-copy.npy") if self.subject.image else None
        measured = measure(objects, image, pixel_size=self.subject.pixel_size, band=band)
        advance(0.2)
        table = ObjectTable(
            image=self.subject.place,
            plane=plane,
            name=self.name,
            columns=columns_of(measured, self.subject.pixel_size),
            pixels=source.shape[0] * source.shape[1],
            pixel_size=self.subject.pixel_size,
            shares=shares,
        )
        labels = self._labels
        for y0 in range(0, source.shape[0], band):
            y1 = min(source.shape[0], y0 + band)
            labels[(index, slice(y0, y1), slice(0, source.shape[1]))] = objects.read_rows(y0, y1).astype(np.uint32)
        self._export(objects, table, index)
        table.save(self.journal.folder / f"table-{index}.npz")
        advance(0.1)

    def _find(self, mask: Source, index: int, inner: Journal, advance: Callable[[float], object]) -> Objects:
        legend = self.subject.legend
        if legend is None:
            advance(1)
            return self._numbered(mask)
        if self.subject.numbers and self.settings.with_boundary and self.settings.split == "watershed":
            advance(1)
            return self._numbered(self.subject.numbers[index].source)
        probabilities = None
        if self.subject.probabilities is not None:
            probabilities = self._source(self.subject.probabilities, index, inner.folder / "probabilities-copy.npy")
        between = None if self.settings.boundary is None else legend.names.index(self.settings.boundary)
        scores = SourceScores(mask, probabilities)
        evidence = Evidence(scores, legend.names.index(self.name), between, self.settings)
        return find_objects(evidence, OnDisk(inner), memory=self.memory, name=self.subject.name, advance=advance)

    def _numbered(self, numbers: Source) -> Objects:
        return numbered_objects(numbers, self.settings, max(1, self.memory // (BYTES * numbers.shape[1])))

    def _source(self, stack: Stack, index: int, copy: Path) -> Source:
        source = stack[index].source
        large = source.shape[0] * source.shape[1] * BYTES > self.memory or source.segment_bytes * 4 > self.memory
        return by_region(source, copy, large)

    def _check_number(self, objects: Objects) -> None:
        bits = self.options.bits or 32
        if objects.count > _MOST[bits]:
            raise UsageError(
                self.subject.name,
                f"has {objects.count} objects, and --bits {bits} numbers {_MOST[bits]}",
                "use --bits 32, or drop small ones with --smallest",
            )

    def _export(self, objects: Objects, table: ObjectTable, index: int) -> None:
        exports, base = self.options.exports, self.base
        if table.plane:
            base = base.with_name(f"{base.name}_{table.plane}")
        one = Exported(objects, table, self._colour, index)
        for name, suffix, write in (("imagej", "_rois.zip", write_imagej), ("qupath", ".geojson", write_qupath)):
            if name in exports:
                write_atomically(base.with_name(base.name + suffix), partial(write, exported=one))
        if "coco" in exports:
            with (self.journal.folder / f"coco-{index}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(coco_lines(one))
        if self.options.outlines:
            self._draw(objects, index, base.with_name(f"{base.name}_outlines.png"))

    @property
    def _colour(self) -> str:
        legend = self.subject.legend
        dark = legend is None or self.name not in legend.names
        return "#ffd700" if dark else legend.classes[legend.names.index(self.name)].color  # type: ignore[union-attr]

    def _draw(self, objects: Objects, index: int, path: Path) -> None:
        rows, columns = objects.shape
        if rows * columns * 64 > self.memory:
            raise UsageError(
                self.subject.name,
                "--outlines draws one picture that fits the memory",
                "leave it out and open the label image over the image in napari, QuPath or Fiji",
            )
        if self.subject.image is not None:
            image = normalise(self.subject.image[index].source.read(0, rows, 0, columns))
        else:
            image = np.full((rows, columns, 1), 0.2, np.float32)
        save_png(path, outlined(image, objects.whole(), self._colour, scale=1 if max(rows, columns) > 600 else 3))

    def _write_labels(self, largest: int) -> None:
        """The numbers as a file, in the smallest type that they fit, or that is asked for."""
        labels, scratch, stack = self._labels, self.journal.folder, self.subject.mask
        bits = self.options.bits or (16 if largest <= _MOST[16] else 32)
        narrow = labels
        if bits == 16:
            narrow = RawArray.create(scratch / "narrow.npy", labels.shape, np.uint16)
            band = max(1, self.memory // (8 * labels.shape[2]))
            for plane, y0 in itertools.product(range(labels.shape[0]), range(0, labels.shape[1], band)):
                place = (plane, slice(y0, min(labels.shape[1], y0 + band)), slice(0, labels.shape[2]))
                narrow[place] = labels[place].astype(np.uint16)
        kind = self.options.kind or ("ome-zarr" if stack.kind == "ome-zarr" else "tiff")
        path = self.base.with_name(f"{self.base.name}_labels{_FORMATS[kind]}")
        levels = build_pyramid(narrow, scratch, stack.levels if stack.levels > 1 else None)
        axes = self._axes()
        write: Callable[[Path], object] = partial(write_tiff, levels=levels, axes=axes, classes=[])
        if kind == "ome-zarr":
            zarr_format: Literal[2, 3] = stack.zarr_format or 2
            name = path.name.removesuffix(_FORMATS[kind])
            write = partial(write_zarr, levels=levels, axes=axes, classes=[], zarr_format=zarr_format, name=name)
        if path.is_dir():  # of a call that was killed before it could say so
            shutil.rmtree(path)
        write_atomically(path, write)
        for array in {*levels, labels}:
            array.path.unlink(missing_ok=True)

    def _axes(self) -> list[Axis]:
        """Those of the mask, with the size of a pixel, which its image may know better."""
        steps = dict(zip("yx", self.subject.pixel_size or (), strict=False))
        return [
            replace(axis, scale=steps[axis.name], unit="micrometer") if axis.name in steps else axis
            for axis in named_axes(self.subject.mask)
        ]
