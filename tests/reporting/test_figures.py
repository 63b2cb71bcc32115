"""The pictures and curves of the report."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rescrnet.classes import IGNORE
from rescrnet.datasets.dataset import Sample
from rescrnet.reporting.figures import PLOTS, Picture, curves, differences, pictures

LOSS, TANIMOTO = PLOTS
COLOURS = ["#4d4d4d", "#e69f00", "#56b4e9"]
HISTORY = [
    {"epoch": epoch, "loss": 1 / epoch, "val_loss": 1.1 / epoch, "val_tanimoto": 1 - 0.5 / epoch, "seconds": 1.0}
    for epoch in (1, 2, 3, 4)
]


def pixels(picture: Picture) -> np.ndarray:
    kind, content = picture.uri.split(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert kind == f"data:image/{str(image.format).lower()}"
        return np.asarray(image.convert("RGB"))


def sample(height: int, width: int, channels: int = 1) -> Sample:
    generator = np.random.default_rng(0)
    image = generator.random((height, width, channels), dtype=np.float32)
    return Sample("one", image, generator.integers(0, 3, (height, width), dtype=np.uint8))


def test_wrong_pixels_have_the_colour_of_the_predicted_class_and_right_ones_are_pale() -> None:
    image = np.array([[0, 255], [0, 255]], np.uint8)[..., None].repeat(3, -1)
    truth = np.array([[0, 1], [2, 2]], np.uint8)
    predicted = np.array([[0, 1], [1, 0]], np.uint8)
    shown = differences(image, truth, predicted, COLOURS)
    assert shown[0].tolist() == [[188] * 3, [248] * 3]
    assert shown[1].tolist() == [[0xE6, 0x9F, 0x00], [0x4D, 0x4D, 0x4D]]


def test_row_is_image_mask_prediction_and_differences() -> None:
    one = sample(5, 7, channels=3)
    predicted = (one.mask + 1) % 3
    row = pictures(one, predicted, COLOURS)
    assert [picture.label for picture in row] == ["Image", "True mask", "Prediction", "Differences"]
    palette = np.array([[0x4D] * 3, [0xE6, 0x9F, 0x00], [0x56, 0xB4, 0xE9]])
    assert (pixels(row[1]) == palette[one.mask]).all()
    assert (pixels(row[2]) == palette[predicted]).all()
    assert (pixels(row[3]) == palette[predicted]).all()  # every pixel is wrong
    assert all(picture.small for picture in row)


@pytest.mark.parametrize(("height", "width", "shown"), [(600, 1800, (300, 900)), (1800, 600, (900, 300))])
def test_large_images_are_scaled_down_and_their_masks_mix_no_colours(
    height: int, width: int, shown: tuple[int, int]
) -> None:
    one = sample(height, width)
    row = pictures(one, one.mask, COLOURS)
    assert {(picture.height, picture.width) for picture in row} == {shown}
    assert len(np.unique(pixels(row[1]).reshape(-1, 3), axis=0)) == 3
    assert not row[0].small or width < height


def test_unlabelled_pixels_are_white_in_the_mask_and_never_different() -> None:
    one = sample(20, 30)
    mask = one.mask.copy()
    mask[:5] = IGNORE
    row = pictures(replace(one, mask=mask), (one.mask + 1) % 3, COLOURS)
    assert (pixels(row[1])[:5] == 255).all()
    pale = pixels(pictures(one, one.mask, COLOURS)[3])
    assert (pixels(row[3])[:5] == pale[:5]).all()
    assert (pixels(row[3])[5:] != pale[5:]).any(-1).all()


def test_curves_are_parts_of_a_page_with_its_colours_and_names_of_their_own() -> None:
    drawn = [curves(HISTORY, 3, LOSS), curves(HISTORY, 3, TANIMOTO)]
    names = [re.findall(r' id="([^"]*)"', curve) for curve in drawn]
    assert not set(names[0]) & set(names[1])
    for curve in drawn:
        ElementTree.fromstring(curve.replace("<svg ", '<svg xmlns:xlink="x" ', 1))
        assert "best, epoch 3" in curve
        assert "var(--validation)" in curve
        assert not re.findall(r"https?:|@import|#[0-9a-f]{6}\b", curve)


def test_best_epoch_is_marked_where_it_lies() -> None:
    curve = ElementTree.fromstring(curves(HISTORY, 3, LOSS).replace("<svg ", '<svg xmlns:xlink="x" ', 1))
    points: dict[str, list[tuple[str | None, str | None]]] = {}
    for use in curve.iter("use"):
        points.setdefault(str(use.get("style")), []).append((use.get("x"), use.get("y")))
    validation = points["fill: var(--validation); stroke: var(--validation)"]
    best = next(places for style, places in points.items() if "fill-opacity: 0" in style)
    assert best[0] == validation[2]


def test_a_single_epoch_is_a_curve_too() -> None:
    assert "over 1 epoch;" in curves(HISTORY[:1], 1, LOSS)
    assert "over 1 epoch;" in curves(HISTORY[:1], 1, TANIMOTO)
