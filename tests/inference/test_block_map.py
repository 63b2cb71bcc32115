"""Maps and marks on disk."""

import numpy as np
import pytest

from rescrnet.inference.block_map import BlockMap
from rescrnet.inference.journal import Marks
from rescrnet.inference.region import Region, grid

SHAPE = (21, 34)


@pytest.fixture
def stored(tmp_path):
    stored = BlockMap(tmp_path / "x.map", 3, SHAPE, np.float32, block=8)
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


def test_a_map_is_as_large_on_disk_as_it_says_and_holds_whole_blocks(stored):
    assert stored.size == stored.path.stat().st_size == 3 * 24 * 40 * 4
    assert stored.exists()


def test_a_map_that_is_cut_short_does_not_exist(stored):
    with stored.path.open("r+b") as file:
        file.truncate(100)
    assert not stored.exists()


def test_a_mark_holds_what_its_task_left(tmp_path):
    marks = Marks(tmp_path / "rows")
    assert marks.done() == set()
    marks.put("3-1", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(Marks(tmp_path / "rows").get("3-1"), [[0, 1, 2], [3, 4, 5]])
    assert marks.done() == {"3-1"}


def test_a_mark_that_was_not_finished_is_no_mark(tmp_path):
    marks = Marks(tmp_path)
    (tmp_path / "0-0.17.partial").write_bytes(b"\x93NUM")
    assert marks.done() == set()


def test_the_cells_of_a_grid_cover_an_image_once():
    covered = np.zeros((10, 7), int)
    places = []
    for place, region in grid((10, 7), 4, 3):
        covered[region.y0 : region.y1, region.x0 : region.x1] += 1
        places.append(place)
    assert (covered == 1).all()
    assert places[0] == (0, 0)
    assert places[-1] == (2, 2)
