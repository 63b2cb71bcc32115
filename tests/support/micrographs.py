"""Small micrographs whose masks fit them, as a dataset without a fault, to break in one way at a time."""

import numpy as np
from scipy.ndimage import gaussian_filter

from tests.support.folders import save

SIZE = (40, 48)


def mask_of(seed, size=SIZE):
    """Blobs of two classes on a background: class indices 0, 1, 2."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.standard_normal(size), 4, mode="wrap")
    return np.digitize(smooth, np.quantile(smooth, (0.5, 0.8))).astype(np.uint8)


def image_of(mask, seed, dtype=np.uint8):
    """Grey values that the classes decide, and noise."""
    random = np.random.default_rng(seed + 1000)
    grey = 60 + 60 * mask + random.normal(0, 12, mask.shape)
    scale = 1 if dtype == np.uint8 else 250
    return (grey.clip(0, 240) * scale).astype(dtype)


LEVELS = np.array([0, 128, 255], np.uint8)


def good(folder, stems="abcdefgh", size=SIZE):
    """``images`` and ``masks`` in which no check finds anything."""
    for seed, stem in enumerate(stems):
        mask = mask_of(seed, size)
        save(folder / "images" / f"{stem}.png", image_of(mask, seed))
        save(folder / "masks" / f"{stem}.png", LEVELS[mask])
    return folder
