"""Arrays in blocks on disk."""

import numpy as np
import pytest

from rescrnet.inference.blocked_array import BlockedArray
from rescrnet.inference.region import Region, grid

SHAPE = (21, 34)


@pytest.fixture
def stored(tmp_path):
    stored = BlockedArray(tmp_path / "x.blocks", 3, SHAPE, np.float32, block=8)
    stored.create()
    return stored


def region_of(rng):
    y0, y1 = sorted(rng.choice(SHAPE[0] + 1, 2, replace=False))
    x0, x1 = sorted(rng.choice(SHAPE[1] + 1, 2, replace=False))
    return Region(*map(int, (y0, y1, x0, x1)))


def test_any_region_that_is_written_is_read_and_nothing_else_changes(stored):
    rng = np.random.default_rng(0)
    expected = np.zeros((3, *SHAPE), np.float32)
    for _ in range(40):
        region = region_of(rng)
        values = rng.random((3, region.height, region.width), dtype=np.float32)
        stored.write(region, values)
        expected[:, region.y0 : region.y1, region.x0 : region.x1] = values
        asked = region_of(rng)
        part = expected[:, asked.y0 : asked.y1, asked.x0 : asked.x1]
        np.testing.assert_array_equal(stored.read(asked), part)
    np.testing.assert_array_equal(stored.read(Region(0, SHAPE[0], 0, SHAPE[1])), expected)


def test_an_array_is_as_large_on_disk_as_it_says_and_holds_whole_blocks(stored):
    assert stored.size == stored.path.stat().st_size == 3 * 24 * 40 * 4
    assert stored.exists()


def test_an_array_that_is_cut_short_does_not_exist(stored):
    with stored.path.open("r+b") as file:
        file.truncate(100)
    assert not stored.exists()


def test_the_cells_of_a_grid_cover_an_image_once():
    covered = np.zeros((10, 7), int)
    places = []
    for place, region in grid((10, 7), 4, 3):
        covered[region.y0 : region.y1, region.x0 : region.x1] += 1
        places.append(place)
    assert (covered == 1).all()
    assert places[0] == (0, 0)
    assert places[-1] == (2, 2)
