"""Pictures for people: class colours, stretched intensities, overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rescrnet.atomic import write_atomically


def hex_to_rgb(colour: str) -> tuple[int, int, int]:
    """``"#rrggbb"`` → three numbers from 0 to 255; raises :class:`ValueError` where it is no such text."""
    value = int(colour.removeprefix("#"), 16)
    return value >> 16, value >> 8 & 255, value & 255


def colourise(mask: NDArray[np.integer[Any]], colours: Sequence[str]) -> NDArray[np.uint8]:
    """Class indices YX → RGB uint8 YXC, with one ``"#rrggbb"`` a class."""
    table = np.array([hex_to_rgb(colour) for colour in colours], dtype=np.uint8)
    coloured: NDArray[np.uint8] = table[mask]
    return coloured


def to_display(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """YXC float → RGB uint8 YXC for display: stretched between the 0.5 and 99.8 percentiles of each channel."""
    low, high = np.percentile(image, (0.5, 99.8), axis=(0, 1))
    stretched = np.clip((image - low) / np.maximum(high - low, 1e-12), 0, 1)
    rgb = np.repeat(stretched, 3, axis=-1) if image.shape[-1] == 1 else stretched[..., :3]
    return (rgb * 255).round().astype(np.uint8)


def overlay(image: NDArray[np.float32], mask: NDArray[np.uint8], colours: list[str]) -> NDArray[np.uint8]:
    """The classes in colour over the image (YXC float): RGB uint8 YXC, outlines stronger than areas."""
    grey = to_display(image).astype(np.float32)
    colour = colourise(mask, colours).astype(np.float32)
    edge = np.zeros(mask.shape, bool)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    strength = np.where(edge, 0.9, 0.35)[..., None]
    return np.asarray((grey * (1 - strength) + colour * strength).round(), dtype=np.uint8)


def save_png(path: Path, array: NDArray[np.uint8]) -> None:
    """Write YX or YXC uint8 as PNG."""
    write_atomically(path, lambda partial: Image.fromarray(array).save(partial, "PNG"))
