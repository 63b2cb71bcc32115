"""A dataset is read once: no file is decoded more than twice before the first step of training, or by a check."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFile

import rescrnet
from rescrnet.checking.check import check
from tests.conftest import SMALLEST
from tests.support.folders import save
from tests.support.micrographs import LEVELS, image_of, mask_of


class StopHere(Exception):  # noqa: N818
    """The first step is about to be done."""


@pytest.fixture
def decodes(monkeypatch):
    """How often each file was decoded."""
    counts = Counter()
    load = ImageFile.ImageFile.load

    def counted(image):
        if image.tile and getattr(image, "filename", ""):
            counts[Path(image.filename)] += 1
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    return counts


def palette(path, mask):
    image = Image.fromarray(mask)
    image.putpalette([0, 0, 0, 200, 30, 30, 30, 200, 30])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def layers(path, mask):
    for index in (1, 2):
        save(path.parent / f"class {index}" / path.name, np.where(mask == index, 255, 0).astype(np.uint8))


def smooth(path, mask):
    large = Image.new("L", (mask.shape[1] * 4, mask.shape[0] * 4))
    ImageDraw.Draw(large).ellipse((30, 30, 130, 120), fill=255)
    path.parent.mkdir(parents=True, exist_ok=True)
    large.resize(mask.shape[::-1], Image.Resampling.BOX).save(path)


WAYS = {
    "grey levels": lambda path, mask: save(path, LEVELS[mask]),
    "indices": lambda path, mask: save(path, mask.astype(np.uint8)),
    "unlabelled 255": lambda path, mask: save(path, np.where(mask == 2, 255, mask).astype(np.uint8)),
    "colours": lambda path, mask: save(path, np.eye(3, dtype=np.uint8)[mask] * 255),
    "a palette": lambda path, mask: palette(path, mask.astype(np.uint8)),
    "a folder a class": layers,
    "antialiased": smooth,
}


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def data(tmp_path, request):
    for seed, stem in enumerate("abcdefgh"):
        mask = mask_of(seed, (40, 48))
        save(tmp_path / f"data/images/{stem}.png", image_of(mask, seed))
        request.param(tmp_path / f"data/masks/{stem}.png", mask)
    return tmp_path / "data"


class Display:
    """Stops before the first step."""

    def begin(self, epochs, steps, done):
        raise StopHere

    def __getattr__(self, name):
        return lambda *_: None


def test_training_decodes_no_file_more_than_twice_before_its_first_step(data, tmp_path, decodes):
    with pytest.raises(StopHere):
        rescrnet.train(data, tmp_path / "run", rescrnet.configure("laptop", overrides=SMALLEST), progress=Display())
    assert set(decodes) == set(data.rglob("*.png"))
    assert max(decodes.values()) <= 2, decodes


def test_a_check_decodes_no_file_more_than_twice(data, decodes):
    assert check(data).reading.table
    assert set(decodes) == set(data.rglob("*.png"))
    assert max(decodes.values()) <= 2, decodes


def test_a_dataset_is_checked_from_python_by_one_call(data):
    checked = rescrnet.check(data)
    assert not checked.errors
    assert [finding.check.name for finding in checked.findings if finding.severity.name == "error"] == []
    assert checked.reading.total == 8
