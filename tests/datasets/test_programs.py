"""Files and folders as other programs leave them become the pairs that are meant; nothing between two candidates."""

import json

import numpy as np
import pytest
from PIL import Image

from rescrnet.datasets.layouts import find_pairs, look_through
from rescrnet.errors import DataError
from rescrnet.images.whole import Channels, files_of
from rescrnet.masks.declared import DatasetFile
from tests.support.folders import noise, save, stripes
from tests.support.reading import load

MASK = stripes(0, 1)
RED = np.uint8([[0, 0, 0], [250, 50, 83]])


def images(folder, names):
    for seed, name in enumerate(names):
        save(folder / name, noise(seed=seed))


def masks(folder, names, mask=MASK):
    for name in names:
        save(folder / name, mask)


def pairs(folder):
    """Image and mask files by the name of the image, for training and validation together."""
    split = find_pairs(folder)
    return {
        pair.stem: (
            [file.relative_to(folder).as_posix() for file in files_of(pair.image)],
            [file.relative_to(folder).as_posix() for origin in pair.masks.values() for file in files_of(origin)],
        )
        for pair in (*split.train, *split.val)
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}.tif", "{}_Simple Segmentation.tif"),
        ("{}.tif", "{}_Object Predictions.tif"),
        ("{}.tif", "Classified image {}.tif"),
        ("{}.tif", "{}-Object Identities.tif"),
        ("{}.tif", "Mask of {}.tif"),
        ("{}.tif", "Mask of {}.tif.tif"),
        ("{}.tif", "{}.tif.png"),
        ("{}.tif", "{}.tif_mask.png"),
        ("{}.svs [d=2,x=0,y=0,w=5,h=5].png", "{} [d=2,x=0,y=0,w=5,h=5]-labelled.png"),
        ("img_{}_001.tif", "img_{}_mask_001.tif"),
        ("{}_DAPI.tif", "{}.tif"),
        ("{}_DAPI.tif", "{}_mask.tif"),
        *(
            ("{}.png", mask)
            for mask in (
                *("{}_ground_truth.png", "{}_GroundTruth.png", "{}_anno.png", "{}_annotated.png", "{}_manual.png"),
                *("{}_binary.png", "{}_bw.png", "{}_target.png", "{}_label_image.png", "{}_cp_masks.png"),
                *("{}_predicted_masks.png", "{}-1_labels.png", "{}_labels-0.png", "{}_L.png", "{}_mask0.png"),
                *("{}-1.png", "{}_fertig.png", "drawn by anna - {}.png", "{}(mask).png", "{} (mask).png"),
            )
        ),
    ],
)
def test_names_of_programs_and_people_pair(tmp_path, image, mask):
    names = ("cell00", "cell01", "cell10")
    images(tmp_path / "images", [image.format(name) for name in names])
    masks(tmp_path / "masks", [mask.format(name) for name in names])
    assert sorted(pairs(tmp_path).values()) == [
        ([f"images/{image.format(name)}"], [f"masks/{mask.format(name)}"]) for name in names
    ]


@pytest.mark.parametrize("mask", ["Mask of {}.tif", "{}_bw.tif", "{}_ground_truth.tif", "{}_L.tif", "{}-1.tif"])
def test_they_pair_in_one_folder_too(tmp_path, mask):
    images(tmp_path, ["a.tif", "b.tif"])
    masks(tmp_path, [mask.format(name) for name in "ab"])
    assert pairs(tmp_path) == {name: ([f"{name}.tif"], [mask.format(name)]) for name in "ab"}


def test_an_image_may_be_called_a_target_where_its_mask_says_that_it_is_one(tmp_path):
    images(tmp_path, ["target_1.png", "target_2.png"])
    masks(tmp_path, ["target_1_mask.png", "target_2_mask.png"])
    assert pairs(tmp_path) == {f"target_{n}": ([f"target_{n}.png"], [f"target_{n}_mask.png"]) for n in "12"}


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (("a", "b"), ("a_x1", "a_x2", "b_x1", "b_x2")),
        (("a", "b"), ("a_mask1", "a_mask2", "b_mask1", "b_mask2")),
        (("1", "2"), ("11", "22")),
        (("cell1", "cell2"), ("cell10", "cell20")),
        (("a",), ("a_1",)),
    ],
)
def test_what_may_be_chance_does_not_pair(tmp_path, image, mask):
    images(tmp_path / "images", [f"{name}.png" for name in image])
    masks(tmp_path / "masks", [f"{name}.png" for name in mask])
    found = look_through(tmp_path)
    assert found.split.train == []
    assert {fault.check for fault in found.faults} <= {"ambiguous-pair", "image-without-mask", "mask-without-image"}


def test_a_missing_mask_is_still_named_where_all_others_have_one_affix(tmp_path):
    images(tmp_path / "images", [f"{name}.png" for name in "abcd"])
    masks(tmp_path / "masks", [f"{name}_xyz.png" for name in "abd"])
    found = look_through(tmp_path)
    assert [pair.stem for pair in found.split.train] == ["a", "b", "d"]
    assert [str(fault) for fault in found.faults] == [
        f"{tmp_path}/images/c.png: has no mask; expected {tmp_path}/masks/c.*"
    ]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_qupaths_tiles_of_equal_stems_are_told_apart_by_what_they_hold(tmp_path, suffix):
    names = [f"slide1 [d=2,x={x},y=0,w=512,h=512]" for x in (0, 512)]
    images(tmp_path, [f"{name}{suffix}" for name in names])
    masks(tmp_path, [f"{name}.png" for name in names])
    assert pairs(tmp_path) == {name: ([f"{name}{suffix}"], [f"{name}.png"]) for name in names}


def test_masks_of_images_that_are_there_twice_are_not_said_to_have_none(tmp_path):
    images(tmp_path / "images", ["a.png", "a.jpg", "b.png"])
    masks(tmp_path / "masks", ["a.png", "b.png"])
    found = look_through(tmp_path)
    assert [(fault.check, len(fault.files)) for fault in found.faults] == [("ambiguous-pair", 2)]


def test_a_second_picture_of_a_longer_name_is_no_mask(tmp_path):
    images(tmp_path, ["a.tif", "a-1.tif", "b.tif", "b-1.tif"])
    with pytest.raises(DataError, match="has no mask"):
        find_pairs(tmp_path)


def test_two_pictures_of_one_stem_are_not_taken_for_image_and_mask(tmp_path):
    images(tmp_path, ["a.tif", "a.png", "b.tif", "b.png"])
    with pytest.raises(DataError, match=r"a\.png and .*a\.tif: two files of one stem; remove or rename one"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("where", ["masks", ""])
def test_classes_in_the_names_of_masks_are_layers_of_one_mask(tmp_path, where):
    left, right = stripes(255, 0, 0), stripes(0, 0, 255)
    images(tmp_path / ("images" if where else ""), ["a.png", "b.png"])
    masks(tmp_path / where, ["a_nucleus.png", "b_nucleus.png"], left)
    masks(tmp_path / where, ["a_cell wall.png", "b_cell wall.png"], right)
    data = load(tmp_path, "b")
    assert [entry.name for entry in data.classes] == ["background", "cell wall", "nucleus"]
    np.testing.assert_array_equal(data.train[0].mask, stripes(2, 0, 1, shape=left.shape))


def test_a_class_that_one_image_lacks_is_named(tmp_path):
    images(tmp_path / "images", ["a.png", "b.png", "c.png"])
    masks(tmp_path / "masks", ["a_nucleus.png", "b_nucleus.png", "c_nucleus.png", "a_wall.png", "b_wall.png"])
    with pytest.raises(DataError, match=r"images/c\.png: has no mask"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("top", ["stage1_train", "."])
def test_a_folder_for_each_image_and_a_file_for_each_object_as_in_the_data_science_bowl(tmp_path, top):
    for number, name in enumerate(("id0a", "id1b", "id2c")):
        save(tmp_path / top / name / "images" / f"{name}.png", noise(seed=number))
        for place in range(number + 1):
            mask = (stripes(0, 1, 2, 3) == place + 1) * np.uint8(255)
            save(tmp_path / top / name / "masks" / f"{place}f{number}.png", mask)
    (tmp_path / "__MACOSX").mkdir()
    data = load(tmp_path, "id2c")
    assert [sample.stem for sample in (*data.train, *data.val)] == ["id0a", "id1b", "id2c"]
    np.testing.assert_array_equal(data.val[0].mask, stripes(0, 1, 1, 1))
    assert [entry.name for entry in data.classes] == ["background", "object"]
    assert data.notes == ["the objects, a file each, are one class; 'instance_boundary: 2' keeps touching ones apart"]
    data = load(tmp_path, "id2c", declared={"instance_boundary": 1})
    row = data.val[0].mask[6]
    assert [entry.name for entry in data.classes] == ["background", "interior", "boundary"]
    assert row[4:].tolist().count(1) < 12
    assert (row[7:9] == 2).all(), "the border between touching objects is a boundary"


def test_objects_of_another_folder_to_validate_on_stay_apart_too(tmp_path):
    for part, names in (("one", "ab"), ("two", "cd")):
        for name in names:
            save(tmp_path / part / name / "images/x.png", noise(seed=ord(name)))
            for place in range(1 + (name in "bd")):
                file = tmp_path / part / name / f"masks/{place}{name}1.png"
                save(file, (stripes(0, 1, 2, 0) == place + 1) * np.uint8(255))
    data = load(tmp_path / "one", str(tmp_path / "two"), declared={"instance_boundary": 1})
    assert [sample.stem for sample in data.val] == ["c", "d"]
    assert (data.val[1].mask[5, 7:9] == 2).all()


def test_a_folder_of_objects_for_each_image_inside_masks(tmp_path):
    for name in "ab":
        save(tmp_path / f"images/{name}.png", noise(seed=ord(name)))
        for place in range(1 if name == "a" else 2):
            save(tmp_path / f"masks/{name}/{place}.png", (stripes(0, 1, 2) == place + 1) * np.uint8(255))
    data = load(tmp_path, "b")
    np.testing.assert_array_equal(data.train[0].mask, stripes(0, 1, 0))
    np.testing.assert_array_equal(data.val[0].mask, stripes(0, 1, 1))
    images(tmp_path / "images", ["c.png"])
    (tmp_path / "masks/c").mkdir()
    with pytest.raises(DataError, match=r"images/c\.png: has no mask; expected one in the folder of its name"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("image.tif", "mask.tif"),
        ("cell.png", "cell_mask.png"),
        ("images/x.png", "masks/y.png"),
        ("image.png", "masks/m.png"),
        ("raw.png", "ground_truth.png"),
    ],
)
def test_a_folder_for_each_image_names_it(tmp_path, image, mask):
    for name in ("cell01", "cell02"):
        images(tmp_path / name, [image])
        masks(tmp_path / name, [mask])
    assert pairs(tmp_path) == {name: ([f"{name}/{image}"], [f"{name}/{mask}"]) for name in ("cell01", "cell02")}
    images(tmp_path / "cell03", ["image.tif"])
    with pytest.raises(DataError, match="cell03: has an image but no mask; put the mask beside it"):
        find_pairs(tmp_path)


def test_folders_for_each_image_in_train_and_val(tmp_path):
    for name in ("train/a", "train/b", "val/c"):
        images(tmp_path / name, ["image.png"])
        masks(tmp_path / name, ["label.png"])
    split = find_pairs(tmp_path)
    assert [[pair.stem for pair in part] for part in (split.train, split.val)] == [["a", "b"], ["c"]]


def test_a_folder_of_classes_for_each_image(tmp_path):
    for name in "ab":
        images(tmp_path / name / "images", ["x.png"])
        masks(tmp_path / name / "masks", ["nucleus.png"], stripes(255, 0))
        masks(tmp_path / name / "masks", ["wall.png"], stripes(0, 0, 255))
    assert [entry.name for entry in load(tmp_path).classes] == ["background", "nucleus", "wall"]
    (tmp_path / "b/masks/wall.png").unlink()
    with pytest.raises(DataError, match=r"b/masks: has no mask 'wall'; expected .*wall\.png, all black where"):
        find_pairs(tmp_path)


def test_numbered_masks_of_the_same_names_in_every_folder_are_no_guess(tmp_path):
    for name in "ab":
        images(tmp_path / name / "images", ["x.png"])
        masks(tmp_path / name / "masks", ["1.png", "2.png"])
    with pytest.raises(DataError, match=r"are named 1, 2: classes, or objects\? .*; name them after"):
        find_pairs(tmp_path)


def test_a_folder_with_images_and_masks_for_each_animal_is_a_group(tmp_path):
    for name in ("mouse1", "mouse2"):
        images(tmp_path / name / "images", ["1.png", "2.png"])
        masks(tmp_path / name / "masks", ["1.png", "2.png"])
    split = find_pairs(tmp_path)
    assert [(pair.stem, pair.group) for pair in split.train] == [
        (f"{name}-{number}", name) for name in ("mouse1", "mouse2") for number in "12"
    ]


@pytest.mark.parametrize(
    "folder",
    [
        *("ground_truth", "GroundTruth", "ground truth", "annotation", "Annotations", "anno", "annotated", "manual"),
        *("binary", "bw", "target", "targets", "predicted_masks", "gts", "SegmentationClass"),
    ],
)
def test_folders_of_masks_have_many_names(tmp_path, folder):
    images(tmp_path / "images", ["a.png"])
    masks(tmp_path / folder, ["a.png"])
    assert pairs(tmp_path) == {"a": (["images/a.png"], [f"{folder}/a.png"])}


def test_a_rarer_name_of_a_folder_does_not_stand_in_the_way_of_masks(tmp_path):
    images(tmp_path / "images", ["a.png"])
    masks(tmp_path / "masks", ["a.png"])
    masks(tmp_path / "binary", ["a.png"])
    assert pairs(tmp_path) == {"a": (["images/a.png"], ["masks/a.png"])}


@pytest.mark.parametrize(
    ("layout", "val"),
    [
        (("train_images", "train_masks", "val_images", "val_masks", "test_images"), ["b"]),
        (("cell_images", "cell_masks", "", "", ""), []),
        (("train", "train_masks", "", "", ""), []),
        (("train", "train_masks", "val", "val_masks", "test"), ["b"]),
        (("images_train", "labels_train", "images_val", "labels_val", "labels_test"), ["b"]),
    ],
)
def test_the_folders_of_a_split_may_say_it_in_their_names(tmp_path, layout, val):
    images(tmp_path / layout[0], ["a.png"])
    masks(tmp_path / layout[1], ["a.png"])
    if val:
        images(tmp_path / layout[2], ["b.png"])
        masks(tmp_path / layout[3], ["b.png"])
        images(tmp_path / layout[4], ["t.png"])
    split = find_pairs(tmp_path)
    assert [[pair.stem for pair in part] for part in (split.train, split.val)] == [["a"], val]


def test_images_and_masks_in_one_folder_to_train_and_one_to_validate(tmp_path):
    for part, name in (("train", "a"), ("val", "b")):
        images(tmp_path / part, [f"{name}.png"])
        masks(tmp_path / part, [f"{name}_mask.png"])
    split = find_pairs(tmp_path)
    assert [[pair.stem for pair in part] for part in (split.train, split.val)] == [["a"], ["b"]]


def test_images_beside_the_folder_of_their_masks(tmp_path):
    images(tmp_path, ["a.png", "b.png"])
    masks(tmp_path / "masks", ["a.png", "b.png"])
    assert pairs(tmp_path) == {name: ([f"{name}.png"], [f"masks/{name}.png"]) for name in "ab"}


def test_an_unpacked_archive_may_lie_in_a_folder_of_its_own(tmp_path):
    images(tmp_path / "cells/cells/images", ["a.png", "b.png"])
    masks(tmp_path / "cells/cells/masks", ["a.png", "b.png"])
    (tmp_path / "cells/cells/dataset.yaml").write_text("classes: [{name: ground, value: 0}, {name: cell, value: 1}]\n")
    (tmp_path / "__MACOSX/cells").mkdir(parents=True)
    (tmp_path / "cells/.DS_Store").touch()
    assert pairs(tmp_path)["a"] == (["cells/cells/images/a.png"], ["cells/cells/masks/a.png"])
    assert [entry.name for entry in load(tmp_path).classes] == ["ground", "cell"]


@pytest.mark.parametrize(("folders", "found"), [(("pics", "drawn"), "drawn, pics"), (("A", "x y"), "A, x y")])
def test_a_folder_that_is_not_understood_is_described(tmp_path, folders, found):
    for folder in folders:
        images(tmp_path / folder, ["a.png"])
    with pytest.raises(DataError) as caught:
        find_pairs(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/images: no such folder; expected 'images' and 'masks', or 'train_local' and 'val_local' with "
        f"both; found: {found}; rename them, or list the files in a CSV table with the columns image and mask"
    )


def voc(folder, indexed=False):
    images(folder / "JPEGImages", ["a.jpg", "b.jpg"])
    for name in "ab":
        if indexed:
            picture = Image.fromarray(MASK).convert("P")
            picture.putdata(MASK.ravel().tolist())
            picture.putpalette([*RED.ravel().tolist(), *[0] * 762])
            (folder / "SegmentationClass").mkdir(exist_ok=True)
            picture.save(folder / f"SegmentationClass/{name}.png")
        else:
            save(folder / f"SegmentationClass/{name}.png", RED[MASK])
        save(folder / f"SegmentationObject/{name}.png", RED[MASK])
    (folder / "Annotations").mkdir()
    (folder / "Annotations/a.xml").write_text("<annotation/>")
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nvessel:1,2,3::\nnucleus:250,50,83::\n"
    )


@pytest.mark.parametrize("indexed", [False, True])
def test_an_export_of_cvat_is_read_with_the_classes_that_occur(tmp_path, indexed):
    voc(tmp_path, indexed)
    data = load(tmp_path)
    assert [(entry.name, entry.value) for entry in data.classes] == [("background", "#000000"), ("nucleus", "#fa3253")]
    np.testing.assert_array_equal(data.train[0].mask, MASK)
    assert data.notes == [f"the classes are those of {tmp_path}/labelmap.txt"]


def test_an_export_of_labelme_to_voc_is_read_with_its_names(tmp_path):
    images(tmp_path / "JPEGImages", ["a.jpg", "b.jpg"])
    for name in "ab":
        masks(tmp_path / "SegmentationClassPNG", [f"{name}.png"])
        (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
        np.save(tmp_path / f"SegmentationClass/{name}.npy", MASK)
        images(tmp_path / "SegmentationClassVisualization", [f"{name}.jpg"])
    (tmp_path / "class_names.txt").write_text("__ignore__\n_background_\nnucleus\nvessel\n")
    data = load(tmp_path)
    assert [entry.name for entry in data.classes] == ["background", "nucleus"]
    assert data.train[0].mask.shape == MASK.shape


def test_an_export_of_roboflow_is_read_with_its_names(tmp_path):
    for part, name in (("train", "a"), ("train", "b"), ("valid", "c")):
        images(tmp_path / part, [f"{name}_png.rf.0f3.jpg"])
        masks(tmp_path / part, [f"{name}_png.rf.0f3_mask.png"])
        (tmp_path / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, nucleus\n")
    data = load(tmp_path)
    assert [entry.name for entry in data.classes] == ["background", "nucleus"]
    assert (len(data.train), len(data.val)) == (2, 1)


def legend(folder, *names):
    entries = [{"index": index, "name": name, "colour": "#e69f00"} for index, name in enumerate(names)]
    (folder / "classes.json").write_text(json.dumps(entries))


def test_a_folder_that_predict_wrote_serves_as_masks(tmp_path):
    images(tmp_path / "images", ["a.png", "b.png"])
    masks(tmp_path / "masks", ["a.png", "b.png"])
    images(tmp_path / "masks", ["a_overlay.png", "b_overlay.png"])
    save(tmp_path / "masks/a_probabilities.tif", np.zeros((2, 12, 16), np.float32), photometric="minisblack")
    (tmp_path / "masks/failed.csv").write_text("image,reason\n")
    legend(tmp_path / "masks", "ground", "cell")
    data = load(tmp_path)
    assert [entry.name for entry in data.classes] == ["ground", "cell"]
    np.testing.assert_array_equal(data.train[0].mask, MASK)
    assert {path.name for path in look_through(tmp_path).foreign} == {
        *("a_overlay.png", "b_overlay.png", "a_probabilities.tif", "failed.csv", "classes.json")
    }


def test_predicted_masks_beside_those_of_0_and_255_mean_the_same(tmp_path):
    images(tmp_path / "images", ["a.png", "b.png", "c.png"])
    masks(tmp_path / "masks", ["a.png", "b.png"], MASK * 255)
    masks(tmp_path / "masks", ["c.png"])
    with pytest.raises(DataError, match=r"if both mean the same class, say in dataset\.yaml 'classes: .*\[1, 255\]"):
        load(tmp_path)
    legend(tmp_path / "masks", "ground", "cell")
    data = load(tmp_path)
    assert [entry.value for entry in data.classes] == [0, [1, 255]]
    for sample in (*data.train, *data.val):
        np.testing.assert_array_equal(sample.mask, MASK)


def test_corrected_predictions_score_a_model_that_was_trained_on_other_values(tmp_path):
    images(tmp_path / "images", ["a.png", "b.png"])
    masks(tmp_path / "masks", ["a.png", "b.png"])
    trained = DatasetFile(classes=[{"name": "ground", "value": 0}, {"name": "cell", "value": 255}])
    with pytest.raises(DataError, match="the masks hold values that belong to no class: 1"):
        load(tmp_path, trained=trained)
    legend(tmp_path / "masks", "ground", "cell")
    np.testing.assert_array_equal(load(tmp_path, trained=trained).train[0].mask, MASK)
    legend(tmp_path / "masks", "cell", "ground")
    with pytest.raises(DataError, match="the masks hold values that belong to no class: 1"):
        load(tmp_path, trained=trained)


def test_a_legend_that_does_not_fit_the_masks_is_left_alone(tmp_path):
    images(tmp_path / "images", ["a.png", "b.png"])
    masks(tmp_path / "masks", ["a.png", "b.png"], stripes(0, 128, 255))
    legend(tmp_path / "masks", "ground", "cell", "wall")
    assert [entry.name for entry in load(tmp_path).classes] == ["grey 0", "grey 128", "grey 255"]
    (tmp_path / "masks/classes.json").write_text('{"nothing": "of ours"}')
    assert load(tmp_path).notes == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a_Probabilities.tif", "probabilities are no classes; export the segmentation instead (ilastik: Simple"),
        ("a.czi", "it holds Zeiss CZI, which is not read; export it as OME-TIFF from ZEN"),
        ("a_seg.h5", "it holds HDF5, which is not read; export the array in it as TIFF"),
        ("a.json", "it holds no annotations that are known (of LabelMe, COCO, QuPath or ImageJ)"),
        ("a.roi", "it holds regions of ImageJ, and other masks are pixels; keep one kind"),
        ("a.ilp", "it holds a project of ilastik, not pixels; export the segmentation in ilastik"),
        ("a.doc", "'.doc' is not read; save it as PNG or TIFF"),
        ("a_overlay.png", "'overlay' is no mask; put the mask beside it"),
    ],
)
def test_what_lies_where_a_mask_is_expected_is_named(tmp_path, name, says):
    images(tmp_path / "images", ["a.png", "b.png"])
    masks(tmp_path / "masks", ["b.png"])
    path = tmp_path / "masks" / name
    save(path, noise()) if path.suffix in (".tif", ".png") else path.write_bytes(b"0")
    with pytest.raises(DataError) as caught:
        find_pairs(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/images/a.png: has no mask; {path} is there, but {says}")


def test_leftovers_of_cellpose_are_passed_over(tmp_path):
    for name in "ab":
        images(tmp_path, [f"{name}.tif"])
        masks(tmp_path, [f"{name}_cp_masks.png"])
        save(tmp_path / f"{name}_flows.tif", np.zeros((3, 12, 16), np.float32), photometric="minisblack")
        (tmp_path / f"{name}_cp_outlines.txt").write_text("1,2")
    assert pairs(tmp_path) == {name: ([f"{name}.tif"], [f"{name}_cp_masks.png"]) for name in "ab"}


@pytest.mark.parametrize(
    ("first", "second", "mask"),
    [
        ("C1-a.tif", "C2-a.tif", "a.png"),
        ("C1-a.tif.tif", "C2-a.tif.tif", "a.tif.png"),
        ("MAX_C1-a.tif", "MAX_C2-a.tif", "a.png"),
        ("AVG_C1-a.tif", "AVG_C2-a.tif", "AVG_a_mask.png"),
        ("C1-MAX_a.tif", "C2-MAX_a.tif", "MAX_a.png"),
        ("a_w1.tif", "a_w2.tif", "a.png"),
        ("a_ch00.tif", "a_ch01.tif", "a_mask.png"),
        ("a_channel000_z001.tif", "a_channel001_z001.tif", "a_z001.png"),
    ],
)
def test_files_of_channels_are_joined_by_the_names_of_programs(tmp_path, first, second, mask):
    images(tmp_path / "images", [first, second])
    masks(tmp_path / "masks", [mask])
    (pair,) = find_pairs(tmp_path).train
    assert pair.image == Channels((tmp_path / "images" / first, tmp_path / "images" / second))


def test_rows_and_columns_of_a_plate_are_no_channels(tmp_path):
    images(tmp_path / "images", ["s_r1_c1.png", "s_r1_c2.png"])
    masks(tmp_path / "masks", ["s_r1_c1_mask.png", "s_r1_c2_mask.png"])
    assert sorted(pairs(tmp_path)) == ["s_r1_c1", "s_r1_c2"]


@pytest.mark.parametrize("names", [("a_ch0.ome.tif", "a_ch1.ome.tif"), ("a_GFP.ome.tif", "a_DAPI.ome.tif")])
def test_ome_tiffs_that_share_their_metadata_are_one_image(tmp_path, names):
    for own in range(2):
        data = "".join(
            f'<TiffData FirstC="{c}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{c}</UUID></TiffData>'
            for c, name in enumerate(names)
        )
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{own}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
            f'SizeX="16" SizeY="12" SizeC="2" SizeZ="1" SizeT="1">{data}</Pixels></Image></OME>'
        )
        save(tmp_path / "images" / names[own], noise(seed=own), description=xml, metadata=None)
    save(tmp_path / "images/b_ch0.tif", noise(seed=2))
    save(tmp_path / "images/b_ch1.tif", noise(seed=3))
    masks(tmp_path / "masks", ["a.png", "b.png"])
    data = load(tmp_path, "b")
    expected = np.stack([noise(seed=0), noise(seed=1)], axis=-1) / 255
    np.testing.assert_allclose(data.train[0].image, expected, rtol=1e-6)


def test_a_table_of_windows_has_backslashes(tmp_path):
    images(tmp_path / "my images", ["a.png"])
    masks(tmp_path / "masks", ["a.png"])
    (tmp_path / "t.csv").write_bytes("\ufeffimage;mask\r\nmy images\\a.png;masks\\a.png\r\n".encode())
    assert pairs(tmp_path) == {"a": (["my images/a.png"], ["masks/a.png"])}


def test_a_table_may_list_the_same_name_in_two_folders(tmp_path):
    for folder in ("wt", "ko"):
        images(tmp_path / folder, ["001.png", f"{folder}.png"])
    masks(tmp_path, ["m.png"])
    rows = ["image,mask", *(f"{name},m.png" for name in ("wt/001.png", "ko/001.png", "ko/ko.png"))]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert sorted(pairs(tmp_path)) == ["ko", "ko-001", "wt-001"]


@pytest.mark.parametrize(
    ("of_images", "of_masks"), [("data/image", "data/mask"), ("src", "gt"), ("ds/img", "ds/masks_machine")]
)
def test_more_folders_of_programs_and_their_images_are_no_group(tmp_path, of_images, of_masks):
    images(tmp_path / of_images, ["a.png", "b.png"])
    masks(tmp_path / of_masks, ["a.png", "b.png"])
    found = look_through(tmp_path)
    assert [(pair.stem, pair.group) for pair in found.split.train] == [("a", ""), ("b", "")]
    assert found.faults == []
