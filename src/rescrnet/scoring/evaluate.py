"""Score a model on labelled images."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rescrnet.atomic import write_folder
from rescrnet.checking.check import judge
from rescrnet.classes import IGNORE
from rescrnet.datasets.dataset import Sample
from rescrnet.datasets.read import read_dataset
from rescrnet.errors import DataError, RescrnetWarning
from rescrnet.masks.declared import DatasetFile
from rescrnet.model import SegmentationModel, TrainedOn
from rescrnet.objects.find import objects_of
from rescrnet.objects.fit import true_objects
from rescrnet.objects.match import THRESHOLDS, ObjectCounts
from rescrnet.scoring.counts import Counts, ratio
from rescrnet.wording import as_text

Subset = Literal["val", "train", "all"]


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a set of images.

    Attributes:
        classes: names in the order of their indices.
        images: counts of every image by stem.
        split: which images they are.
        objects: of each class that has objects, those of every image by stem.
    """

    classes: Sequence[str]
    images: dict[str, Counts]
    split: Subset
    objects: dict[str, dict[str, ObjectCounts]] = field(default_factory=dict)

    @property
    def counts(self) -> Counts:
        """The counts of all images together."""
        return sum(self.images.values(), Counts.none(len(self.classes)))

    @property
    def object_counts(self) -> dict[str, ObjectCounts]:
        """The objects of all images together, by class."""
        return {name: sum(images.values(), ObjectCounts.none()) for name, images in self.objects.items()}

    def to_dict(self) -> dict[str, Any]:
        """What ``scores.json`` holds."""
        counts = self.counts
        return {
            "split": self.split,
            "images": list(self.images),
            "classes": list(self.classes),
            "pooled": counts.pooled(),
            "accuracy": ratio(np.trace(counts.confusion), counts.confusion.sum()),
            "per_class": dict(zip(self.classes, counts.per_class(), strict=True)),
            "confusion": counts.confusion.tolist(),
            "per_image": {stem: image.pooled() for stem, image in self.images.items()},
            "objects": {name: counts.to_dict() for name, counts in self.object_counts.items()},
        }

    def to_csv(self) -> str:
        """What ``scores.csv`` holds: a line for each image and class, and for all images together."""
        text = io.StringIO()
        names = list(Counts.none(len(self.classes)).per_class()[0])
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "class", *names])
        for stem, counts in [*self.images.items(), ("all images", self.counts)]:
            for name, scores in zip(self.classes, counts.per_class(), strict=True):
                writer.writerow([as_text(stem), name, *("" if scores[key] is None else scores[key] for key in names)])
        return text.getvalue()

    def objects_to_csv(self) -> str:
        """What ``objects.csv`` holds: a line for each image, class and IoU threshold, and for all images together."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = ("true_objects", "predicted_objects", "split", "merged")
        writer.writerow(["image", "class", "iou_threshold", *ObjectCounts.none().at(THRESHOLDS[0]), *names])
        for name, images in self.objects.items():
            for stem, counts in [*images.items(), ("all images", self.object_counts[name])]:
                kept = [counts.true, counts.predicted, counts.split, counts.merged]
                for threshold in THRESHOLDS:
                    values = ["" if value is None else value for value in counts.at(threshold).values()]
                    writer.writerow([as_text(stem), name, threshold, *values, *kept])
        return text.getvalue()

    def write(self, folder: Path) -> None:
        """Write ``scores.json``, ``scores.csv`` and, where a class has objects, ``objects.csv`` into ``folder``."""
        if self.objects:
            (folder / "objects.csv").write_text(self.objects_to_csv(), encoding="utf-8")
        (folder / "scores.json").write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        (folder / "scores.csv").write_text(self.to_csv(), encoding="utf-8")


def evaluate(
    model: SegmentationModel,
    data: str | Path,
    out: str | Path | None = None,
    split: Subset = "val",
    *,
    rescale: bool = False,
    seen: Callable[[Sample, NDArray[np.float32]], object] = lambda sample, probabilities: None,
) -> Evaluation:
    """Predict the images of a dataset whole, and score them against their masks.

    Args:
        model: the trained model.
        data: a dataset folder, in any of the layouts that training takes.
        out: a new folder for ``scores.json``, ``scores.csv`` and, where a class has objects, ``objects.csv``; none
            writes nothing.
        split: the validation images, the training images, or all. In a folder of ``images`` and ``masks`` they are
            those that the model was validated or trained on.
        rescale: see each image at the pixel size of the training images, and score the result at its own.
        seen: called with every sample and its probabilities (classes, Y, X).

    Raises:
        DataError: the dataset is not valid, does not fit the model, or lacks some of the images that are asked for.
        OutputError: ``out`` holds files or cannot be written.
    """
    data = Path(data)
    samples = chosen_samples(model, data, split)
    objects: dict[str, dict[str, ObjectCounts]] = {name: {} for name in model.card.object_settings}

    def look(sample: Sample, probabilities: NDArray[np.float32]) -> None:
        for name, (true, found) in compare_objects(model, sample, probabilities).items():
            objects[name][sample.stem] = ObjectCounts.of(true, found, sample.mask == IGNORE)
        seen(sample, probabilities)

    evaluation = Evaluation(model.classes, dict(_count(model, samples, rescale, look)), split, objects)
    if out is not None:
        write_folder(Path(out), evaluation.write)
    return evaluation


def compare_objects(
    model: SegmentationModel, sample: Sample, probabilities: NDArray[np.float32]
) -> dict[str, tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """The true and the predicted objects of each class that has any, as label images YX."""
    found = {}
    for name, settings in model.card.object_settings.items():
        index = model.classes.index(name)
        boundary = None if settings.boundary is None else model.classes.index(settings.boundary)
        predicted = objects_of(probabilities, index, boundary, settings)
        found[name] = true_objects(sample, index, boundary, settings), predicted
    return found


def chosen_samples(model: SegmentationModel, data: Path, split: Subset) -> list[Sample]:
    """The samples of ``data`` that ``split`` means to ``model``."""
    card = model.card
    trained = DatasetFile(**dict(card.masks), axes=card.axes)
    reading = read_dataset(data, trained=trained, channels=card.in_channels)
    dataset = judge(reading, essential=True).require()
    everything = [*dataset.train, *dataset.val]
    parts = {example.pair.stem: example.part for example in reading.examples}
    if blank := [stem for stem in dataset.blank if split == "all" or (dataset.val and parts[stem] == split)]:
        warnings.warn(
            f"{data}: without a labelled pixel, and not scored: {', '.join(blank)}", RescrnetWarning, stacklevel=3
        )
    if split == "all":
        return everything
    provenance = card.trained
    if dataset.val:
        if split == "val":
            _warn_of_trained(data, provenance, dataset.val, set() if provenance is None else set(provenance.val))
        return dataset.val if split == "val" else dataset.train
    known = [] if provenance is None else provenance.val if split == "val" else provenance.train
    stems = {_known_as(stem) for stem in known}
    chosen = [sample for sample in everything if _known_as(sample.stem) in stems]
    if not chosen:
        raise DataError(
            data,
            f"has no '{split}' images, and none of its images are those that the model was trained with",
            "expected the training dataset, or --split all",
        )
    if missing := stems - {_known_as(sample.stem) for sample in chosen}:
        raise DataError(
            data,
            f"lacks {len(missing)} of the {len(stems)} '{split}' images of the model, {', '.join(sorted(missing))}",
            "expected the training dataset, or --split all for those that are there",
        )
    if split == "val":
        _warn_of_trained(data, provenance, chosen, set())
    return chosen


def _warn_of_trained(data: Path, provenance: TrainedOn | None, chosen: list[Sample], validated: set[str]) -> None:
    """Warn where images that are to validate trained the model, as in a fold of a cross-validation they may.

    One name may be of two images, in the training and in the validation folder: those are ``validated``.
    """
    if provenance is None or provenance.dataset != as_text(data.resolve().name):
        return
    trained = {_known_as(stem) for stem in provenance.train} - {_known_as(stem) for stem in validated}
    if flattered := [sample.stem for sample in chosen if _known_as(sample.stem) in trained]:
        named = ", ".join(flattered)
        message = f"{data}: the model was trained on {named}, so these scores flatter; those of crossval do not"
        warnings.warn(message, RescrnetWarning, stacklevel=4)


def _known_as(stem: str) -> str:
    """What models know an image by; earlier versions kept the ``.ome`` of a stem."""
    return as_text(stem).removesuffix(".ome")


def _count(
    model: SegmentationModel,
    samples: Iterable[Sample],
    rescale: bool,
    seen: Callable[[Sample, NDArray[np.float32]], object],
) -> Iterator[tuple[str, Counts]]:
    for sample in samples:
        extent = None
        if rescale:
            height, width = sample.mask.shape
            extent = model.size_in_training((height, width), sample.pixel_size, sample.stem)
        else:
            model.warn_if_magnified(sample.pixel_size, sample.stem)
        probabilities = model.predict(sample.image, sample.stem, extent)
        seen(sample, probabilities)
        yield sample.stem, Counts.of(probabilities, sample.mask)
