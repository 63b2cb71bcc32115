"""Images that show the same place are found with their shift; images that merely resemble each other are not."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from rescrnet.checking.overlaps import find_overlaps
from rescrnet.datasets.synthetic import draw
from rescrnet.images.open import list_images
from rescrnet.images.whole import read_image
from tests.support.folders import shared

FIELD = draw("em", 400, 520, seed=1)[0]
OTHER = draw("em", 400, 520, seed=2)[0]


def places(images):
    return {(found.first, found.second): found.shift for found in find_overlaps(images)}


def test_a_copy_is_found_whatever_its_contrast_noise_and_type():
    noise = np.random.default_rng(0).normal(0, 4, FIELD.shape)
    changed = ((FIELD * 0.6 + 30 + noise) / 255).astype(np.float32)[..., None]
    (found,) = find_overlaps([OTHER, FIELD, changed])
    assert (found.first, found.second, found.shift, found.share) == (1, 2, (0, 0), 1.0)
    assert 0.9 < found.correlation < 1


@pytest.mark.parametrize(
    ("first", "second", "shift"),
    [
        (np.s_[:, :300], np.s_[:, 200:500], (0, 200)),
        (np.s_[150:, :], np.s_[:250, :], (-150, 0)),
        (np.s_[:250, 170:], np.s_[133:, :350], (133, -170)),
        (np.s_[:, :], np.s_[101:300, 203:400], (101, 203)),
    ],
    ids=["beside", "above", "across a corner", "inside"],
)
def test_neighbouring_fields_and_crops_are_found_with_their_shift(first, second, shift):
    assert places([FIELD[first], OTHER, FIELD[second]]) == {(0, 2): shift}


def test_the_share_is_that_of_the_smaller_image():
    (found,) = find_overlaps([FIELD[:, :300], FIELD[:, 200:400]])
    assert found.share == pytest.approx(0.5)


def test_images_of_different_places_of_one_kind_do_not_overlap():
    for kind in ("em", "fm"):
        assert find_overlaps([draw(kind, 200, 260, seed)[0] for seed in range(6)]) == []


def test_images_without_detail_or_of_few_pixels_overlap_with_nothing():
    empty = np.zeros((64, 64), np.uint8)
    assert find_overlaps([empty, empty, np.zeros((3, 500)), np.zeros((1, 1))]) == []
    assert find_overlaps([FIELD]) == []


@pytest.mark.parametrize("name", ["em_vnc", "fm_nuclei", "sem_axons", "em_vnc_native"])
def test_published_images_even_consecutive_sections_are_not_the_same_place(name):
    folders = {path.parent for path in shared(name).rglob("*") if "images" in path.parts and path.is_file()}
    assert find_overlaps([read_image(file) for folder in sorted(folders) for file in list_images(folder)]) == []


def test_crops_of_a_published_image_are_the_same_place():
    image = read_image(shared("em_vnc_native") / "images/00.tif")
    found = places([image[:512, :512], image[512:, 512:], image[200:712, 301:813]])
    assert found == {(0, 2): (200, 301), (1, 2): (-312, -211)}


def grating(seed):
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :200]
    turn = random.normal(0, 0.1)
    stripes = ((x * np.cos(turn) + y * np.sin(turn)) / random.uniform(15, 17) + random.uniform()) % 1 < 0.45
    return 90 + 70 * stripes + random.normal(0, 8, stripes.shape)


def section(seed):
    """A section of a body whose outlines go on from one to the next, while its fine grain does not."""
    shape = (160, 160)
    body = gaussian_filter(np.random.default_rng(1).normal(size=shape), 6)
    return 120 + 30 * body / body.std() + np.random.default_rng(seed).normal(0, 6, shape)


@pytest.mark.parametrize("kind", [grating, section])
def test_stripes_and_sections_that_are_alike_are_not_one_place_but_their_copies_are(kind):
    images = [kind(seed) for seed in range(8)]
    assert find_overlaps(images) == []
    copy = images[2] * 0.8 + 15 + np.random.default_rng(9).normal(0, 3, images[2].shape)
    assert places([*images, copy]) == {(2, 8): (0, 0)}
