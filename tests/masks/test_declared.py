"""What people write in dataset.yaml is understood as they mean it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from rescrnet.checking.check import check
from rescrnet.errors import DataError
from rescrnet.masks.declared import DatasetFile
from tests.support.folders import noise, save


def declared(folder: Path, text: str, name: str = "dataset.yaml") -> DatasetFile:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    found = DatasetFile.beside(folder)
    assert found is not None
    return found


def test_names_keep_their_text(tmp_path: Path) -> None:
    text = (
        "validation: [004, 1e3]\ngroups: {01: [003, yes], no: 2024-01-01}\nclasses: [{name: no, value: 0}, {name: 7}]"
    )
    found = declared(tmp_path, text)
    assert found.validation == ["004", "1e3"]
    assert found.groups == {"01": ["003", "yes"], "no": ["2024-01-01"]}
    assert [entry.name for entry in found.classes] == ["no", "7"]


@pytest.mark.parametrize(
    "classes",
    [
        "{background: 0, fibre: 255}",
        "{0: background, 255: fibre}",
        "{background: {value: 0}, fibre: {value: 255, color: '#ff0000'}}",
        "[{name: background, value: 0}, {name: fibre, value: 255}]",
    ],
)
@pytest.mark.parametrize("name", ["dataset.yaml", "dataset.yml"])
def test_classes_may_be_a_mapping(tmp_path: Path, classes: str, name: str) -> None:
    found = declared(tmp_path, f"classes: {classes}", name)
    assert [(entry.name, entry.value) for entry in found.classes] == [("background", 0), ("fibre", 255)]


def test_three_numbers_for_each_class_are_a_colour_where_they_can_be_nothing_else(tmp_path: Path) -> None:
    found = declared(tmp_path, "classes: {background: [0, 0, 0], fibre: [255, 128, 0]}")
    assert [entry.value for entry in found.classes] == ["#000000", "#ff8000"]
    found = declared(tmp_path, "classes: {dark: [0, 1, 2], bright: [253, 254, 255]}")
    assert [entry.value for entry in found.classes] == [[0, 1, 2], [253, 254, 255]]


def test_two_descriptions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.yml").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.yml: lies beside a dataset\.yaml; keep one"):
        declared(tmp_path, "{}")


def dataset(folder: Path, mask: np.ndarray, *names: str, suffix: str = "png") -> Path:
    for number, name in enumerate(names or "abcd"):
        save(folder / f"images/{name}.png", noise((40, 40), seed=number))
        save(folder / f"masks/{name}.{suffix}", np.roll(mask, number, 0))
    return folder


SQUARE = np.zeros((40, 40), np.uint8)
SQUARE[8:25, 10:30] = 1


def test_an_umlaut_may_be_written_in_both_ways(tmp_path: Path) -> None:
    data = dataset(tmp_path, 255 * SQUARE, *(unicodedata.normalize("NFD", f"größe{i}") for i in range(4)))
    (data / "dataset.yaml").write_text("validation: [größe1]", encoding="utf-8")
    checked = check(data)
    assert not checked.errors
    assert [unicodedata.normalize("NFC", pair.stem) for pair in checked.reading.split.val] == ["größe1"]


@pytest.mark.parametrize("text", ["{}", "ignore: -1"])
def test_minus_one_is_unlabelled(tmp_path: Path, text: str) -> None:
    mask = SQUARE.astype(np.int16)
    mask[:4] = -1
    data = dataset(tmp_path, mask, suffix="tif")
    (data / "dataset.yaml").write_text(text, encoding="utf-8")
    checked = check(data)
    assert not checked.errors
    assert [facts.unlabelled for _, facts in checked.reading.labelled] == [160] * 4


def test_transparent_pixels_are_the_background_where_that_is_declared(tmp_path: Path) -> None:
    brushed = np.zeros((40, 40, 4), np.uint8)
    brushed[..., 0], brushed[..., 3] = 255, 255 * SQUARE
    data = dataset(tmp_path, brushed)
    (error,) = check(data).errors
    assert error.check.name == "too-few-classes"
    line = "classes: [{name: background}, {name: red, value: '#ff0000'}]"
    assert line in error.remedy
    (data / "dataset.yaml").write_text(line, encoding="utf-8")
    checked = check(data)
    assert not checked.errors
    counts = [facts.pixels.tolist() for _, facts in checked.reading.labelled]
    assert counts == [[1600 - 340, 340]] * 4


@pytest.mark.parametrize("top", [1, 2, 7, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_mask_saved_as_rgb_is_grey_whatever_its_values(tmp_path: Path, top: int, dtype: type) -> None:
    mask = np.stack([SQUARE.astype(dtype) * top] * 3, -1)
    checked = check(dataset(tmp_path, mask, suffix="tif"))
    assert not checked.errors
    assert [facts.pixels.tolist() for _, facts in checked.reading.labelled] == [[1260, 340]] * 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Classes: {background: 0}\n", "key 'Classes' is unknown; write 'classes:' in small letters"),
        ("Pixel_Size: [1, 1]\n", "key 'Pixel_Size' is unknown; write 'pixel_size:' in small letters"),
        (
            "names: [background, fibre]\n",
            "key 'names' is unknown; write 'classes: [{name: background, value: 0}, {name: fibre, value: 1}]' with the "
            "values that the masks hold",
        ),
        (
            "labels: {0: background, 255: fibre}\n",
            "key 'labels' is unknown; write 'classes: [{name: background, value: 0}, {name: fibre, value: 255}]' with "
            "the values that the masks hold",
        ),
        (
            "classes:\n  - name: fibre\n    value: #ffffff\n",
            "line 3 has a colour without quotes, which YAML takes for a comment; write value: '#ffffff'",
        ),
        (
            "ignore: #000000\n",
            "line 1 has a colour without quotes, which YAML takes for a comment; write ignore: '#000000'",
        ),
        (
            "classes:\n\t- {name: background, value: 0}\n",
            "line 2 begins with a tab, which YAML does not allow; write '  - {name: background, value: 0}'",
        ),
    ],
)
def test_the_message_about_a_common_slip_shows_the_line_to_write(tmp_path, text, says):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DataError) as caught:
        DatasetFile.beside(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'dataset.yaml'}: {says}"


def test_a_comment_that_looks_like_a_colour_is_one(tmp_path):
    (tmp_path / "dataset.yaml").write_text("ignore: 200  #ffffff\nclasses:  # as painted\n  background: 0\n  a: 1\n")
    assert DatasetFile.beside(tmp_path).ignore == 200
