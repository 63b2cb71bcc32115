"""What training sees of an image."""

import numpy as np
import pytest
import torch

from rescrnet.classes import IGNORE
from rescrnet.config import parse_overrides, resolve
from rescrnet.datasets.dataset import Sample
from rescrnet.errors import DataError
from rescrnet.training.augment import one_hot
from rescrnet.training.batches import BatchSampler, TrainingTensors


def prepared(mask):
    places = torch.arange(mask.size, dtype=torch.float32).reshape(1, *mask.shape)
    return TrainingTensors([places], [one_hot(mask, 2)])


def corner(mask, side):
    """Where the square lies that validation looks at, and its size."""
    image = prepared(mask).centre(side).images[0][0]
    return (*divmod(int(image[0, 0]), mask.shape[1]), *image.shape)


def test_validation_looks_at_the_central_square_of_a_mask_that_is_labelled_there():
    assert corner(np.zeros((20, 31), np.uint8), 8) == (6, 11, 8, 8)
    assert corner(np.zeros((6, 31), np.uint8), 8) == (0, 11, 6, 8)
    mask = np.zeros((20, 30), np.uint8)
    mask[:3] = IGNORE
    assert corner(mask, 8) == (6, 11, 8, 8)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (19, 29), (19, 0), (10, 28)])
def test_validation_looks_where_most_pixels_are_labelled(row, column):
    mask = np.full((20, 30), IGNORE, np.uint8)
    mask[row, column] = 1
    top, left, height, width = corner(mask, 8)
    assert top <= row < top + height
    assert left <= column < left + width
    assert (height, width) == (8, 8)


def test_an_image_whose_labels_vanish_by_resizing_is_named(model):
    mask = np.full((64, 80), IGNORE, np.uint8)
    mask[1, 1] = 0
    resizing = type(model)(model.network, model.card.model_copy(update={"resize": (8, 10)}))
    sample = Sample("cell", np.random.default_rng(0).random((64, 80, 1), dtype=np.float32), mask)
    with pytest.raises(
        DataError, match=r"^cell: no labelled pixel is left after resizing to 8×10; label more, or leave"
    ):
        TrainingTensors.of([sample], resizing)


def test_uneven_light_changes_a_bright_even_image_for_what_is_black_is_known(model):
    even = Sample("slide", np.full((64, 80, 1), 0.6, np.float32), np.zeros((64, 80), np.uint8))
    tensors = TrainingTensors.of([even], model)
    config = resolve(overrides=parse_overrides(["data.patch_size=32"]))
    changed = [BatchSampler(tensors.centre(48), config).training(1, step)[0].std() for step in range(20)]
    assert max(changed) > 0.01
    assert torch.equal(tensors.black, model.tensor(np.zeros((1, 1, 1), np.float32))[0])
