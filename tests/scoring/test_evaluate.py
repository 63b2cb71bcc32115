"""Evaluation scores what was asked for, or says what is missing."""

import shutil

import numpy as np
import pytest

import rescrnet
from rescrnet.errors import DataError
from tests.support.folders import save


@pytest.fixture
def flat(dataset, tmp_path):
    """The images that the model was trained and validated with, in a folder that does not say which is which."""
    for part in ("train_local", "val_local"):
        for kind, inner in (("images", "img"), ("masks", "msk")):
            shutil.copytree(dataset / part / kind / inner, tmp_path / "flat" / kind, dirs_exist_ok=True)
    return tmp_path / "flat"


def test_images_of_the_split_that_are_not_there_are_named(model, flat):
    assert list(rescrnet.evaluate(model, flat).images) == ["02", "03"]
    for kind in ("images", "masks"):
        next((flat / kind).glob("03*")).unlink()
    with pytest.raises(DataError, match=r"flat: lacks 1 of the 2 'val' images of the model, 03; .* --split all"):
        rescrnet.evaluate(model, flat)
    assert list(rescrnet.evaluate(model, flat, split="all").images) == ["00", "01", "02"]


def test_images_without_labels_are_named(model, flat):
    (flat / "dataset.yaml").write_text("ignore: 7")
    mask = next((flat / "masks").glob("03*"))
    save(mask, np.full((64, 80), 7, np.uint8))
    with pytest.warns(UserWarning, match="without a labelled pixel, and not scored: 03"):
        assert "03" not in rescrnet.evaluate(model, flat, split="all").images
    with pytest.raises(DataError, match="lacks 1 of the 2 'val' images"):
        rescrnet.evaluate(model, flat)
