"""Random geometric augmentation (paper, "Data augmentation").

One mechanism serves whole images and patches: a window is laid over the image, rotated, sheared, scaled and mirrored
about its centre, and read off. Beyond the border of the image the image is reflected. An unlabelled pixel is 0 in every
class of a one-hot mask, so that what is warped along is where the mask is labelled, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, pi, radians, sin
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rescrnet.classes import IGNORE
from rescrnet.config import AugmentationConfig

_LABELLED = 0.499  # a pixel is labelled if half of what bilinear reading mixes for it is, give or take rounding
_DEEPEST = 2.0  # scaled intensities below the darkest pixel that the black level is looked for


@dataclass(frozen=True)
class Window:
    """A window on an image: output pixel (y, x), from the window's centre, reads the image at matrix @ (y, x) + centre.

    Attributes:
        matrix: 2×2, in pixels, rows first.
        centre: (y, x) pixels, 0 the centre of the first pixel.
    """

    matrix: NDArray[np.float64]
    centre: tuple[float, float]

    @classmethod
    def draw(
        cls, rng: np.random.Generator, image: tuple[int, int], size: tuple[int, int], settings: AugmentationConfig
    ) -> Self:
        """Draw a random window of ``size`` for an image of height and width ``image``.

        The window lies anywhere within the image, in the middle along a side that it covers whole, and is then shifted.
        """
        place = []
        for length, extent in zip(image, size, strict=True):
            room = max(0.0, (length - extent) / 2)
            shift = extent * rng.uniform(-settings.shift, settings.shift)
            place.append((length - 1) / 2 + rng.uniform(-room, room) + shift)
        angle = radians(rng.uniform(-settings.rotation, settings.rotation))
        slant = radians(rng.uniform(-settings.shear, settings.shear))
        zoom = rng.uniform(1 - settings.zoom, 1 + settings.zoom, size=2)
        mirror = rng.choice((-1, 1), size=2) if settings.flip else np.ones(2)
        rotation = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
        shear = np.array([[1, -sin(slant)], [0, cos(slant)]])
        return cls(rotation @ shear @ np.diag(zoom * mirror), (place[0], place[1]))

    @classmethod
    def upright(cls, rng: np.random.Generator, image: tuple[int, int], size: tuple[int, int], *, flip: bool) -> Self:
        """Draw a window whose pixels are pixels of the image, mirrored and turned by quarters."""
        turn = np.array([[0, 1], [1, 0]]) if flip and size[0] == size[1] and rng.integers(2) else np.eye(2)
        mirror = rng.choice((-1, 1), size=2) if flip else np.ones(2)
        corner = [
            rng.integers(0, max(0, n - m) + 1) if n > m else (n - m) // 2 for n, m in zip(image, size, strict=True)
        ]
        centre = [float(first + (m - 1) / 2) for first, m in zip(corner, size, strict=True)]
        return cls(turn @ np.diag(mirror), (centre[0], centre[1]))

    def about(self, pixel: tuple[int, int], size: tuple[int, int], rng: np.random.Generator) -> Self:
        """The window moved so that ``pixel`` (y, x) of the image lies in the middle half of its ``size``, at random."""
        offset = [rng.integers(n // 4, n - n // 4) - (n - 1) / 2 for n in size]
        centre = np.array(pixel) - self.matrix @ offset
        return replace(self, centre=(float(centre[0]), float(centre[1])))

    def read(self, image: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
        """Read the window off ``image`` (C, H, W), the image reflected beyond its border: (C, *size)."""
        # Coordinates about the centre, symmetric, so that a window without transform is the image itself.
        rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in size)
        (a, b), (c, d) = self.matrix.tolist()
        y = a * rows[:, None] + b * columns[None, :] + self.centre[0]
        x = c * rows[:, None] + d * columns[None, :] + self.centre[1]
        height, width = image.shape[1:]
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1).to(image.dtype)
        return F.grid_sample(image[None], grid[None], mode, padding_mode="reflection", align_corners=False)[0]


def augmented_batch(
    images: Sequence[Tensor],
    masks: Sequence[Tensor],
    size: tuple[int, int],
    settings: AugmentationConfig,
    rngs: Sequence[np.random.Generator],
    black: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One random window of every image.

    Args:
        images: (C, H, W) float32, intensities scaled; sizes may differ.
        masks: (classes, H, W) float32, one-hot, all 0 at unlabelled pixels; at least one pixel is labelled.
        size: height and width of the windows.
        settings: how far to transform.
        rngs: the source of randomness of each image.
        black: what no light at all is scaled to, (C, 1, 1); if left out, the darkest value of a window is taken for it.

    Returns:
        Images (N, C, *size) and one-hot masks (N, classes, *size), each with at least one labelled pixel.
    """
    pairs = [_pair(*one, size, settings, black) for one in zip(images, masks, rngs, strict=True)]
    batch = torch.stack([image for image, _ in pairs]).contiguous(memory_format=torch.channels_last)
    return batch, torch.stack([mask for _, mask in pairs])


def _pair(
    image: Tensor,
    mask: Tensor,
    rng: np.random.Generator,
    size: tuple[int, int],
    settings: AugmentationConfig,
    black: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """A random window of an image and of its mask."""
    shape = (image.shape[1], image.shape[2])
    upright = settings.upright > 0 and rng.random() < settings.upright
    if upright:
        window = Window.upright(rng, shape, size, flip=settings.flip)
    else:
        window = Window.draw(rng, shape, size, settings)
    warped = window.read(mask, size)
    if warped.sum(0).max() < _LABELLED:
        rows, columns = torch.nonzero(mask.sum(0), as_tuple=True)
        chosen = int(rng.integers(len(rows)))
        window = window.about((int(rows[chosen]), int(columns[chosen])), size, rng)
        warped = window.read(mask, size)
    read = window.read(image, size, "bilinear" if upright else settings.interpolation)
    smooth = settings.interpolation == "bilinear" and not upright
    return _change_intensity(read, settings, rng, black), one_hot_again(warped[None], smooth=smooth)[0]


def one_hot_again(masks: Tensor, *, smooth: bool = True) -> Tensor:
    """Smooth warped one-hot masks (N, classes, H, W) by a 3×3 average and make them one-hot again.

    A pixel is labelled where at least half of what was read for it was, whatever its neighbours: smoothing decides
    which class a labelled pixel has, and neither spreads nor eats what is labelled.
    """
    smoothed = F.avg_pool2d(masks, 3, stride=1, padding=1, count_include_pad=False) if smooth else masks
    best = smoothed.max(1, keepdim=True).indices  # argmax over this axis takes ten times as long
    labelled = (masks.sum(1, keepdim=True) >= _LABELLED).to(masks.dtype)
    return torch.zeros_like(masks).scatter_(1, best, labelled)


def _change_intensity(
    image: Tensor, settings: AugmentationConfig, rng: np.random.Generator, black: Tensor | None
) -> Tensor:
    """Change sharpness, shading, brightness, contrast, gamma and colour at random; (C, H, W), intensities scaled."""
    if settings.sharpness:
        image = image + rng.uniform(-settings.sharpness, settings.sharpness) * (image - _blurred(image))
    if settings.shading:
        level = _black_level(image, black, rng)
        image = (image - level) * (1 + _ramp(image.shape[1:], settings.shading, rng)) + level
    brightness, contrast, gamma = (
        rng.uniform(-most, most) for most in (settings.brightness, settings.contrast, settings.gamma)
    )
    if gamma:
        low, span = image.amin(), (image.amax() - image.amin()).clamp(min=1e-6)
        image = ((image - low) / span) ** (1 + gamma) * span + low
    if brightness or contrast:
        mean = image.mean()
        image = (image - mean) * (1 + contrast) + mean + brightness * image.std()
    if settings.colour and len(image) > 1:
        gain, shift = torch.from_numpy(rng.uniform(-settings.colour, settings.colour, (2, len(image), 1, 1))).float()
        mean, deviation = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True)
        image = (image - mean) * (1 + gain) + mean + shift * deviation
    return image


def _blurred(image: Tensor) -> Tensor:
    """(C, H, W), smoothed by a Gaussian of one pixel."""
    taps = torch.exp(-(torch.arange(-3, 4, dtype=image.dtype) ** 2) / 2)
    taps = taps / taps.sum()
    padded = F.pad(image[:, None], (3, 3, 3, 3), mode="replicate")
    return F.conv2d(F.conv2d(padded, taps.view(1, 1, 7, 1)), taps.view(1, 1, 1, 7))[:, 0]


def _black_level(image: Tensor, black: Tensor | None, rng: np.random.Generator) -> Tensor:
    """What light of any strength leaves as it is, (C, 1, 1): the darkest value of an image that was stretched or of a
    camera with an offset, that of no light in a slide seen by transmitted light; so a random one between them.
    """
    darkest = image.amin((1, 2), keepdim=True)
    if black is None:
        return darkest
    lowest = torch.minimum(darkest, torch.maximum(black, darkest - _DEEPEST))
    return torch.lerp(darkest, lowest, rng.uniform())


def _ramp(size: Sequence[int], most: float, rng: np.random.Generator) -> Tensor:
    """(H, W), rising evenly in a random direction, from -a in one corner to a in the opposite; a up to ``most``."""
    angle, steepness = rng.uniform(0, 2 * pi), rng.uniform(0, most)
    across = sin(angle), cos(angle)
    rows, columns = (torch.linspace(-share, share, n) for share, n in zip(across, size, strict=True))
    return (rows[:, None] + columns) * (steepness / (abs(across[0]) + abs(across[1])))


def one_hot(mask: NDArray[np.uint8], classes: int) -> Tensor:
    """Class indices YX → (classes, Y, X) float32, all 0 at unlabelled pixels."""
    # IGNORE equals no class; the layout in memory is that of the mask, the classes of a pixel side by side.
    hot = (mask[..., None] == np.arange(classes, dtype=np.uint8)).astype(np.float32)
    return torch.from_numpy(hot).permute(2, 0, 1)


def class_indices(masks: Tensor) -> NDArray[np.uint8]:
    """The inverse of :func:`one_hot`."""
    indices = masks.argmax(0).masked_fill(masks.sum(0) == 0, IGNORE)
    return np.asarray(indices.to(torch.uint8).cpu().numpy())
