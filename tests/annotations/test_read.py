"""Files of annotations mean the pixels that the programs show."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from rescrnet.annotations.read import annotated, form_of, read_annotations
from rescrnet.annotations.shapes import draw
from rescrnet.errors import DataError
from tests.support.outlines import FLAT, RIGHT, SIZE, SQUARE, box, coco, feature, geojson, labelme, polygon

LEFT = box((3, 9), (2, 7))
"""What :data:`SQUARE` covers."""


def drawn(path, image=""):
    return draw(annotated(path, image), SIZE, path)


def as_png(mask):
    target = io.BytesIO()
    Image.fromarray(mask).save(target, "PNG")
    return base64.b64encode(target.getvalue()).decode()


def test_shapes_of_labelme(tmp_path):
    circle = [[5.5, 5.5], [5.5, 8.5]]
    rows, columns = np.mgrid[:12, :16]
    disc = (rows - 5) ** 2 + (columns - 5) ** 2 <= 9
    for number, (shape, expected) in enumerate(
        [
            (polygon("a", SQUARE), LEFT),
            (polygon("a", [[7, 9], [2, 3]], "rectangle"), LEFT),
            (polygon("a", circle, "circle"), disc),
            (polygon("a", [[2, 3], [6, 8]], "mask", mask=as_png(np.full((6, 5), True))), LEFT),
        ]
    ):
        np.testing.assert_array_equal(drawn(labelme(tmp_path / f"{number}.json", shape)), expected)


def test_polygons_and_runs_of_coco(tmp_path):
    flat = [FLAT]
    runs = [2 * 12 + 3, 6, 6, 6, 6, 6, 6, 6, 6, 6, 9 * 12 + 3]  # column by column
    plain = {"size": list(SIZE), "counts": runs}
    both = [FLAT, FLAT]  # parts of one object that overlap are no hole
    for number, segmentation in enumerate([flat, both, plain]):
        file = coco(tmp_path / f"{number}.json", ["a.png"], [(0, 0, segmentation)])
        np.testing.assert_array_equal(drawn(file, "a.png"), LEFT)


def test_packed_runs_are_those_of_pycocotools(tmp_path):
    from rescrnet.annotations.coco import _unpacked

    def pack(runs):  # as maskApi.c does it
        text = ""
        for place, run in enumerate(runs):
            left = run - (runs[place - 2] if place > 2 else 0)
            while True:
                code, left = left & 31, left >> 5
                more = left != -1 if code & 16 else left != 0
                text += chr(code + (32 if more else 0) + 48)
                if not more:
                    break
        return text

    runs = [27, 6, 6, 6, 600, 1, 0, 70000, 3, 6, 111]
    assert _unpacked(pack(runs)) == runs
    square = [27, 6, 6, 6, 6, 6, 6, 6, 6, 6, 111]
    file = coco(tmp_path / "a.json", ["a.png"], [(0, 0, {"size": list(SIZE), "counts": pack(square)})])
    np.testing.assert_array_equal(drawn(file, "a.png"), LEFT)


def test_images_of_coco_without_annotations_are_background(tmp_path):
    file = coco(tmp_path / "a.json", ["x/a.png", "b.png"], [(0, 1, [FLAT])])
    assert [one.image for one in read_annotations(file)] == ["a.png", "b.png"]
    assert annotated(file, "a.png").names == ("fibre",)
    assert not drawn(file, "b.png").any()
    with pytest.raises(DataError, match=r"a\.json: does not list the image 'c\.png'"):
        annotated(file, "c.png")


def test_polygons_with_holes_and_several_parts_of_qupath(tmp_path):
    ring, hole = [*SQUARE, SQUARE[0]], [[3, 4], [5, 4], [5, 6], [3, 6], [3, 4]]
    file = geojson(
        tmp_path / "a.geojson",
        feature("Polygon", [ring, hole], "Tumor"),
        feature("MultiPolygon", [[[*RIGHT, RIGHT[0]]]], "Stroma"),
    )
    expected = 2 * LEFT + box((3, 9), (10, 14))
    expected[4:6, 3:5] = 0
    assert annotated(file).names == ("Stroma", "Tumor")
    np.testing.assert_array_equal(drawn(file), expected)
    without = geojson(tmp_path / "b.geojson", feature("Polygon", [ring]))
    assert annotated(without).names == ("object",)


def roi(path, **regions):
    """Regions of ImageJ by name; one alone in a file of its own."""
    roifile = pytest.importorskip("roifile")
    made = {}
    for name, how in regions.items():
        region = roifile.ImagejRoi.frompoints(how) if isinstance(how, np.ndarray) else roifile.ImagejRoi()
        for key, value in (how if isinstance(how, dict) else {}).items():
            setattr(region, key, value)
        region.name = name
        made[name] = region.tobytes()
    if path.suffix == ".roi":
        path.write_bytes(next(iter(made.values())))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in made.items():
            archive.writestr(f"{name}.roi", data)
    return path


def test_regions_of_imagej(tmp_path):
    roifile = pytest.importorskip("roifile")
    kinds = roifile.ROI_TYPE
    bounds = {"left": 2, "top": 3, "right": 7, "bottom": 9}
    path = [0, 2, 3, 1, 7, 3, 1, 7, 9, 1, 2, 9, 4, 0, 3, 4, 1, 5, 4, 1, 5, 6, 1, 3, 6, 4]
    composite = {
        **bounds,
        "roitype": kinds.RECT,
        "multi_coordinates": np.array(path, np.float32),
        "shape_roi_size": len(path),
    }
    rows, columns = np.mgrid[:12, :16]
    oval = ((columns - 4) / 2.5) ** 2 + ((rows - 5.5) / 3) ** 2 <= 1
    hollow = LEFT.copy()
    hollow[4:6, 3:5] = 0
    for number, (region, expected) in enumerate(
        [
            (np.array(SQUARE), LEFT),
            (np.array(SQUARE, np.float32) + 0.25, LEFT),
            ({**bounds, "roitype": kinds.RECT}, LEFT),
            ({**bounds, "roitype": kinds.OVAL}, oval),
            (composite, hollow),
        ]
    ):
        for suffix in ("roi", "zip"):
            file = roi(tmp_path / f"{number}.{suffix}", **{"0005-0004": region})
            np.testing.assert_array_equal(drawn(file), expected, err_msg=f"{number} {suffix}")
            assert annotated(file).names == ("object",)


def test_the_class_of_a_region_is_its_group_or_its_name(tmp_path):
    pytest.importorskip("roifile")
    square, right = np.array(SQUARE), np.array(RIGHT)
    named = roi(tmp_path / "a.zip", **{"nucleus-1": square, "nucleus-2": right, "fibre": right})
    assert annotated(named).names == ("fibre", "nucleus")
    some = roi(tmp_path / "b.zip", **{"nucleus": square, "0001-0002": right})
    assert annotated(some).names == ("object",)
    alone = roi(tmp_path / "wt_03.roi", wt_03=square)
    assert annotated(alone).names == ("object",)
    import roifile

    kind = {"roitype": roifile.ROI_TYPE.RECT, "left": 2, "top": 3, "right": 7, "bottom": 9}
    grouped = roi(tmp_path / "c.zip", a={**kind, "group": 2}, b={**kind, "group": 0})
    assert annotated(grouped).names == ("group 2", "object")


def test_regions_that_are_not_read_exactly_are_named(tmp_path):
    roifile = pytest.importorskip("roifile")
    bounds = {"left": 2, "top": 3, "right": 7, "bottom": 9, "roitype": roifile.ROI_TYPE.RECT}
    curves = np.array([0, 2, 3, 3, 1, 1, 2, 2, 3, 3, 4], np.float32)
    for how, says in (
        ({**bounds, "rounded_rect_arc_size": 4}, "a rectangle with round corners"),
        ({**bounds, "multi_coordinates": curves, "shape_roi_size": len(curves)}, "a composite with curves"),
        ({**bounds, "options": roifile.ROI_OPTIONS.SPLINE_FIT}, "fitted with a spline"),
    ):
        file = roi(tmp_path / "a.roi", x=how)
        with pytest.raises(DataError, match=rf"a\.roi: the region 'x' is {says}, .*; .*Create Mask"):
            read_annotations(file)
        file.unlink()


def test_points_and_lines_are_counted_and_in_no_class(tmp_path):
    file = labelme(tmp_path / "a.json", polygon("a", SQUARE), polygon("b", [[1, 1]], "point"))
    assert annotated(file).names == ("a",)
    assert annotated(file).passed_over == {"point": 1}
    alone = labelme(tmp_path / "b.json", polygon("b", [[1, 1]], "point"), polygon("b", [[1, 1], [2, 2]], "line"))
    with pytest.raises(DataError, match=r"b\.json: holds 1 line, 1 point, .* no area; outline"):
        annotated(alone)
    boxes = coco(tmp_path / "c.json", ["a.png"], [(0, 0, [])])
    with pytest.raises(DataError, match=r"c\.json: holds 1 box, .* no area; outline"):
        annotated(boxes, "a.png")


BROKEN = {
    "cut.json": ('{"shapes": [{"label": "a", "points": [[1,', "is not valid JSON .*; export it anew"),
    "keys.json": ('{"shapes": [{"label": "a"}]}', "is not what LabelMe writes .'points' is missing"),
    "text.json": ('{"shapes": [{"label": "a", "points": [["x", 2], [1, 2], [3, 4]]}]}', "is not what LabelMe writes"),
    "nan.json": ('{"shapes": [{"label": "a", "points": [[NaN, 2], [1, 2], [3, 4]]}]}', "is not what LabelMe writes"),
    "kind.json": (
        '{"shapes": [{"label": "a", "points": [[1, 2], [3, 4]], "shape_type": "spline"}]}',
        "type 'spline' .* is not known; expected polygons",
    ),
    "ids.json": (
        '{"images": [], "categories": [], "annotations": [{"id": 7, "image_id": 1, "category_id": 2}]}',
        "annotation 7 is of image 1 and category 2, which are not both listed",
    ),
    "runs.json": (
        '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "a"}], "annotations": '
        '[{"image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": [3]}}]}',
        "holds runs of 3 pixels for 4; export",
    ),
    "curve.geojson": (json.dumps(feature("GeometryCollection", [])), "type 'GeometryCollection'; expected Polygon"),
    "some.geojson": (
        json.dumps([feature("Polygon", [SQUARE], "Tumor"), feature("Polygon", [SQUARE])]),
        "1 of 2 annotations have no class, others are Tumor; give each a class",
    ),
    "short.roi": ("Iout", "cannot be read as annotations"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_damaged_or_not_understood_is_one_line(tmp_path, name):
    text, says = BROKEN[name]
    if name.endswith(".roi"):
        pytest.importorskip("roifile")
    (tmp_path / name).write_text(text)
    assert form_of(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: .*{says}") as caught:
        read_annotations(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_what_lies_behind_long_lists_and_pictures_is_known(tmp_path):
    images = [{"id": number, "file_name": f"{number:06d}.png", "height": 12, "width": 16} for number in range(2000)]
    (tmp_path / "many.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    (tmp_path / "one.json").write_text(json.dumps({"imageData": "A" * 100_000, "imagePath": "a.png", "shapes": []}))
    assert [form_of(tmp_path / name) for name in ("many.json", "one.json")] == ["COCO", "LabelMe"]
