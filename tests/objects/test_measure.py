"""Measures are those of scikit-image where it has one of the name, in bands of any height."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from skimage.measure import regionprops, regionprops_table

from rescrnet.images.open import wrap
from rescrnet.objects.find import find_objects
from rescrnet.objects.measure import axes_of, measure
from rescrnet.objects.table import columns_of
from tests.support.blobs import WAYS, evidence, probabilities


@pytest.fixture(scope="module")
def objects():
    return find_objects(evidence(probabilities(90, 110, 4), **WAYS["watershed of all that hangs together"]))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 60000, (90, 110, 2)).astype(np.uint16)


@pytest.fixture(scope="module")
def expected(objects, image):
    names = ("area", "centroid", "bbox", "perimeter", "eccentricity", "orientation", "equivalent_diameter_area")
    intensities = tuple(f"intensity_{name}" for name in ("mean", "std", "min", "max"))
    return regionprops_table(objects.whole(), image, properties=(*names, *intensities))


@pytest.mark.parametrize("band", [None, 1, 7])
def test_measures_are_those_of_scikit_image(objects, image, expected, band):
    measured = measure(objects, wrap(image, "yxc")[0].source, band=band)
    table = columns_of(measured, None)
    same = {
        "area": "area_px",
        "centroid-0": "centroid_y_px",
        "centroid-1": "centroid_x_px",
        "bbox-0": "bbox_y0_px",
        "bbox-1": "bbox_x0_px",
        "bbox-2": "bbox_y1_px",
        "bbox-3": "bbox_x1_px",
        "perimeter": "perimeter_px",
        "eccentricity": "eccentricity",
        "equivalent_diameter_area": "equivalent_diameter_area_px",
        **{f"intensity_{n}-{c}": f"intensity_{n}_{c}" for n in ("mean", "std", "min", "max") for c in (0, 1)},
    }
    assert len(table["label"]) > 10
    for theirs, ours in same.items():
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-6, atol=1e-6, err_msg=ours)
    turned = np.degrees(expected["orientation"]) + 90 - table["orientation_deg"]
    np.testing.assert_allclose((turned + 90) % 180 - 90, 0, atol=1e-6)


def test_hulls_and_widths_are_those_of_the_corners_of_pixels(objects):
    measured = measure(objects, band=13)
    for region in regionprops(objects.whole())[:8]:
        place = region.label - 1
        corners = np.concatenate([region.coords + shift for shift in ([0, 0], [0, 1], [1, 0], [1, 1])])
        angles = np.radians(np.arange(0, 180, 0.05))
        widths = np.ptp(corners @ np.stack([np.sin(angles), np.cos(angles)]), axis=0)
        assert measured.hulls.longest[place] == pytest.approx(pdist(corners).max())
        assert measured.hulls.shortest[place] == pytest.approx(widths.min(), abs=0.02)
        assert measured.hulls.shortest[place] <= widths.min() + 1e-9
        assert 0 < region.area / measured.hulls.area[place] <= 1


def test_a_rectangle_is_measured_in_micrometres_of_pixels_that_are_not_square():
    mask = np.ones((12, 30), np.uint8)
    mask[2:8, 5:25] = 0
    measured = measure(find_objects(evidence(mask)), pixel_size=(0.5, 0.25))
    table = columns_of(measured, (0.5, 0.25))
    known = {
        "area_px": 120,
        "area_um2": 15,
        "feret_diameter_max_um": np.hypot(3, 5),
        "feret_diameter_min_um": 3,
        "feret_diameter_min_px": 6,
        "solidity": 1,
        "orientation_deg": 0,
        "centroid_y_um": 2.5,
        "centroid_x_um": 3.75,
    }
    for name, value in known.items():
        assert table[name][0] == pytest.approx(value), name
    assert np.isnan(table["perimeter_um"][0])
    assert np.isnan(table["nearest_distance_px"][0])
    assert not table["touches_edge"][0]


def test_neighbours_touch_at_sides_or_corners():
    mask = np.array([[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 1], [0, 1, 1, 1]], np.uint8)
    measured = measure(find_objects(evidence(mask, boundary="b")), band=1)
    assert measured.neighbours.tolist() == [1, 1, 2, 0]
    assert measured.at_border.tolist() == [True, True, False, True]


def test_one_pixel_has_measures_too():
    mask = np.ones((5, 5), np.uint8)
    mask[2, 2] = 0
    table = columns_of(measure(find_objects(evidence(mask))), None)
    assert (table["area_px"][0], table["eccentricity"][0], table["solidity"][0]) == (1, 0, 1)
    assert table["feret_diameter_max_px"][0] == pytest.approx(2**0.5)


def test_no_objects_make_an_empty_table():
    table = columns_of(measure(find_objects(evidence(np.ones((5, 6), np.uint8)))), None)
    assert {len(column) for column in table.values()} == {0}


def test_eccentricity_of_a_line_is_one():
    eccentricity, angle = axes_of(np.array([[0.0, 8.0, 0.0], [2.0, 2.0, -2.0]]), (1, 1))
    assert eccentricity == pytest.approx([1, 1])
    assert angle == pytest.approx([0, 45])
