"""Datasets whose masks are outlines: they check, train and evaluate like those with masks of pixels."""

import json

import numpy as np
import pytest

from rescrnet.checking.check import check, load_dataset
from rescrnet.errors import DataError
from tests.support.folders import save, stripes
from tests.support.outlines import (
    FLAT,
    FLAT_RIGHT,
    SQUARE,
    box,
    coco,
    feature,
    geojson,
    images,
    labelme,
    polygon,
    to_the_right,
)

LEFT = box((3, 9), (2, 7))


def errors(folder, **how):
    return "\n".join(str(finding) for finding in check(folder, **how).errors)


def warnings(folder):
    return "\n".join(str(finding) for finding in check(folder).findings if finding.severity == 1)


def masks(folder, **how):
    data = load_dataset(folder, "0.34", **how)
    return data.table, {sample.stem: sample.mask for sample in (*data.train, *data.val)}


def outlined(folder, stems="abc", **more):
    for number, stem in enumerate(stems):
        moved = to_the_right(number)
        labelme(folder / f"{stem}.json", polygon("nucleus", moved), **more)


@pytest.mark.parametrize("places", [("", ""), ("images", "images"), ("images", "masks"), ("imgs", "annotations")])
def test_labelme_s_files_lie_beside_the_images_or_in_a_folder_of_masks(tmp_path, places):
    images(tmp_path / places[0])
    outlined(tmp_path / places[1])
    table, found = masks(tmp_path)
    assert [entry.name for entry in table.classes] == ["background", "nucleus"]
    np.testing.assert_array_equal(found["a"], LEFT)
    assert "outlines of LabelMe" in check(tmp_path).reading.layout
    assert not check(tmp_path).reading.foreign


@pytest.mark.parametrize(
    "place", ["annotations/instances_default.json", "labels.json", "images/_annotations.coco.json"]
)
def test_one_file_of_coco_is_of_many_images(tmp_path, place):
    images(tmp_path / "images")
    flat, right = [FLAT], [FLAT_RIGHT]
    drawn = [(0, 0, flat), (0, 1, right), (1, 0, right), (2, 1, flat)]
    coco(tmp_path / place, ["images/a.png", "images/b.png", "c.png"], drawn)
    table, found = masks(tmp_path)
    assert [entry.name for entry in table.classes] == ["background", "fibre", "nucleus"]
    np.testing.assert_array_equal(found["a"], 2 * LEFT + box((3, 9), (10, 14)))
    np.testing.assert_array_equal(found["c"], LEFT)


def test_roboflow_s_folders_train_and_validate(tmp_path):
    for folder, stems in (("train", "abc"), ("valid", "de")):
        images(tmp_path / folder, stems)
        drawn = [(place, 0, [(np.array(SQUARE) + place).ravel().tolist()]) for place in range(len(stems))]
        coco(tmp_path / folder / "_annotations.coco.json", [f"{stem}.png" for stem in stems], drawn)
    reading = check(tmp_path).reading
    assert [len(reading.split.train), len(reading.split.val)] == [3, 2]
    assert reading.own_validation


def test_qupath_s_annotations_are_read(tmp_path):
    images(tmp_path / "images")
    for stem, name in zip("abc", ("Tumor", "Stroma", "Tumor"), strict=True):
        geojson(tmp_path / f"masks/{stem}.geojson", feature("Polygon", [SQUARE], name))
    table, found = masks(tmp_path)
    assert [entry.name for entry in table.classes] == ["background", "Stroma", "Tumor"]
    np.testing.assert_array_equal(found["c"], 2 * LEFT)


def test_dataset_yaml_orders_and_joins_the_classes(tmp_path):
    images(tmp_path, "abcd")
    for number, name in enumerate(("Nucleus", "cell", "nucleus", "cell")):
        labelme(tmp_path / f"{'abcd'[number]}.json", polygon(name, to_the_right(number)))
    (tmp_path / "dataset.yaml").write_text(
        "classes: [{name: cell}, {name: nucleus, value: [Nucleus, nucleus]}, {name: background}]"
    )
    table, found = masks(tmp_path)
    assert [entry.name for entry in table.classes] == ["cell", "nucleus", "background"]
    np.testing.assert_array_equal(found["a"], np.where(LEFT, 1, 2))
    (tmp_path / "dataset.yaml").write_text("classes: [{name: nucleus}, {name: background}]")
    assert "values that belong to no class: cell (60 pixels), Nucleus (30 pixels)" in errors(tmp_path)
    (tmp_path / "dataset.yaml").write_text("ignore: background")
    assert (masks(tmp_path)[1]["a"] == 255).sum() == (LEFT == 0).sum()


def test_objects_that_touch_stay_apart_on_request(tmp_path):
    images(tmp_path)
    touching = [[7, 3], [12, 3], [12, 9], [7, 9]]
    for stem in "abc":
        labelme(tmp_path / f"{stem}.json", polygon("nucleus", SQUARE), polygon("nucleus", touching))
    table, found = masks(tmp_path, declared={"instance_boundary": 1})
    assert [entry.name for entry in table.classes] == ["background", "interior", "boundary"]
    assert found["a"][5].tolist() == [0, 0, 2, 1, 1, 1, 2, 2, 1, 1, 1, 2, 0, 0, 0, 0]


def test_a_table_may_name_files_of_annotations(tmp_path):
    images(tmp_path / "i")
    outlined(tmp_path / "j", "ab")
    coco(tmp_path / "k.json", ["c.png"], [(0, 0, [FLAT_RIGHT])], classes=("nucleus",))
    (tmp_path / "table.csv").write_text("image,mask\ni/a.png,j/a.json\ni/b.png,j/b.json\ni/c.png,k.json\n")
    _, found = masks(tmp_path)
    np.testing.assert_array_equal(found["a"], LEFT)
    np.testing.assert_array_equal(found["c"], box((3, 9), (10, 14)))


def test_points_beside_outlines_are_warned_of(tmp_path):
    images(tmp_path)
    outlined(tmp_path)
    labelme(tmp_path / "a.json", polygon("nucleus", SQUARE), polygon("nucleus", [[1, 1]], "point"))
    assert "a.json: holds 1 point beside outlines, which have no area and are left out; outline" in warnings(tmp_path)


def test_an_image_that_no_file_outlines_is_named(tmp_path):
    images(tmp_path, "abcd")
    outlined(tmp_path)
    assert "d.png: has no mask; expected" in errors(tmp_path)
    for file in tmp_path.glob("*.json"):
        file.unlink()
    coco(tmp_path / "all.json", [f"{stem}.png" for stem in "abcx"], [(0, 0, [FLAT])])
    said = errors(tmp_path)
    assert "d.png: has no mask; " in said
    assert "all.json does not list it; annotate it there" in said
    assert "all.json: lists the image 'x.png', which is not there; put it beside" in said


def test_a_file_is_found_by_the_image_that_it_names(tmp_path):
    images(tmp_path / "images")
    outlined(tmp_path / "masks", "ab")
    labelme(tmp_path / "masks/renamed.json", polygon("nucleus", SQUARE), image="../images/c.png")
    assert errors(tmp_path) == ""
    np.testing.assert_array_equal(masks(tmp_path)[1]["c"], LEFT)
    labelme(tmp_path / "masks/renamed.json", polygon("nucleus", SQUARE), image="gone.png")
    assert "renamed.json: was drawn on 'gone.png', which is not there; put the image beside it" in errors(tmp_path)


def test_a_file_that_was_drawn_on_another_image_is_refused(tmp_path):
    images(tmp_path)
    outlined(tmp_path)
    labelme(tmp_path / "b.json", polygon("nucleus", SQUARE), image="a.png")
    assert "b.json: was drawn on a.png, but is named after b.png; rename it" in errors(tmp_path)
    outlined(tmp_path, size=(24, 32))
    assert "a.json: was drawn on an image of 24×32, but the image is 12×16 (and 2 more); " in errors(tmp_path)


def test_one_that_is_broken_is_one_error_and_the_others_are_read(tmp_path):
    images(tmp_path)
    outlined(tmp_path)
    (tmp_path / "b.json").write_text('{"shapes": [{')
    assert errors(tmp_path).splitlines() == [
        f"{tmp_path / 'b.json'}: is not valid JSON (Expecting property name enclosed in double quotes: line 1 column "
        "14 (char 13)); export it anew"
    ]
    (tmp_path / "b.json").write_text("{}")
    assert "b.json is there, but it holds no annotations that are known" in errors(tmp_path)
    coco(tmp_path / "all.json", ["a.png"], [])
    (tmp_path / "all.json").write_text((tmp_path / "all.json").read_text()[:-9])
    assert "all.json: is not valid JSON" in errors(tmp_path)


def test_pixels_go_before_outlines_and_both_kinds_are_not_mixed(tmp_path):
    images(tmp_path / "images")
    outlined(tmp_path / "images")
    for stem in "abc":
        save(tmp_path / f"masks/{stem}.png", stripes(0, 1))
    assert [entry.name for entry in masks(tmp_path)[0].classes] == ["class 0", "class 1"]
    (tmp_path / "masks/c.png").unlink()
    (tmp_path / "images/c.json").rename(tmp_path / "masks/c.json")
    assert "c.json is there, but it holds annotations of LabelMe, and other masks are pixels; keep one" in errors(
        tmp_path
    )


def test_classes_of_pixels_are_not_those_of_outlines(tmp_path):
    images(tmp_path)
    outlined(tmp_path)
    (tmp_path / "dataset.yaml").write_text("classes: {background: 0, nucleus: 255}")
    with pytest.raises(DataError, match="declared as 0, but the masks are outlines of nucleus"):
        load_dataset(tmp_path)


def test_annotations_that_lie_elsewhere_are_named_with_their_place(tmp_path):
    images(tmp_path / "images")
    outlined(tmp_path / "somewhere")
    assert "a.json: holds annotations of LabelMe, but lies elsewhere, " in errors(tmp_path)
    assert json.loads((tmp_path / "somewhere/a.json").read_text())["imagePath"] == "a.png"
