"""How thick classes are: bands and discs of known size, in any direction."""

import numpy as np
import pytest

from rescrnet.classes import IGNORE
from rescrnet.datasets.thickness import border_lengths, thickness

Y, X = np.indices((300, 300))


def across(mask, classes=2):
    return thickness(np.bincount(mask.ravel(), minlength=256)[:classes], border_lengths(mask, classes))


@pytest.mark.parametrize("angle", np.linspace(0.2, 3, 9))
def test_a_band_is_as_thick_as_it_is_wide_on_average_over_directions(angle):
    bands = ((Y * np.cos(angle) + X * np.sin(angle)) % 40 < 12).astype(np.uint8)
    assert across(bands)[1] == pytest.approx(12, rel=0.3)
    assert across(bands)[0] == pytest.approx(28, rel=0.3)


def test_a_disc_has_its_radius():
    disc = (np.hypot(Y - 150, X - 150) < 60).astype(np.uint8)
    assert across(disc)[1] == pytest.approx(60, rel=0.03)


def test_unlabelled_pixels_and_the_end_of_the_image_are_no_border():
    halves = np.repeat(np.array([[0, 1]], np.uint8), 150, axis=1).repeat(300, axis=0)
    assert border_lengths(halves, 2).tolist() == [300, 300]
    halves[:, 149:151] = IGNORE
    assert border_lengths(halves, 2).tolist() == [0, 0]


def test_a_class_without_border_is_infinitely_thick_and_one_without_pixels_not_at_all():
    assert across(np.zeros((9, 9), np.uint8)).tolist() == [np.inf, 0]
