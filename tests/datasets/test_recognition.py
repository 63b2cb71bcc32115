"""Layouts of other programs are recognised without being told, and nothing is guessed between two candidates."""

import json
import unicodedata

import numpy as np
import pytest

from rescrnet.datasets.layouts import find_pairs, look_through
from rescrnet.errors import DataError
from rescrnet.images.whole import Channels, Page
from tests.support.folders import noise, save, stripes
from tests.support.reading import load


def write(folder, *names):
    """Noise as images and stripes as masks, by the names of their folders."""
    for name in names:
        mask = any(word in name.lower() for word in ("mask", "label", "/y/", "msk", "seg"))
        save(folder / name, stripes(0, 1) if mask else noise(seed=len(name)))
    return folder


def names(folder):
    """What belongs together, by names relative to the dataset."""
    split = find_pairs(folder)
    return [
        [(pair.image.relative_to(folder).as_posix(), pair.masks[""].relative_to(folder).as_posix()) for pair in part]
        for part in (split.train, split.val)
    ]


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (("images/a.png", "labels/a.png"), ()),
        (("Images/a.png", "MASKS/a.png"), ()),
        (("imgs/a.tif", "Label/a.png"), ()),
        (("train_local/images/img/a.png", "train_local/masks/msk/a.png"),) * 1
        + ((("val_local/images/img/b.png"), "val_local/masks/msk/b.png"),),
        (("train/x/a.png", "train/y/a.png"), ("val/x/b.png", "val/y/b.png")),
        (("train/x/a.png", "train/y/a.png"), ()),
        (("data/train/raw/a.tif", "data/train/label/a.tif"), ("data/val/raw/b.tif", "data/val/label/b.tif")),
        (("train/images/a.png", "train/masks/a.png"), ("validation/images/b.png", "validation/masks/b.png")),
        (("imagesTr/a_0000.png", "labelsTr/a.png"), ()),
        (("cell.tif", "cell-labels.png"), ()),
        (("slide [x=0,y=512].tif", "slide [x=0,y=512]-labelled.png"), ()),
    ],
)
def test_layouts_of_other_programs_are_recognised(tmp_path, train, val):
    write(tmp_path, *train, *val)
    assert names(tmp_path) == [[train], [val] if val else []]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img_01.tif", "img_01_mask.png"),
        ("img_01.tif", "mask_01.png"),
        ("IMG_01.tif", "img_01.png"),
        ("01.tif", "01-labels.tif"),
        ("01.tif", "01_cp_masks.png"),
        ("01.tif", "01_seg.tif"),
        ("01.ome.tif", "01.png"),
        ("raw-01.tif", "gt-01.png"),
        ("cell 1.tif", "cell 1 Mask.png"),
        (unicodedata.normalize("NFC", "Präparat.tif"), unicodedata.normalize("NFD", "Präparat_mask.png")),
    ],
)
def test_names_pair_but_for_case_and_words_such_as_mask(tmp_path, image, mask):
    save(tmp_path / "images" / image, noise())
    save(tmp_path / "masks" / mask, stripes(0, 1))
    assert names(tmp_path) == [[(f"images/{image}", f"masks/{mask}")], []]


@pytest.mark.parametrize("name", ["mask", "img", "labels", "seg"])
def test_a_name_that_is_such_a_word_itself_pairs_too(tmp_path, name):
    write(tmp_path, f"images/{name}.png", f"masks/{name}.png")
    assert len(find_pairs(tmp_path).train) == 1


@pytest.mark.parametrize(
    ("files", "both"),
    [
        (("images/a.png", "masks/a.png", "masks/a_mask.png"), ("a.png", "a_mask.png")),
        (("images/a.png", "masks/a_label.png", "masks/a_mask.png"), ("a_label.png", "a_mask.png")),
        (("images/a.png", "images/A.png", "masks/a_mask.png"), ("A.png", "a.png")),
        (("images/img_a.png", "images/a.png", "masks/mask_a.png"), ("a.png", "img_a.png")),
    ],
)
def test_two_candidates_are_an_error_that_names_both(tmp_path, files, both):
    write(tmp_path, *files)
    with pytest.raises(DataError) as caught:
        find_pairs(tmp_path)
    assert all(name in str(caught.value) for name in both)
    assert "either could be meant by one name; remove or rename one" in str(caught.value)


def test_equal_stems_on_both_sides_are_no_guess(tmp_path):
    write(tmp_path, "images/1.png", "images/img_1.png", "masks/1.png", "masks/img_1.png")
    assert len(find_pairs(tmp_path).train) == 2


def test_two_folders_that_could_hold_the_masks_are_named(tmp_path):
    write(tmp_path, "images/a.png", "masks/a.png", "labels/a.png")
    with pytest.raises(DataError, match=r"labels and .*masks: either could hold the masks; keep one"):
        find_pairs(tmp_path)


def test_nnunet_channels_are_joined_and_its_classes_read(tmp_path):
    for stem in ("case_1", "case_2"):
        for channel in range(2):
            save(tmp_path / "imagesTr" / f"{stem}_{channel:04}.png", noise(seed=channel))
        save(tmp_path / "labelsTr" / f"{stem}.png", stripes(0, 1))
    text = {"channel_names": {"0": "DAPI", "1": "GFP"}, "labels": {"background": 0, "nucleus": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(text))
    data = load(tmp_path)
    assert (data.channels, [entry.name for entry in data.classes]) == (2, ["background", "nucleus"])
    assert [sample.stem for sample in (*data.train, *data.val)] == ["case_1", "case_2"]
    np.testing.assert_allclose(data.train[0].image[..., 1], noise(seed=1) / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"dataset\.json: is not valid JSON"),
        ('{"labels": {"a": 0, "b": [1, 2]}}', r"dataset\.json: label 'b' is a region of several values"),
        ('{"labels": {"a": 0}}', r"dataset\.json: classes"),
    ],
)
def test_a_dataset_json_that_cannot_be_used_is_refused(tmp_path, text, message):
    write(tmp_path, *(f"imagesTr/{s}_0000.png" for s in "ab"), *(f"labelsTr/{s}.png" for s in "ab"))
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_numbered_labels_of_the_first_nnunet_are_read(tmp_path):
    write(tmp_path, *(f"imagesTr/{s}_0000.png" for s in "ab"), *(f"labelsTr/{s}.png" for s in "ab"))
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "outside", "1": "cell"}}')
    assert [entry.name for entry in load(tmp_path).classes] == ["outside", "cell"]


def test_files_of_channels_are_joined_where_no_mask_has_such_a_name(tmp_path):
    write(tmp_path, "images/a_ch1.tif", "images/a_ch2.tif", "masks/a.png")
    (pair,) = find_pairs(tmp_path).train
    assert pair.image == Channels((tmp_path / "images/a_ch1.tif", tmp_path / "images/a_ch2.tif"))
    assert pair.stem == "a"
    write(tmp_path / "two", "images/a_c1.png", "images/a_c2.png", "masks/a_c1.png", "masks/a_c2.png")
    assert len(find_pairs(tmp_path / "two").train) == 2


def test_a_channel_that_is_missing_is_named(tmp_path):
    write(tmp_path, "images/a_c1.png", "images/a_c2.png", "images/b_c1.png", "masks/a.png", "masks/b.png")
    with pytest.raises(DataError, match=r"b_c1\.png: channel 2 of 'b' is missing, others have 2 channels; add"):
        find_pairs(tmp_path)


def test_pages_of_a_stack_become_images_of_one_group(tmp_path):
    images, masks = noise((3, 12, 16)), stripes(0, 1)[None].repeat(3, axis=0)
    save(tmp_path / "images/stack.tif", images, imagej=True, metadata={"axes": "ZYX"})
    save(tmp_path / "masks/stack.tif", masks, imagej=True, metadata={"axes": "ZYX"})
    split = find_pairs(tmp_path)
    assert [pair.stem for pair in split.train] == ["stack-1", "stack-2", "stack-3"]
    assert {pair.group for pair in split.train} == {"stack"}
    assert split.train[1].image == Page(tmp_path / "images/stack.tif", 1)
    samples = load(tmp_path, val="stack-3").train
    np.testing.assert_allclose(samples[1].image[..., 0], images[1] / 255, rtol=1e-6)


def test_stacks_with_different_numbers_of_pages_are_refused(tmp_path):
    save(tmp_path / "images/stack.tif", noise((3, 12, 16)), imagej=True, metadata={"axes": "ZYX"})
    save(tmp_path / "masks/stack.tif", noise((2, 12, 16)), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(DataError, match=r"masks/stack\.tif: has 2 pages but its image .*stack\.tif has 3; expected"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_names_images_masks_groups_and_split(tmp_path, delimiter):
    write(tmp_path, "raw data/a.png", "raw data/b.png", "raw data/c.png", "drawn/mask 1.png", "drawn/mask 2.png")
    rows = [
        ("Image", "Mask", "Group", "Split"),
        ("raw data/a.png", "drawn/mask 1.png", "mouse 1", "train"),
        ("raw data/b.png", "drawn/mask 2.png", "mouse 2", "Validation"),
        ("raw data/c.png", "drawn/mask 2.png", "", "test"),
        ("", "", "", ""),
    ]
    text = "\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "pairs.csv").write_text(text, encoding="utf-8-sig")
    split = find_pairs(tmp_path)
    assert [(pair.stem, pair.group) for pair in (*split.train, *split.val)] == [("a", "mouse 1"), ("b", "mouse 2")]
    assert names(tmp_path) == [
        [("raw data/a.png", "drawn/mask 1.png")],
        [("raw data/b.png", "drawn/mask 2.png")],
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,", "line 2: names no mask; fill it in, or remove the line"),
        ("a.png,gone.png", "line 2: there is no file 'gone.png'; expected a mask relative to the table"),
        ("a.png,mask.png,maybe", "line 2: split 'maybe' is unknown; expected train, val or test"),
        ("a.png,mask.png\na.png,mask.png", "line 3: 'a.png' is in line 2 too; list each image once"),
        ("", "lists no images; expected a row for each"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_line(tmp_path, row, message):
    write(tmp_path, "a.png", "mask.png")
    (tmp_path / "pairs.csv").write_text(f"image,mask,split\n{row}\n")
    with pytest.raises(DataError, match=message):
        find_pairs(tmp_path)


def test_all_that_is_wrong_is_found_beside_what_is_right(tmp_path):
    write(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/c.png", "images/d.png", "masks/d.png")
    write(tmp_path, "masks/d_mask.png").joinpath("images/notes.txt").touch()
    found = look_through(tmp_path)
    assert [pair.stem for pair in found.split.train] == ["a"]
    assert {fault.check for fault in found.faults} == {
        "ambiguous-pair",
        "image-without-mask",
        "mask-without-image",
    }
    assert found.foreign == [tmp_path / "images/notes.txt"]
    assert found.layout == "images and masks"


def test_a_folder_that_leads_to_itself_ends_in_a_named_problem(tmp_path):
    write(tmp_path, "images/a.png").joinpath("masks").mkdir()
    (tmp_path / "masks/loop").symlink_to(tmp_path / "masks", target_is_directory=True)
    (tmp_path / "masks/a.png").symlink_to(tmp_path / "masks/a.png")
    with pytest.raises(DataError, match=r"images/a\.png: has no mask"):
        find_pairs(tmp_path)
