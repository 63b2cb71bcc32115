"""Random class probabilities in which objects touch, and what they are found with."""

import numpy as np
from scipy.ndimage import gaussian_filter

from rescrnet.object_settings import ObjectSettings
from rescrnet.objects.evidence import ArrayScores, Evidence

WAYS = {
    "parts": {"split": "parts"},
    "smoothed parts with holes filled": {"smoothing": 1.5, "fill_holes": 40, "smallest": 9},
    "watershed": {"split": "watershed", "boundary": "b"},
    "watershed of all that hangs together": {
        "split": "watershed",
        "boundary": "b",
        "with_boundary": True,
        "threshold": 0.05,
        "seed_threshold": 0.4,
        "smoothing": 1,
        "fill_holes": 30,
    },
    "distance": {"split": "distance", "radius": 4, "fill_holes": 10, "drop_edge": True},
}


def probabilities(height, width, grain=3.0, seed=0):
    """(3, Y, X) float32 that sum to 1: object, boundary, background."""
    random = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(random.standard_normal((height, width)), grain) for _ in range(3)])
    powers = np.exp(2 * fields / fields.std())
    return (powers / powers.sum(0)).astype(np.float32)


def evidence(array, **settings):
    how = ObjectSettings(**settings)
    return Evidence(ArrayScores(array), 0, 1 if how.boundary else None, how)
