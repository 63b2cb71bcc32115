"""Sound datasets of many kinds, for counting the warnings that they do not deserve.

Each kind is a function of a random generator and a size that returns an image, YX or YXC of any range in 0 to 255, and
its mask of class indices, YX. The kinds of :data:`TUNED` are those that the thresholds of the checks were set with, at
the seeds below 100; those of :data:`UNSEEN` were written afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from rescrnet.datasets.synthetic import draw
from rescrnet.images.whole import read_pixels

Random = np.random.Generator
Size = tuple[int, int]
Made = tuple[NDArray[np.float64], NDArray[np.uint8]]
Kind = Callable[[Random, Size], Made]


def _blob(random: Random, size: Size, centre: tuple[float, float], radius: float, long: float = 1) -> NDArray[np.bool_]:
    """A roundish outline, ``long`` times as long as wide."""
    y, x = np.mgrid[: size[0], : size[1]]
    turn = random.uniform(0, np.pi)
    dy, dx = y - centre[0], x - centre[1]
    dy, dx = dy * np.cos(turn) - dx * np.sin(turn), (dx * np.cos(turn) + dy * np.sin(turn)) / long
    angle = np.arctan2(dy, dx)
    edge = radius * (1 + sum(random.uniform(-0.12, 0.12) * np.cos(k * angle + random.uniform(0, 6)) for k in (2, 3)))
    return np.asarray(np.hypot(dy, dx) < edge)


def _anywhere(random: Random, size: Size) -> tuple[float, float]:
    return random.uniform(0, size[0]), random.uniform(0, size[1])


def _texture(random: Random, size: Size, sigma: float, strength: float) -> NDArray[np.float64]:
    noise = gaussian_filter(random.normal(size=size), sigma)
    return np.asarray(strength * noise / noise.std())


def _count(random: Random, size: Size, low: int, high: int) -> int:
    """A number of things for a field of 128×160, more of them in a larger one."""
    return max(1, round(random.integers(low, high) * size[0] * size[1] / (128 * 160)))


def discs(random: Random, size: Size) -> Made:
    """Bright nuclei on a dark, uneven ground."""
    mask = np.zeros(size, bool)
    for _ in range(_count(random, size, 5, 12)):
        mask |= _blob(random, size, _anywhere(random, size), random.uniform(6, 14))
    image = 40 + random.uniform(50, 120) * mask + _texture(random, size, 25, 8) + random.normal(0, 8, size)
    return image, mask.astype(np.uint8)


def single(random: Random, size: Size) -> Made:
    """One stained cell in the middle of each image, among pale ones of another kind."""
    middle = (size[0] / 2 + random.uniform(-6, 6), size[1] / 2 + random.uniform(-6, 6))
    mask = _blob(random, size, middle, random.uniform(0.17, 0.28) * min(size))
    image = 200 - random.uniform(30, 100) * mask + _texture(random, size, 4, random.uniform(3, 15))
    for _ in range(random.integers(3, 9)):
        image = image - random.uniform(10, 60) * (_blob(random, size, _anywhere(random, size), 20) & ~mask)
    return image + random.normal(0, 4, size), mask.astype(np.uint8)


def spots(random: Random, size: Size) -> Made:
    """A few small spots on nothing."""
    mask = np.zeros(size, bool)
    for _ in range(_count(random, size, 25, 45)):
        mask |= _blob(random, size, _anywhere(random, size), 2.6)
    return np.where(mask, random.uniform(90, 200, size), 0), mask.astype(np.uint8)


def membranes(random: Random, size: Size) -> Made:
    """Dark walls between cells, as in electron micrographs."""
    field = gaussian_filter(random.normal(size=size), 7)
    mask = np.abs(field / field.std()) < 0.25
    return 170 - 90 * gaussian_filter(mask.astype(float), 1) + _texture(random, size, 2, 12), mask.astype(np.uint8)


def brightfield(random: Random, size: Size) -> Made:
    """Faint cells with halos."""
    mask = np.zeros(size, bool)
    for _ in range(_count(random, size, 4, 8)):
        mask |= _blob(random, size, _anywhere(random, size), random.uniform(10, 18))
    soft = gaussian_filter(mask.astype(float), 2)
    halo = gaussian_filter(mask.astype(float), 5) - soft
    image = 128 + 70 * halo + 12 * soft + _texture(random, size, 1.5, 7) + random.normal(0, 3, size)
    return image, mask.astype(np.uint8)


def white_cells(random: Random, size: Size) -> Made:
    """RGB: a stained nucleus and its cytoplasm in the middle, red cells about it; three classes."""
    middle = (size[0] / 2 + random.normal(0, 3), size[1] / 2 + random.normal(0, 3))
    cell = _blob(random, size, middle, random.uniform(0.22, 0.36) * min(size))
    nucleus = _blob(random, size, middle, random.uniform(0.12, 0.2) * min(size), random.uniform(1, 1.5)) & cell
    image = np.full((*size, 3), 225.0) + random.normal(0, 6, 3)
    for _ in range(random.integers(4, 12)):
        red = _blob(random, size, _anywhere(random, size), 0.12 * min(size)) & ~cell
        image[red] = np.array((215, 160, 165)) + random.normal(0, 8, 3)
    image[cell] = np.array((185, 165, 205)) + random.normal(0, 10, 3)
    image[nucleus] = np.array((105, 60, 145)) + random.normal(0, 12, 3)
    image = gaussian_filter(image, (1, 1, 0)) + random.normal(0, 5, image.shape)
    return image, cell.astype(np.uint8) + nucleus


def gratings(random: Random, size: Size) -> Made:
    """Stripes, as of muscle: regular, and alike in all images."""
    y, x = np.mgrid[: size[0], : size[1]]
    turn = random.normal(0, 0.15)
    phase = (x * np.cos(turn) + y * np.sin(turn)) / random.uniform(14, 18) + random.uniform(0, 1)
    mask = ((phase + 0.05 * _texture(random, size, 6, 1)) % 1) < 0.45
    return 90 + 70 * mask + _texture(random, size, 20, 8) + random.normal(0, 10, size), mask.astype(np.uint8)


def fibres(random: Random, size: Size) -> Made:
    """Thin bright filaments that cross each other, one or two pixels wide."""
    image, mask = np.zeros(size), np.zeros(size, bool)
    y, x = np.mgrid[: size[0], : size[1]]
    for _ in range(_count(random, size, 6, 14)):
        turn, (cy, cx) = random.uniform(0, np.pi), _anywhere(random, size)
        across = np.abs((y - cy) * np.cos(turn) - (x - cx) * np.sin(turn) + 3 * np.sin(x / random.uniform(15, 40)))
        image += random.uniform(60, 140) * np.exp(-((across / 1.1) ** 2))
        mask |= across < 1.2
    return 20 + image + random.normal(0, 7, size), mask.astype(np.uint8)


def puncta(random: Random, size: Size) -> Made:
    """Points of three to nine pixels on an even, noisy ground."""
    mask = np.zeros(size, bool)
    for _ in range(_count(random, size, 14, 40)):
        mask |= _blob(random, size, _anywhere(random, size), random.uniform(1.2, 2.0))
    light = gaussian_filter(mask * random.uniform(80, 220, size), 0.5)
    return 30 + light + random.normal(0, 6, size), mask.astype(np.uint8)


def tissue(random: Random, size: Size) -> Made:
    """RGB of stained tissue: purple nuclei in pink, and white holes; nuclei are the class."""
    pink = np.array((225, 160, 190)) + random.normal(0, 8, 3)
    holes = _texture(random, size, 12, 1) > 1.3
    nuclei = np.zeros(size, bool)
    for _ in range(_count(random, size, 18, 40)):
        nuclei |= _blob(random, size, _anywhere(random, size), random.uniform(3.5, 6), random.uniform(1, 2))
    nuclei &= ~holes
    image = np.where(holes[..., None], 243.0, pink + _texture(random, size, 3, 14)[..., None])
    image[nuclei] = np.array((110, 75, 150)) + random.normal(0, 10, 3)
    image = gaussian_filter(image, (0.7, 0.7, 0)) + random.normal(0, 5, image.shape)
    return image, nuclei.astype(np.uint8)


def thin_walls(random: Random, size: Size) -> Made:
    """Cell walls of one or two pixels between many cells."""
    points = random.uniform(0, 1, (_count(random, size, 30, 50), 2)) * size
    y, x = np.mgrid[: size[0], : size[1]]
    far = np.sort(np.hypot(y[..., None] - points[:, 0], x[..., None] - points[:, 1]), -1)
    mask = far[..., 1] - far[..., 0] < 1.6
    image = 60 + 110 * gaussian_filter(mask.astype(float), 0.8) + _texture(random, size, 3, 9)
    return image + random.normal(0, 8, size), mask.astype(np.uint8)


def textures(random: Random, size: Size) -> Made:
    """Two tissues of one brightness, smooth and grainy: nothing in the grey values tells them apart."""
    mask = _texture(random, size, 14, 1) > 0.2
    grain = np.where(mask, _texture(random, size, 0.8, 24), _texture(random, size, 4, 10))
    return 120 + grain + random.normal(0, 3, size), mask.astype(np.uint8)


def colonies(random: Random, size: Size) -> Made:
    """One or two large bodies that fill much of the image, under light from one side; dark in some, bright in none."""
    mask = np.zeros(size, bool)
    for _ in range(random.integers(1, 3)):
        mask |= _blob(random, size, _anywhere(random, size), random.uniform(0.25, 0.5) * min(size), 1.4)
    light = np.linspace(-1, 1, size[1])[None] * random.uniform(10, 45)
    return 170 + light - 40 * mask + _texture(random, size, 2, 9) + random.normal(0, 4, size), mask.astype(np.uint8)


def crowded(random: Random, size: Size) -> Made:
    """Cells that cover nearly all in some images and little in others; three classes with their rims."""
    share = random.uniform(-1.2, 1.2)
    field = _texture(random, size, 6, 1)
    mask = (field > share).astype(np.uint8) + (field > share + 0.35)
    image = 40 + 50.0 * mask + _texture(random, size, 1.2, 7) + random.normal(0, 6, size)
    return image, mask.astype(np.uint8)


def sample_em(random: Random, size: Size) -> Made:
    """What ``rescrnet samples em`` draws."""
    image, mask = draw("em", *size, int(random.integers(1 << 30)))
    return image.astype(float), mask


def sample_fm(random: Random, size: Size) -> Made:
    """What ``rescrnet samples fm`` draws."""
    image, mask = draw("fm", *size, int(random.integers(1 << 30)))
    return image.astype(float), mask


TUNED: tuple[Kind, ...] = (discs, single, spots, membranes, brightfield)
UNSEEN: tuple[Kind, ...] = (
    *(white_cells, gratings, fibres, puncta, tissue, thin_walls, textures, colonies, crowded, sample_em, sample_fm),
)
SIZES: tuple[Size, ...] = ((128, 160), (200, 200), (96, 144), (256, 320))


def made(kind: Kind, seed: int, images: int = 10) -> list[Made]:
    """The images and masks of a set; of every seed another size."""
    random = np.random.default_rng(seed)
    return [kind(random, SIZES[seed % len(SIZES)]) for _ in range(images)]


def cropped(folder: Path, seed: int, side: int) -> list[Made]:
    """A crop of every training image of a published set, the masks as they are stored there."""
    random, found = np.random.default_rng(seed), []
    for file in sorted((folder / "train_local/images/img").iterdir()):
        image = read_pixels(file).colours
        mask = read_pixels(next((folder / "train_local/masks/msk").glob(f"{file.stem}.*")), indices=True).values
        size = [min(side, n) for n in mask.shape[:2]]
        top, left = (int(random.integers(0, n - s + 1)) for n, s in zip(mask.shape, size, strict=False))
        window = np.s_[top : top + size[0], left : left + size[1]]
        found.append((image[window].astype(float), mask[window]))
    return found


def write(folder: Path, images: list[Made], levels: Mapping[int, int] | None = None) -> None:
    """A dataset of ``images`` and ``masks``; class indices become grey levels, or stay where ``levels`` says so."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    classes = max(int(mask.max()) for _, mask in images) + 1
    table = levels or {index: index * 255 // max(1, classes - 1) for index in range(classes)}
    for number, (image, mask) in enumerate(images):
        pixels = image.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels).save(
            folder / f"images/f{number}.png"
        )
        if mask.ndim == 2 and classes <= 8:
            mask = np.array([table[index] for index in range(classes)], np.uint8)[mask]
        Image.fromarray(mask).save(folder / f"masks/f{number}.png")
