"""A mask explains its own image, whether classes are bright or dark, and not another or itself mirrored."""

import numpy as np
import pytest

from rescrnet.checking.explained import cross_explained, explained, turned
from rescrnet.datasets.facts import class_facts
from tests.support.micrographs import image_of, mask_of


def maps_of(mask):
    return class_facts(mask, 3).maps


def grey(mask, seed):
    return image_of(mask, seed).astype(np.float32) / 255


def test_all_of_the_variance_is_explained_where_classes_are_flat():
    mask = mask_of(0)
    flat = np.array([0.25, 0.04, 0.81], np.float32)[mask]
    assert explained(maps_of(mask), [flat]) == pytest.approx([1], abs=1e-6)


def test_nothing_is_explained_of_a_constant_image():
    assert explained(maps_of(mask_of(0)), [np.full((40, 48), 0.5, np.float32)]).tolist() == [0]


def test_the_share_is_that_of_a_linear_regression():
    mask, noise = mask_of(1), np.random.default_rng(0).random((40, 48)).astype(np.float32)
    maps = maps_of(mask)
    known = np.column_stack([maps.reshape(len(maps), -1).T / 255, np.ones(mask.size)])
    values = np.sqrt(noise).ravel().astype(np.float64)
    rest = values - known @ np.linalg.lstsq(known, values, rcond=None)[0]
    assert explained(maps, [noise]) == pytest.approx([1 - rest.var() / values.var()], rel=1e-4)


def test_masks_explain_their_own_images_best():
    masks = {seed: mask_of(seed) for seed in range(5)}
    fits = cross_explained(
        {seed: maps_of(mask) for seed, mask in masks.items()}, {seed: grey(mask, seed) for seed, mask in masks.items()}
    )
    for seed, row in fits.items():
        assert max(row, key=row.get) == seed
        assert row[seed] > 0.8
        assert all(other < 0.3 for number, other in row.items() if number != seed)


def test_images_of_other_sizes_are_not_compared():
    small = mask_of(1, (32, 32))
    fits = cross_explained({0: maps_of(mask_of(0))}, {0: grey(mask_of(0), 0), 1: grey(small, 1)})
    assert list(fits[0]) == [0]


def test_a_mirrored_mask_fits_when_it_is_mirrored_back():
    mask = mask_of(3)
    ways = turned(maps_of(mask[:, ::-1]), grey(mask, 3))
    assert max(ways, key=ways.get) == "mirrored left to right"
    assert set(ways) == {"mirrored left to right", "mirrored top to bottom", "rotated by 180°"}


@pytest.mark.parametrize(
    ("turn", "way"),
    [(np.transpose, "transposed"), (np.rot90, "rotated by 270°"), (lambda a: np.rot90(a, 3), "rotated by 90°")],
)
def test_a_square_mask_that_was_turned_fits_when_it_is_turned_back(turn, way):
    mask = mask_of(4, (40, 40))
    ways = turned(maps_of(turn(mask)), grey(mask, 4))
    assert max(ways, key=ways.get) == way
    assert ways[way] > 0.8
