"""How often the checks warn of datasets that are sound, and how often they find faults that were put into them.

    python benchmarks/false_warnings.py [--data ../shared/data] [--sets 4] [--first-seed 1000] [--out FILE]

A false warning is an image that a warning or an error of a check names in a sound dataset; its rate is out of all
images, for each kind of dataset and in all. A fault is found where the check that is made for it names the image that
has it. Seeds are fixed; those below 100 are the ones that thresholds were set with.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom
from sound_sets import SIZES, TUNED, UNSEEN, Made, Random, cropped, made, write

from rescrnet.checking.check import check
from rescrnet.checking.findings import Severity

SIDES = (128, 192, 256)
ALLOWED = ("few-images",)  # of the number of images alone


def named_in(folder: Path) -> dict[str, set[int]]:
    """Of every check the images, by number, that its warnings and errors name."""
    named: dict[str, set[int]] = defaultdict(set)
    for finding in check(folder).findings:
        if finding.severity > Severity.info and finding.check.name not in ALLOWED:
            stems = [Path(file).stem for file in finding.files]
            named[finding.check.name] |= {int(stem[1:]) if stem[1:].isdigit() else -1 for stem in stems}
    return named


def of_images(images: list[Made]) -> dict[str, set[int]]:
    """The same of images that are written for it."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), images)
        return named_in(Path(folder))


def swapped(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """The masks of two images are swapped."""
    first, second = (int(n) for n in random.choice(len(images), 2, replace=False))
    changed = list(images)
    changed[first], changed[second] = (images[first][0], images[second][1]), (images[second][0], images[first][1])
    return changed, {first, second}


def shifted(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """Every mask has the name of the next image."""
    masks = [mask for _, mask in images]
    return [(image, masks[n - 1]) for n, (image, _) in enumerate(images)], set(range(len(images)))


def mirrored(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """A mask is mirrored."""
    return _one(images, random, lambda image, mask: (image, mask[:, ::-1] if random.random() < 0.5 else mask[::-1]))


def inverted(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """A mask of two classes is inverted."""
    return _one(images, random, lambda image, mask: (image, mask.max() - mask))


def unrelated(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """A mask is that of other, coarser structures."""

    def other(image: object, mask: np.ndarray) -> Made:
        coarse = zoom(random.normal(size=(9, 11)), [n / m for n, m in zip(mask.shape, (9, 11), strict=True)], order=3)
        cuts = np.quantile(coarse, np.cumsum(np.bincount(mask.ravel()) / mask.size)[:-1])
        return image, np.digitize(coarse[: mask.shape[0], : mask.shape[1]], cuts).astype(np.uint8)

    return _one(images, random, other)


def specked(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """All masks have single pixels of a class strewn over them, one in three hundred, as after thresholding."""
    strewn = [
        (image, np.where(random.random(mask.shape) < 1 / 300, mask.max(), mask).astype(np.uint8))
        for image, mask in images
    ]
    return strewn, set(range(len(images)))


def saturated(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """A fifth of an image is at the top of its range."""
    return _one(images, random, lambda image, mask: (np.where(image > np.quantile(image, 0.8), 255.0, image), mask))


def inverted_images(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """Three of ten images are inverted, as by a look-up table that was lost."""
    chosen = {int(n) for n in random.choice(len(images), 3, replace=False)}
    return [(255 - image if n in chosen else image, mask) for n, (image, mask) in enumerate(images)], chosen


def twice(images: list[Made], random: Random) -> tuple[list[Made], set[int]]:
    """A validation image is a training image with other contrast and noise."""
    last, first = len(images) - 1, int(random.integers(0, len(images) // 2))
    image = images[first][0] * 0.8 + 15
    return [*images[:-1], (image + random.normal(0, 3, image.shape), images[first][1])], {first, last}


def _one(images: list[Made], random: Random, change: Callable[..., Made]) -> tuple[list[Made], set[int]]:
    chosen = int(random.integers(len(images)))
    return [change(*pair) if n == chosen else pair for n, pair in enumerate(images)], {chosen}


FAULTS: dict[str, tuple[Callable[[list[Made], Random], tuple[list[Made], set[int]]], tuple[str, ...]]] = {
    "swapped": (swapped, ("mask-of-another-image", "mask-unrelated")),
    "shifted": (shifted, ("mask-of-another-image", "mask-unrelated")),
    "mirrored": (mirrored, ("mask-mirrored", "mask-unrelated")),
    "inverted": (inverted, ("inverted-mask", "contrast-differs")),
    "unrelated": (unrelated, ("mask-unrelated", "mask-of-another-image")),
    "specked": (specked, ("specks",)),
    "saturated": (saturated, ("saturated",)),
    "inverted images": (inverted_images, ("contrast-differs", "intensities-differ")),
    "twice": (twice, ("same-place-on-both-sides",)),
}


def false_alarms(data: Path, sets: int, first: int) -> dict[str, dict[str, object]]:
    """Of every kind the images, and how many of them each check names."""
    found: dict[str, dict[str, object]] = {}
    for kind in (*TUNED, *UNSEEN):
        named, number = Counter[str](), 0
        for seed in range(first, first + sets):
            images = made(kind, seed)
            named += Counter({name: len(files) for name, files in of_images(images).items()})
            number += len(images)
        found[kind.__name__] = {"images": number, "named": dict(named)}
    for folder in sorted(path for path in data.glob("*") if (path / "train_local").is_dir()):
        named, number = Counter[str](), 0
        for seed, side in enumerate(SIDES, start=first):
            images = cropped(folder, seed, side)
            named += Counter({name: len(files) for name, files in of_images(images).items()})
            number += len(images)
        found[f"crops of {folder.name}"] = {"images": number, "named": dict(named)}
    for folder in sorted(path for path in data.glob("*") if path.is_dir()):
        checked = named_in(folder)
        number = sum(1 for file in folder.glob("**/im*/**/*.*") if file.is_file())
        found[folder.name] = {"images": number, "named": {name: len(files) for name, files in checked.items()}}
    return found


def hits(sets: int, first: int) -> dict[str, dict[str, str]]:
    """Of every fault and kind: the faulty images that a check made for it named, out of all faulty ones."""
    found: dict[str, dict[str, str]] = {}
    for fault, (put, checks) in FAULTS.items():
        found[fault] = {}
        for kind in (*TUNED, *UNSEEN):
            named = there = 0
            for seed in range(first, first + sets):
                images = made(kind, seed)
                if fault == "inverted" and max(int(mask.max()) for _, mask in images) > 1:
                    continue
                spoilt, wrong = put(images, np.random.default_rng(seed))
                found_in = of_images(spoilt)
                named += len(wrong & set().union(*(found_in.get(name, set()) for name in checks)))
                there += len(wrong)
            if there:
                found[fault][kind.__name__] = f"{named} of {there}"
    return found


def main() -> None:
    """Print and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--sets", type=int, default=len(SIZES), help="synthetic datasets of each kind")
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--no-faults", action="store_true", help="count false warnings only")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    alarms = false_alarms(options.data, options.sets, options.first_seed)
    together, images = Counter[str](), 0
    for name, of_kind in alarms.items():
        print(f"{name:26} {of_kind['images']:4} images", of_kind["named"])
        together, images = together + Counter(of_kind["named"]), images + of_kind["images"]
    print(f"of all {images} images, named by")
    for name, number in together.most_common():
        print(f"  {name:28} {number:4}  {number / images:.2%}")
    found = {} if options.no_faults else hits(max(1, options.sets // 2), options.first_seed)
    for fault, by_kind in found.items():
        print(f"{fault:16}", ", ".join(f"{kind} {share}" for kind, share in by_kind.items()))
    if options.out:
        text = {"images": images, "named": dict(together), "kinds": alarms, "faults found": found}
        options.out.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
