"""Which images test together: folds that nothing leaks between."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from rescrnet.checking.check import judge
from rescrnet.checking.checks import splits
from rescrnet.checking.overlaps import find_overlaps
from rescrnet.classes import IGNORE
from rescrnet.datasets.dataset import Dataset, Sample
from rescrnet.datasets.grouping import are_apart, natural, patch_of
from rescrnet.datasets.read import MOST_COMPARED, MOST_PIXELS, read_dataset
from rescrnet.datasets.splitting import groups_in
from rescrnet.errors import DataError, RescrnetWarning, UsageError
from rescrnet.wording import as_text, count


@dataclass(frozen=True)
class Labelled:
    """All labelled images of a dataset, whatever part they have in its own split.

    Attributes:
        dataset: as it was read; all images are in ``train``, in the order in which people count.
        groups: what each image was taken from, by its stem. Copies, and views of one place, are one group.
        notes: what a reader of the results should know.
    """

    dataset: Dataset
    groups: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> list[Sample]:
        """The images."""
        return self.dataset.train

    def part(self, train: Iterable[str]) -> Dataset:
        """A dataset to train on.

        No image is kept for choosing an epoch: training is given its first image to watch itself by, and the last
        weights count.
        """
        chosen = set(train)
        samples = [sample for sample in self.samples if sample.stem in chosen]
        return replace(self.dataset, train=samples, val=samples[:1], leaking=(), warnings=(), blank=())


def read_labelled(folder: Path, declared: Mapping[str, Any] | None = None) -> Labelled:
    """Read all images of a dataset, and find out which of them must stay together.

    Raises :class:`DataError` with the first error of the checks, but for those of the dataset's own split, which plays
    no part here.
    """
    reading = read_dataset(folder, declared=declared)
    digests = {as_text(example.pair.stem): facts.digest for example, facts in reading.images}
    given = groups_in([*reading.split.train, *reading.split.val], reading.description)
    groups = {as_text(stem): as_text(group) for stem, group in given.items()}
    checked = judge(reading)
    kept = [finding for finding in checked.findings if finding.check.find.__module__ != splits.__name__]
    dataset = replace(checked, findings=kept).require()
    named = [replace(sample, stem=as_text(sample.stem)) for sample in (*dataset.train, *dataset.val)]
    samples = sorted(named, key=lambda sample: natural(sample.stem))
    stems = [sample.stem for sample in samples]
    if len(set(stems)) < len(stems):
        double = next(stem for stem in stems if stems.count(stem) > 1)
        raise DataError(folder, f"has two images that are called '{double}'", "give each a name of its own")
    together = [*_copies(stems, digests), *_overlaps(samples)]
    joined = _joined({stem: groups.get(stem, stem) for stem in stems}, together)
    notes = [f"'{a}' and '{b}' show the same place and are kept in one fold" for a, b in together]
    whole = replace(dataset, train=samples, val=[], leaking=(), warnings=())
    _warn_of_rare_classes(whole, joined)
    return Labelled(whole, joined, tuple(notes))


def _copies(stems: Sequence[str], digests: Mapping[str, str]) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    return [(first[digests[s]], s) for s in stems if s in digests and first.setdefault(digests[s], s) != s]


def _overlaps(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    """Pairs that show the same place, where the images are few enough to be compared."""
    pixels = sum(sample.mask.size for sample in samples)
    if len(samples) > MOST_COMPARED or pixels > MOST_PIXELS:
        return []
    found = find_overlaps([sample.image for sample in samples])
    return [(samples[one.first].stem, samples[one.second].stem) for one in found]


def _joined(groups: dict[str, str], together: Iterable[tuple[str, str]]) -> dict[str, str]:
    """``groups`` with those made one that hold two images of a pair."""
    joined = dict(groups)
    for first, second in together:
        old, new = joined[second], joined[first]
        joined = {stem: new if group == old else group for stem, group in joined.items()}
    return joined


def _warn_of_rare_classes(dataset: Dataset, groups: Mapping[str, str]) -> None:
    for index, entry in enumerate(dataset.classes):
        holders = [sample.stem for sample in dataset.train if (sample.mask == index).any()]
        if len({groups[stem] for stem in holders}) == 1:
            which = f"image {holders[0]}" if len(holders) == 1 else f"group {groups[holders[0]]}"
            warnings.warn(
                f"{dataset.folder}: class '{entry.name}' is in {which} alone: the fold that tests it trains without "
                "it, and its score says nothing; label it in other images too",
                RescrnetWarning,
                stacklevel=3,
            )


def divide(groups: Mapping[str, str], folds: int, where: object = "--folds") -> dict[str, int]:
    """The fold, from 1, that tests each image: whole groups, neighbours by name together, folds of about one size.

    Args:
        groups: what each image was taken from, in the order in which people count.
        folds: how many.
        where: what to call the images in messages.

    Raises:
        UsageError: less than two folds, or fewer images or groups than folds.
        DataError: all images are patches of one image, which overlap or may do so.
    """
    if folds < 2:
        raise UsageError(f"--folds {folds}", "is no cross-validation", "expected at least 2")
    if len(groups) < folds:
        raise UsageError(
            f"--folds {folds}", f"{where} has {count(len(groups), 'labelled image')}", f"expected at most {len(groups)}"
        )
    number = len(set(groups.values()))
    if number == 1:
        return _blocks_of_one(groups, folds, where)
    if number < folds:
        raise UsageError(
            f"--folds {folds}",
            f"{where} has images of {number} groups (animals, stacks, larger images), which are not divided",
            f"expected at most {number}",
        )
    members: dict[str, list[str]] = {}
    for stem, group in groups.items():
        members.setdefault(group, []).append(stem)
    return _contiguous(list(members.values()), folds)


def _blocks_of_one(groups: Mapping[str, str], folds: int, where: object) -> dict[str, int]:
    """One stack: blocks of neighbouring sections. One slide: tiles, where the names say that they lie apart."""
    stems = list(groups)
    found = _contiguous([[stem] for stem in stems], folds)
    if patch_of(stems[0]):
        for fold in range(1, folds + 1):
            tested = {stem for stem in stems if found[stem] == fold}
            if not are_apart(tested, set(stems) - tested):
                raise DataError(
                    where,
                    f"all images are patches of one image, '{groups[stems[0]]}', and would be tested by what was "
                    "trained on",
                    "add another image, or say what belongs together as 'groups' in dataset.yaml",
                )
    return found


def _contiguous(units: Sequence[Sequence[str]], folds: int) -> dict[str, int]:
    """Consecutive units in each fold, at least one, so that folds have about the same number of images."""
    found: dict[str, int] = {}
    place, left = 0, sum(map(len, units))
    for fold in range(1, folds + 1):
        wanted, got, last = left / (folds - fold + 1), 0, len(units) - (folds - fold)
        while place < last and (not got or fold == folds or got + len(units[place]) / 2 <= wanted):
            found.update(dict.fromkeys(units[place], fold))
            got += len(units[place])
            place += 1
        left -= got
    return found


def digest(sample: Sample) -> str:
    """Of an image and its mask, as they are read."""
    parts = (np.ascontiguousarray(sample.image), np.ascontiguousarray(sample.mask))
    return sha256(b"".join(str(part.shape).encode() + part.tobytes() for part in parts)).hexdigest()


def labelled_pixels(sample: Sample) -> int:
    """How many pixels of an image have a class."""
    return int((sample.mask != IGNORE).sum())
