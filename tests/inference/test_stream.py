"""Streamed prediction equals that of the whole image."""

import numpy as np
import pytest

from rescrnet.inference.plane import predict_plane
from rescrnet.inference.resources import Resources
from rescrnet.inference.stream import Stream, Tiling
from tests.support.pictures import Canvas, Picture, model_of, picture

SMALL = Tiling(tile=(32, 16), rows=5, strip=8, segment=16, block=8)
VARIANTS = {
    "one LSTM block": {},
    "no LSTM block": {"m": 0},
    "two LSTM blocks": {"m": 2, "lstm_filters": 2},
    "three LSTM blocks": {"m": 3, "n": 1},
    "dense": {"architecture": "dense", "n": 4},
    "very dense": {"architecture": "very-dense", "n": 4},
    "sum": {"merge": "sum", "lstm_filters": 3},
    "squares of two pixels": {"space_to_depth": 2},
    "squares of four pixels": {"space_to_depth": 4, "m": 0},
    "statistics of the image": {"image_statistics": 1},
    "half of them": {"image_statistics": 0.5, "space_to_depth": 2},
    "all in the stem": {"image_statistics": 0.5, "stem_statistics": 1, "space_to_depth": 2},
    "statistics of the image, squares": {"image_statistics": 1, "space_to_depth": 2, "architecture": "dense"},
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("shape", [(61, 43), (1, 37), (50, 1), (8, 16)])
def test_streamed_prediction_equals_whole_image(settings, shape, tmp_path):
    model, image = model_of(**settings), picture(*shape)
    mask, probabilities = Canvas(*shape), Canvas(*shape, 3)
    predict_plane(model, Picture(image), mask, probabilities, resources=Resources(tiling=SMALL))
    expected = model.predict(image)
    np.testing.assert_allclose(np.moveaxis(probabilities.array, -1, 0), expected, atol=1e-5)
    np.testing.assert_array_equal(mask.array, expected.argmax(0))
    assert expected.std() > 0.02


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_task_comes_after_those_it_needs(settings, tmp_path):
    stream = Stream(model_of(**settings), Picture(picture(61, 43)), None, None, "image", tmp_path, SMALL)
    for phase in stream.phases:
        done = set()
        for task, _ in stream.tasks(phase):
            assert done.issuperset(stream.needs(task))
            done.add(task)
