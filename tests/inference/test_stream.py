"""Streamed prediction equals that of the whole image."""

import numpy as np
import pytest
import torch

from rescrnet.config import NetworkConfig
from rescrnet.data.intensity import Intensity
from rescrnet.data.masks import ClassEntry
from rescrnet.errors import DataError, UsageError
from rescrnet.inference.region import Region
from rescrnet.inference.stream import Sizes, Stream, streamable
from rescrnet.model import ModelCard, SegmentationModel
from tests.inference.pictures import Picture, model_of, picture

SMALL = Sizes(tile=(32, 16), rows=5, strip=8, segment=16, block=8)
VARIANTS = {
    "one LSTM block": {},
    "no LSTM block": {"m": 0},
    "two LSTM blocks": {"m": 2, "lstm_filters": 2},
    "three LSTM blocks": {"m": 3, "n": 1},
    "dense": {"name": "dense", "n": 4},
    "very dense": {"name": "very-dense", "n": 4},
    "sum": {"merge": "sum", "lstm_filters": 3},
}


def run_all(stream):
    for map_ in stream.maps().values():
        map_.create()
    for phase in stream.phases:
        done = set()
        for task, _ in stream.tasks(phase):
            assert done.issuperset(stream.needs(task))
            stream.run(task)
            done.add(task)


def result(stream):
    whole = Region(0, stream.shape[0], 0, stream.shape[1])
    maps = stream.maps()
    return maps["mask"].read(whole)[0], maps["probabilities"].read(whole)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("shape", [(61, 43), (1, 37), (50, 1), (8, 16)])
def test_streamed_prediction_equals_whole_image(settings, shape, tmp_path):
    model, image = model_of(**settings), picture(*shape)
    stream = Stream(model, Picture(image), "image", tmp_path, SMALL, probabilities=True)
    run_all(stream)
    mask, probabilities = result(stream)
    expected = model.predict(image)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(mask, expected.argmax(0))
    assert expected.std() > 0.02
