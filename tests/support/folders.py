"""Image files and labelled folders for tests."""

import pickle
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

SHARED = Path(__file__).resolve().parents[3] / "shared/data"


def shared(name):
    """A folder of published images beside the checkout; the test is skipped where there is none."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not on this machine")
    return SHARED / name


def save(path, array, **how):
    """Write an array in the format of the suffix, and make its folder; ``how`` goes to the TIFF writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, array, **how)
    elif array.dtype == np.uint16:
        path.write_bytes(imagecodecs.png_encode(array))
    else:
        Image.fromarray(array).save(path)
    return path


def travelled(thing):
    """``thing`` as it arrives in another process."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


def noise(shape=(12, 16), dtype=np.uint8, seed=0):
    """Random pixels over the whole range of their type."""
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, dtype, endpoint=True)


def stripes(*values, shape=(12, 16), dtype=np.uint8):
    """A mask of vertical stripes, one a value; a value may be a colour."""
    table = np.array(values, dtype)
    return table[np.arange(shape[1]) * len(values) // shape[1]][None].repeat(shape[0], axis=0)


def labelled(folder, stems="ab", image=noise(), mask=stripes(0, 1)):  # noqa: B008
    """Write ``images`` and ``masks``, the same for every stem."""
    for stem in stems:
        save(folder / "images" / f"{stem}.png", image)
        save(folder / "masks" / f"{stem}.png", mask)
    return folder
