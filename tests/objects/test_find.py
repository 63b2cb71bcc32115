"""Objects of an image that is worked on in tiles are those of the whole image, pixel by pixel."""

import numpy as np
import pytest
from scipy.ndimage import label
from skimage.segmentation import watershed

from rescrnet.errors import UsageError
from rescrnet.inference.journal import Journal
from rescrnet.inference.region import Region
from rescrnet.object_settings import ObjectSettings, default_settings
from rescrnet.objects import find, flood
from rescrnet.objects.find import find_objects, objects_of, tile_side
from rescrnet.objects.scratch import OnDisk
from tests.support.blobs import WAYS, evidence, probabilities


@pytest.fixture
def narrow_windows(monkeypatch):
    """Windows so narrow that most of them have to be widened."""
    monkeypatch.setattr(flood, "HALO", 1)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("kind", ["probabilities", "class mask"])
@pytest.mark.parametrize("shape", [(110, 143), (1, 90), (70, 1)])
def test_objects_found_in_tiles_are_those_of_the_whole_image(way, kind, shape, narrow_windows):
    array = probabilities(*shape)
    if kind == "class mask":
        array = array.argmax(0).astype(np.uint8)
    whole = find_objects(evidence(array, **way))
    for tile in (7, 32, 90):
        tiled = find_objects(evidence(array, **way), tile=tile)
        np.testing.assert_array_equal(tiled.whole(), whole.whole())
        np.testing.assert_array_equal(tiled.boxes, whole.boxes)
    if min(shape) > 50:
        assert whole.count > 10


def test_a_window_that_were_not_widened_would_be_wrong(monkeypatch):
    """The test above can fail: without the certificate it does."""
    array = probabilities(110, 143)
    way = WAYS["watershed of all that hangs together"]
    whole = find_objects(evidence(array, **way)).whole()
    monkeypatch.setattr(flood, "HALO", 1)
    monkeypatch.setattr(flood, "_outer", lambda region, shape: np.zeros((region.height, region.width), bool))
    assert (find_objects(evidence(array, **way), tile=32).whole() != whole).any()


def test_floods_are_those_of_the_plain_watershed():
    """Where no two heights are alike there is but one flood."""
    array = probabilities(80, 90)
    how = ObjectSettings(split="watershed", boundary="b", with_boundary=True, threshold=0.3, seed_threshold=0.3)
    found = objects_of(array, 0, 1, how)
    area, surplus = array[0] + array[1] > 0.3, array[0] - array[1]
    seeds, _ = label(area & (surplus > 0.3))
    plain = watershed(-surplus, seeds, mask=area)
    assert ((found > 0) == (plain > 0)).all()
    shared = np.histogram2d(found.ravel(), plain.ravel(), (found.max() + 1, plain.max() + 1))[0]
    assert shared[1:, 1:].max(1).sum() > 0.99 * (found > 0).sum()


def test_connected_parts_are_those_of_scipy():
    mask = probabilities(60, 70).argmax(0).astype(np.uint8)
    expected, count = label(mask == 0, np.ones((3, 3)))
    found = find_objects(evidence(mask), tile=13)
    assert found.count == count
    np.testing.assert_array_equal(found.whole(), expected)


def test_objects_of_a_class_with_a_boundary_do_not_join_at_corners():
    mask = np.array([[0, 1], [1, 0]], np.uint8)
    assert objects_of(mask, 0, None, ObjectSettings()).max() == 1
    assert objects_of(mask, 0, 1, ObjectSettings(boundary="b")).max() == 2


def test_small_objects_and_those_at_the_border_are_dropped_and_holes_filled():
    mask = np.ones((20, 20), np.uint8)
    mask[0:4, 0:4] = mask[8:14, 8:14] = 0  # at the border, and in the middle
    mask[10, 10] = mask[17, 17] = 2
    mask[16, 3] = 0
    everything = objects_of(mask, 0, None, ObjectSettings())
    assert everything.max() == 3
    chosen = objects_of(mask, 0, None, ObjectSettings(smallest=2, drop_edge=True, fill_holes=1))
    expected = np.zeros((20, 20), int)
    expected[8:14, 8:14] = 1
    np.testing.assert_array_equal(chosen, expected)


def test_touching_discs_are_parted_by_distance():
    rows, columns = np.indices((40, 70))
    mask = np.ones((40, 70), np.uint8)
    for centre in (20, 38):
        mask[(rows - 20) ** 2 + (columns - centre) ** 2 <= 100] = 0
    assert objects_of(mask, 0, None, ObjectSettings()).max() == 1
    parted = objects_of(mask, 0, None, ObjectSettings(split="distance", radius=5))
    assert parted.max() == 2
    assert (parted[20, [15, 43]] == [1, 2]).all()


def test_what_is_done_is_not_done_again_after_an_interruption(tmp_path, monkeypatch):
    array, way = probabilities(60, 70), WAYS["watershed of all that hangs together"]
    whole = find_objects(evidence(array, **way)).whole()
    calls, again, really = [], [], flood.flood_tile

    def interrupted(*arguments):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(arguments[1])
        return really(*arguments)

    monkeypatch.setattr(find, "flood_tile", interrupted)
    scratch = OnDisk(Journal.open(tmp_path / "scratch", "this"))
    with pytest.raises(KeyboardInterrupt):
        find_objects(evidence(array, **way), scratch, tile=20)
    monkeypatch.setattr(find, "flood_tile", lambda *arguments: again.append(arguments[1]) or really(*arguments))
    resumed = find_objects(evidence(array, **way), OnDisk(Journal.open(tmp_path / "scratch", "this")), tile=20)
    np.testing.assert_array_equal(resumed.whole(), whole)
    assert len(calls) == 3
    assert not set(calls) & set(again)


def test_a_cluster_that_does_not_fit_the_memory_is_refused_in_one_line():
    scores = np.full((3, 400, 2000), 0.3, np.float32)
    scores[0, 5, 5] = 0.9  # one seed, and nothing else is sure
    how = ObjectSettings(split="watershed", boundary="b", with_boundary=True, seed_threshold=0.5)
    whole = find_objects(evidence(scores, **how.model_dump()))
    assert whole.count == 1
    with pytest.raises(UsageError, match=r"hang together over more than .*--memory"):
        find_objects(evidence(scores, **how.model_dump()), memory=400 * 400 * find.BYTES, tile=100)


def test_too_little_memory_for_a_tile_is_refused():
    with pytest.raises(UsageError, match=r"give at least .* more"):
        tile_side(1000, ObjectSettings(), (100, 100))
    assert tile_side(10**9, ObjectSettings(), (100, 120)) == 120


def test_what_has_objects_is_known_by_names():
    assert list(default_settings(["fibre", "boundary", "gap"])) == ["fibre"]
    assert list(default_settings(["cytoplasm", "nucleus", "mitochondrion"])) == ["nucleus", "mitochondrion"]
    settings = default_settings(["background", "interior", "boundary"], numbered=True)["interior"]
    assert (settings.boundary, settings.with_boundary, settings.split) == ("boundary", True, "watershed")


def test_a_region_of_the_objects_is_that_of_the_whole():
    found = find_objects(evidence(probabilities(40, 50)))
    np.testing.assert_array_equal(found.read(Region(3, 20, 8, 31)), found.whole()[3:20, 8:31])
