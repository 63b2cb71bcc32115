"""An image whose intensities lie far outside those of training is named; another of the same dataset is not."""

import numpy as np
import pytest

from rescrnet.checking.check import load_dataset
from rescrnet.datasets.synthetic import draw
from rescrnet.intensity_profile import IntensityProfile
from tests.support.folders import shared


def drawn(kind, seeds):
    images = [draw(kind, 144, 192, seed)[0].astype(np.float32) / 255 for seed in seeds]
    return [image if image.ndim == 3 else image[..., None] for image in images]


@pytest.fixture(scope="module", params=["em", "fm"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def known(kind):
    return IntensityProfile.fit(drawn(kind, range(8)))


def test_other_images_of_the_same_kind_are_like_it(kind, known):
    assert [known.out_of_distribution(image) for image in drawn(kind, range(8, 14))] == [None] * 6


@pytest.mark.parametrize("divisor", [16, 257])
def test_images_squeezed_into_a_part_of_the_range_are_not(kind, known, divisor):
    for image in drawn(kind, range(8, 11)):
        assert "lie far from those of the training images" in known.out_of_distribution(image / divisor)


def test_a_stretched_range_of_one_channel_is_named_with_its_number():
    known = IntensityProfile.fit(drawn("fm", range(8)))
    image = drawn("fm", [9])[0]
    image[..., 1] /= 20
    assert "intensities of channel 2, " in known.out_of_distribution(image)


def test_inverted_contrast_is_known_by_detail_where_the_range_does_not_show_it():
    known = IntensityProfile.fit(drawn("em", range(8)))
    for image in drawn("em", range(8, 11)):
        assert known.out_of_distribution(1 - image) == (
            "detail is bright on dark but dark on bright in the training images: is the contrast inverted?"
        )


def test_a_profile_survives_being_stored(known):
    assert IntensityProfile.model_validate_json(known.model_dump_json()) == known
    assert len(known.model_dump_json()) < 1000


def test_images_of_one_value_and_few_pixels_are_summarised_too():
    flat = IntensityProfile.fit([np.full((1, 1, 1), 0.5, np.float32)])
    assert flat.out_of_distribution(np.full((3, 2, 1), 0.5, np.float32)) is None
    assert flat.out_of_distribution(np.full((3, 2, 1), 0.9, np.float32))


def published(name):
    data = load_dataset(shared(name))
    return [sample.image for sample in data.train], [sample.image for sample in data.val]


@pytest.mark.parametrize("name", ["em_vnc", "fm_nuclei", "sem_axons", "em_vnc_native"])
def test_published_images_are_like_their_own_dataset_and_not_when_squeezed(name):
    train, val = published(name)
    known = IntensityProfile.fit(train)
    assert [known.out_of_distribution(image) for image in (*train, *val)] == [None] * len(train + val)
    assert all(known.out_of_distribution(image / 16) for image in val)


@pytest.mark.parametrize("name", ["em_vnc", "fm_nuclei", "em_vnc_native"])
def test_inverted_published_images_are_named(name):
    train, val = published(name)
    known = IntensityProfile.fit(train)
    assert all(known.out_of_distribution(1 - image) for image in val)


def spots(seed):
    """A field of which 99.8 % are 0, as with a cleaned background."""
    random = np.random.default_rng(seed)
    image = np.zeros((96, 128, 1), np.float32)
    for _ in range(3):
        y, x = random.integers(5, 88), random.integers(5, 120)
        image[y : y + 3, x : x + 3] = random.uniform(0.006, 0.014)
    return image


def test_sparse_fields_are_alike_and_full_ones_are_not():
    known = IntensityProfile.fit([spots(seed) for seed in range(5)])
    assert [known.out_of_distribution(spots(seed)) for seed in range(5, 25)] == [None] * 20
    assert "lie far from" in known.out_of_distribution(np.random.default_rng(0).random((96, 128, 1), np.float32))
