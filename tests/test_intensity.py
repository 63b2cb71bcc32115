"""Intensity scaling is fitted once and applied alike."""

import numpy as np
import pytest

from rescrnet.intensity import IntensityScaling, normalise_image

rng = np.random.default_rng(0)
IMAGES = [(rng.random((20, 30, 2)) * (0.1, 0.4) + (0.2, 0.5)).astype(np.float32) for _ in range(3)]


def test_unit_changes_nothing():
    np.testing.assert_array_equal(IntensityScaling.fit(IMAGES, "unit").apply(IMAGES[0]), IMAGES[0])


def test_standard_gives_each_channel_zero_mean_and_unit_deviation_over_all_images():
    scaled = np.stack([IntensityScaling.fit(IMAGES, "standard").apply(image) for image in IMAGES])
    np.testing.assert_allclose(scaled.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std((0, 1, 2)), 1, atol=1e-5)


def test_percentile_takes_the_percentiles_of_each_channel_to_zero_and_one():
    scaled = np.stack([IntensityScaling.fit(IMAGES, "percentile").apply(image) for image in IMAGES])
    np.testing.assert_allclose(np.percentile(scaled, (0.5, 99.5), axis=(0, 1, 2)), [[0, 0], [1, 1]], atol=1e-4)


@pytest.mark.parametrize("method", ["unit", "standard", "percentile"])
def test_a_constant_channel_stays_finite(method):
    image = np.dstack([np.full((4, 5), 0.25, np.float32), rng.random((4, 5), np.float32)])
    assert np.isfinite(IntensityScaling.fit([image], method).apply(image)).all()


def test_images_of_different_sizes_are_fitted_together():
    large, small = np.zeros((10, 10, 1), np.float32), np.ones((5, 5, 1), np.float32)
    assert IntensityScaling.fit([large, small], "standard").offset == pytest.approx((0.2,))


def test_the_fit_survives_json():
    fitted = IntensityScaling.fit(IMAGES, "percentile")
    assert IntensityScaling.model_validate_json(fitted.model_dump_json()) == fitted


@pytest.mark.parametrize(
    ("dtype", "mark"),
    [
        ("float32", -9999),
        ("float64", -9999),
        ("float32", -3.4e38),
        ("float64", 1e300),
        ("int16", -9999),
        ("int32", -99999),
    ],
)
@pytest.mark.parametrize("method", ["unit", "standard", "percentile"])
def test_pixels_without_data_are_left_out_of_scaling_and_become_zero(dtype, mark, method):
    image = np.random.default_rng(0).integers(10, 200, (40, 50)).astype(dtype)
    spoilt = image.copy()
    spoilt[:2] = mark
    known = IntensityScaling.fit([normalise_image(image[2:])], method)
    fitted = IntensityScaling.fit([normalise_image(spoilt)], method)
    assert fitted == known
    seen = fitted.apply(normalise_image(spoilt))
    assert (seen[:2] == 0).all()
    np.testing.assert_array_equal(seen[2:], known.apply(normalise_image(image[2:])))


def test_percentiles_of_a_nearly_empty_field_have_a_spread():
    image = np.zeros((100, 100), np.uint8)
    image[3, :20] = 51
    scaling = IntensityScaling.fit([normalise_image(image)], "percentile")
    assert scaling.offset == (0.0,)
    assert scaling.scale == pytest.approx((0.2,))
