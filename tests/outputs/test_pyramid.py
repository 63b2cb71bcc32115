"""Pyramids halve, classes by the nearest pixel, probabilities by the mean."""

import tracemalloc

import numpy as np
import pytest

from rescrnet.images.npy import RawArray
from rescrnet.outputs.pyramid import build_pyramid, level_sizes, pyramid_bytes
from tests.support.folders import noise

WHOLE = slice(None)


def scratch(folder, array):
    made = RawArray.create(folder / "a.npy", array.shape, array.dtype)
    made[(WHOLE,) * array.ndim] = array
    return made


@pytest.mark.parametrize(
    ("size", "count", "sizes"),
    [
        ((512, 512), None, [(512, 512)]),
        ((513, 20), None, [(513, 20), (257, 10)]),
        ((2001, 1000), None, [(2001, 1000), (1001, 500), (501, 250)]),
        ((5, 3), 4, [(5, 3), (3, 2), (2, 1), (1, 1)]),
        ((5000, 5000), 1, [(5000, 5000)]),
    ],
)
def test_levels_halve_until_one_fits_a_screen_or_there_are_as_many_as_asked(size, count, sizes):
    assert level_sizes(*size, count) == sizes
    assert pyramid_bytes(*size, 4, count) == 4 * sum(rows * columns for rows, columns in sizes)


def test_classes_take_the_upper_left_of_four_pixels(tmp_path):
    array = noise((2, 5, 7)) % 3
    levels = build_pyramid(scratch(tmp_path, array), tmp_path, 3)
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(level[(WHOLE, WHOLE, WHOLE)], array[:, :: 2**number, :: 2**number])


def test_probabilities_take_the_mean_of_four_pixels_and_edges_repeat(tmp_path):
    array = np.array([[[[0, 1, 0.5], [1, 1, 0.25], [0.5, 0, 1]]]], np.float32)
    half = build_pyramid(scratch(tmp_path, array), tmp_path, 2)[1]
    np.testing.assert_allclose(half[(0, 0, WHOLE, WHOLE)], [[0.75, 0.375], [0.25, 1]])
    assert half.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_bands_change_nothing(tmp_path, monkeypatch, dtype):
    array = scratch(tmp_path, noise((1, 37, 23)).astype(dtype))
    whole = build_pyramid(array, tmp_path, 2)[1][(WHOLE, WHOLE, WHOLE)]
    monkeypatch.setattr("rescrnet.outputs.pyramid.BAND", 4 * 23 * np.dtype(dtype).itemsize)
    np.testing.assert_array_equal(build_pyramid(array, tmp_path, 2)[1][(WHOLE, WHOLE, WHOLE)], whole)


def test_memory_is_a_few_bands(tmp_path, monkeypatch):
    monkeypatch.setattr("rescrnet.outputs.pyramid.BAND", 1 << 16)
    array = RawArray.create(tmp_path / "a.npy", (1, 4000, 2000), np.float32)
    tracemalloc.start()
    build_pyramid(array, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 16  # of 32 MB
