"""How often the checks warn of datasets that are sound: of every warning, the images that it names, out of all.

    python benchmarks/false_warnings.py [--data ../shared/data] [--sets 12]

Seeds are fixed. Sound are the published sets, and synthetic ones of the kinds below, ten images each: fields of discs,
single cells in the middle, sparse spots, membranes, and bright-field, in which cells may be brighter or darker.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from rescrnet.checking.check import check
from rescrnet.checking.findings import Severity

SHAPE = (128, 160)
IMAGES = 10
Random = np.random.Generator
Made = tuple[NDArray[np.float64], NDArray[np.bool_]]


def _blob(random: Random, centre: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    """A roundish outline."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    dy, dx = y - centre[0], x - centre[1]
    angle = np.arctan2(dy, dx)
    edge = radius * (1 + sum(random.uniform(-0.12, 0.12) * np.cos(k * angle + random.uniform(0, 6)) for k in (2, 3)))
    return np.asarray(np.hypot(dy, dx) < edge)


def _texture(random: Random, sigma: float, strength: float) -> NDArray[np.float64]:
    noise = gaussian_filter(random.normal(size=SHAPE), sigma)
    return np.asarray(strength * noise / noise.std())


def discs(random: Random) -> Made:
    """Bright nuclei on a dark, uneven ground."""
    mask = np.zeros(SHAPE, bool)
    for _ in range(random.integers(5, 12)):
        mask |= _blob(random, (random.uniform(0, SHAPE[0]), random.uniform(0, SHAPE[1])), random.uniform(6, 14))
    return 40 + random.uniform(50, 120) * mask + _texture(random, 25, 8) + random.normal(0, 8, SHAPE), mask


def single(random: Random) -> Made:
    """One stained cell in the middle of each image, among pale ones of another kind."""
    middle = (SHAPE[0] / 2 + random.uniform(-6, 6), SHAPE[1] / 2 + random.uniform(-6, 6))
    mask = _blob(random, middle, random.uniform(22, 36))
    image = 200 - random.uniform(30, 100) * mask + _texture(random, 4, random.uniform(3, 15))
    for _ in range(random.integers(3, 9)):
        other = _blob(random, (random.uniform(0, SHAPE[0]), random.uniform(0, SHAPE[1])), 20) & ~mask
        image = image - random.uniform(10, 60) * other
    return image + random.normal(0, 4, SHAPE), mask


def spots(random: Random) -> Made:
    """A few small spots on nothing."""
    mask = np.zeros(SHAPE, bool)
    for _ in range(random.integers(25, 45)):
        mask |= _blob(random, (random.uniform(0, SHAPE[0]), random.uniform(0, SHAPE[1])), 2.6)
    return np.where(mask, random.uniform(90, 200, SHAPE), 0), mask


def membranes(random: Random) -> Made:
    """Dark walls between cells, as in electron micrographs."""
    field = gaussian_filter(random.normal(size=SHAPE), 7)
    mask = np.abs(field / field.std()) < 0.25
    return 170 - 90 * gaussian_filter(mask.astype(float), 1) + _texture(random, 2, 12), mask


def brightfield(random: Random) -> Made:
    """Faint cells with halos."""
    mask = np.zeros(SHAPE, bool)
    for _ in range(random.integers(4, 8)):
        mask |= _blob(random, (random.uniform(10, SHAPE[0]), random.uniform(10, SHAPE[1])), random.uniform(10, 18))
    soft = gaussian_filter(mask.astype(float), 2)
    halo = gaussian_filter(mask.astype(float), 5) - soft
    return 128 + 70 * halo + 12 * soft + _texture(random, 1.5, 7) + random.normal(0, 3, SHAPE), mask


KINDS: tuple[Callable[[Random], Made], ...] = (discs, single, spots, membranes, brightfield)


def write(folder: Path, make: Callable[[Random], Made], seed: int) -> None:
    """A dataset of one kind."""
    random = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(IMAGES):
        image, mask = make(random)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"images/f{number}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"masks/f{number}.png")


def warnings_of(folder: Path) -> tuple[Counter[str], int]:
    """Of every check the number of images that its warnings and errors name, and the images of the dataset."""
    checked = check(folder)
    named: Counter[str] = Counter()
    for finding in checked.findings:
        if finding.severity > Severity.info:
            named[finding.check.name] += len(finding.files)
    return named, checked.reading.total


def main() -> None:
    """Print the rate of each warning, by kind of dataset and in all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--sets", type=int, default=12, help="synthetic datasets of each kind")
    options = parser.parse_args()
    together, images = Counter[str](), 0
    for folder in sorted(path for path in options.data.glob("*") if path.is_dir()):
        named, number = warnings_of(folder)
        print(f"{folder.name:14} {number:4} images", dict(named))
        together, images = together + named, images + number
    for make in KINDS:
        of_kind, of_images = Counter[str](), 0
        for seed in range(options.sets):
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), make, seed)
                named, number = warnings_of(Path(folder))
            of_kind, of_images = of_kind + named, of_images + number
        print(f"{make.__name__:14} {of_images:4} images", dict(of_kind))
        together, images = together + of_kind, images + of_images
    print(f"of all {images} images, named by")
    for name, number in together.most_common():
        print(f"  {name:28} {number:4}  {number / images:.2%}")


if __name__ == "__main__":
    main()
