"""An outline covers the pixels whose centres it holds."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from rescrnet.annotations.shapes import Annotated, Patch, Shape, draw, ellipse, fill, rectangle
from rescrnet.errors import DataError


def centres(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)


def test_a_rectangle_covers_the_pixels_between_its_sides():
    found = fill([rectangle(2, 3, 7, 9)], (12, 16))
    expected = np.zeros((12, 16), bool)
    expected[3:9, 2:7] = True
    np.testing.assert_array_equal(found, expected)


def test_a_polygon_covers_the_pixels_whose_centres_matplotlib_finds_inside():
    rng = np.random.default_rng(0)
    for _ in range(100):
        corners = rng.uniform(-5, 25, (3, 2))
        np.testing.assert_array_equal(
            fill([corners], (20, 22)).ravel(), Outline(corners).contains_points(centres((20, 22)))
        )


def test_the_area_of_a_fine_outline_is_that_of_the_disc():
    angles = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    corners = np.stack([300.2 + 200 * np.cos(angles), 300.7 + 200 * np.sin(angles)], axis=1)
    assert fill([corners], (600, 600)).sum() == pytest.approx(np.pi * 200**2, rel=1e-3)


def test_a_ring_within_a_ring_is_a_hole():
    found = fill([rectangle(2, 2, 10, 10), rectangle(4, 4, 6, 7)], (12, 12))
    assert found.sum() == 64 - 6
    assert not found[4:7, 4:6].any()


def test_polygons_with_a_common_side_share_no_pixel_and_leave_none_out():
    halves = [np.array([[0, 0], [12, 12], [0, 12]], float), np.array([[0, 0], [12, 0], [12, 12]], float)]
    below, above = (fill([half], (12, 12)) for half in halves)
    assert not (below & above).any()
    assert (below | above).all()


def test_a_centre_on_the_outline_is_decided_as_by_imagej():
    found = fill([rectangle(2.5, 2.5, 6.5, 6.5)], (9, 9))
    assert np.flatnonzero(found.any(0)).tolist() == [3, 4, 5, 6]  # not on the left, but on the right
    assert np.flatnonzero(found.any(1)).tolist() == [2, 3, 4, 5]  # on the upper side, not on the lower


def test_an_ellipse_covers_the_centres_within_it():
    patch = ellipse(10.0, 8.0, 5.0, 3.0)
    x, y = centres((20, 20)).T
    inside = ((x - 10) / 5) ** 2 + ((y - 8) / 3) ** 2 <= 1
    found = draw(Annotated(shapes=[Shape("a", [patch])]), (20, 20), "a.json")
    np.testing.assert_array_equal(found == 1, inside.reshape(20, 20))


def test_later_shapes_lie_over_earlier_ones_and_those_of_one_class_merge():
    shapes = [
        Shape("b", [[rectangle(0, 0, 6, 6)]]),
        Shape("a", [[rectangle(4, 0, 8, 6)]]),
        Shape("a", [[rectangle(6, 0, 10, 6)]]),
        Shape("background", [[rectangle(0, 0, 1, 6)]]),
        Shape("__ignore__", [[rectangle(1, 0, 2, 6)]]),
    ]
    found = draw(Annotated(shapes=shapes), (8, 12), "a.json")
    assert found[0].tolist() == [0, -1, 2, 2, 1, 1, 1, 1, 1, 1, 0, 0]
    numbered = draw(Annotated(shapes=shapes), (8, 12), "a.json", numbered=True)
    assert numbered[0].tolist() == [0, -1, 1, 1, 2, 2, 3, 3, 3, 3, 0, 0]


def test_what_sticks_out_a_little_is_cut_off():
    shapes = [Shape("a", [[rectangle(-1, -1, 4, 4)], Patch(np.ones((4, 4), bool), 7, -1)])]
    found = draw(Annotated(shapes=shapes), (10, 20), "a.json")
    assert found.sum() == 16 + 9


@pytest.mark.parametrize("area", [[rectangle(100, 3, 110, 9)], [rectangle(5, 3, 30, 9)], [rectangle(-9, 3, -2, 9)]])
def test_an_outline_of_another_image_is_refused(area):
    with pytest.raises(DataError, match=r"a\.json: an outline of 'x' reaches from .*, outside of the image of 10×20; "):
        draw(Annotated(shapes=[Shape("x", [area])]), (10, 20), "a.json")
