"""Groups of images stay on one side of the split, neighbours in one block."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescrnet.checking.check import load_dataset
from rescrnet.datasets.grouping import groups_of, last_groups, natural, on_both_sides, patch_of
from rescrnet.datasets.layouts import Pair, Split
from rescrnet.datasets.splitting import split_off
from rescrnet.errors import DataError
from rescrnet.masks.declared import DatasetFile
from rescrnet.validation import parse_validation
from tests.support.folders import labelled, noise, save, shared, stripes
from tests.support.reading import load


def validating(*stems, val=None, layout=None, **said):
    pairs = [Pair(stem, f"{stem}.png", {}, (layout or {}).get(stem, "")) for stem in stems]
    return sorted((pair.stem for pair in split_off(Split(pairs, []), val, DatasetFile(**said)).val), key=natural)


def test_the_tenth_section_comes_after_the_second():
    assert validating("z1", "z10", "z11", "z12", "z2", "z3", "z4", "z5") == ["z11", "z12"]


@pytest.mark.parametrize(
    ("stem", "image"),
    [
        ("img_01_x0_y512", "img_01"),
        ("img_01_y512_x0", "img_01"),
        ("slide 7 r1 c2", "slide 7"),
        ("slide-7-row1-col2", "slide-7"),
        ("a_tile3", "a"),
        ("a_tile_3_4", "a"),
        ("a-Patch-012", "a"),
        ("a_crop2", "a"),
        ("slide1 [d=2,x=512,y=0,w=512,h=512]", "slide1"),
        ("slide1.svs [x=512,y=0,w=512,h=512]", "slide1.svs"),
        ("slide 7 (2.00, x=5, y=0, w=5, h=5, z=1)", "slide 7"),
        ("slide [x=5]", None),
        ("img_01", None),
        ("mouse_r1", None),
        ("img_x7", None),
        ("x0_y0", None),
        ("reptile3", None),
    ],
)
def test_names_tell_the_image_that_a_patch_was_cut_from(stem, image):
    assert patch_of(stem) == image


def test_patches_of_one_image_stay_together():
    patches = [f"img_{image}_x{x}_y{y}" for image in "abcd" for x in (0, 512) for y in (0, 512)]
    assert validating(*patches) == [patch for patch in patches if patch.startswith("img_d")]


def test_patches_of_a_single_image_are_not_split_unless_they_are_named():
    patches = [f"img_x{x}_y0" for x in (0, 512, 1024, 1536)]
    with pytest.raises(DataError, match=r"all images are patches of one image, 'img'.*--val a,b,c"):
        validating(*patches)
    assert validating(*patches, val=patches[3]) == patches[3:]


def tile(x, y=0, slide="s"):
    return f"{slide} [d=2,x={x},y={y},w=512,h=512]"


def test_tiles_of_a_slide_stay_together_and_follow_their_place():
    tiles = [tile(x, slide=slide) for slide in "stu" for x in (0, 512, 1024, 1536)]
    assert validating(*tiles) == [one for one in tiles if one.startswith("u")]


def test_tiles_of_a_single_slide_that_do_not_overlap_are_divided_at_its_end():
    assert validating(*(tile(x) for x in (0, 512, 1024, 1536))) == [tile(1536)]
    with pytest.raises(DataError, match="all images are patches of one image, 's'"):
        validating(*(tile(x) for x in (0, 256, 512, 768)))


def test_the_commas_in_the_name_of_a_tile_separate_no_names():
    tiles = [tile(x) for x in (0, 512, 1024, 1536)]
    assert validating(*tiles, val=f"{tiles[0]}, {tiles[3]}") == [tiles[0], tiles[3]]
    assert str(parse_validation(tiles[0])) == tiles[0]


def test_names_in_dataset_yaml_may_be_numbers_and_composed_otherwise():
    stems = ["004", "005", "010", unicodedata.normalize("NFD", "Größe")]
    assert validating(*stems, validation=["005"]) == ["005"]
    assert validating(*stems, validation=["5"]) == ["005"]
    assert validating(*stems, validation=[unicodedata.normalize("NFC", "Größe")]) == stems[3:]
    groups = {"a": ["4", "5"], "b": ["10", "Größe"]}
    assert validating(*stems, val="0.5", groups=groups) == ["010", stems[3]]
    with pytest.raises(DataError, match="'5' is no image"):
        validating("05", "005", "a", validation=["5"])


def test_numbers_in_dataset_yaml_are_read_as_they_are_written(tmp_path):
    labelled(tmp_path, ["004", "008", "010", "1e3"])
    (tmp_path / "dataset.yaml").write_text("validation: [010, 1e3]\ngroups: {1: [004], 2: [008, 010]}\n")
    assert [sample.stem for sample in load(tmp_path).val] == ["010", "1e3"]


def test_animals_in_the_names_stay_together():
    stems = ["mouse1_a", "mouse1_b", "mouse2_a", "mouse2_b", "Mouse3_a", "mouse3_b"]
    assert validating(*stems, val="0.34") == ["Mouse3_a", "mouse3_b"]


def test_one_animal_in_all_names_tells_nothing():
    assert validating("mouse1_1", "mouse1_2", "mouse1_3", "mouse1_4") == ["mouse1_4"]


def test_groups_of_the_layout_stay_together_and_a_single_stack_ends_in_a_block():
    stems = ["p1", "p2", "p3", "p4", "q1", "q2"]
    assert validating(*stems, layout={stem: stem[0] for stem in stems}) == ["q1", "q2"]
    assert validating(*stems[:4], layout=dict.fromkeys(stems, "stack")) == ["p4"]


def test_groups_in_dataset_yaml_go_before_names():
    groups = {"first": ["mouse1_a", "mouse2_a"], "second": ["mouse1_b", "mouse2_b"]}
    stems = ["mouse1_a", "mouse1_b", "mouse2_a", "mouse2_b"]
    assert validating(*stems) == ["mouse2_a", "mouse2_b"]
    assert validating(*stems, groups=groups) == ["mouse1_b", "mouse2_b"]


def test_dataset_yaml_may_name_the_images_that_validate():
    assert validating("a", "b", "c", validation=["a"]) == ["a"]
    assert validating("a", "b", "c", val="c", validation=["a"]) == ["c"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"validation": ["z"]}, "dataset.yaml: 'z' is no image; correct 'validation'"),
        ({"validation": ["a", "b"]}, "dataset.yaml: 'validation' names every image; leave some for training"),
        ({"groups": {"g": ["a", "z"]}}, "dataset.yaml: 'z' in group 'g' is no image; correct 'groups'"),
    ],
)
def test_names_in_dataset_yaml_that_are_no_images_are_refused(said, message):
    with pytest.raises(DataError, match=message):
        validating("a", "b", **said)


@given(
    st.dictionaries(st.text("abcz_0123", min_size=1, max_size=6), st.sampled_from("pqrst"), min_size=2, max_size=20),
    st.floats(0.01, 0.99),
)
def test_no_group_is_ever_on_both_sides_and_no_side_is_empty(groups, fraction):
    groups = groups_of(list(groups), groups)
    if len(set(groups.values())) < 2:
        return
    val = last_groups(groups, fraction)
    assert 0 < len(val) < len(groups)
    assert on_both_sides(groups, val) == []


def test_groups_on_both_sides_by_the_users_choice_are_said(tmp_path):
    for stem in ("a_tile1", "a_tile2", "b_tile1", "b_tile2"):
        save(tmp_path / f"images/{stem}.png", noise())
        save(tmp_path / f"masks/{stem}.png", stripes(0, 1))
    assert load(tmp_path).notes == []
    assert load(tmp_path, "a_tile1").notes == ["both in training and in validation, whose scores it flatters: a"]


def test_the_rats_of_the_published_axons_stay_together():
    data = load(shared("sem_axons"))
    assert [sample.stem for sample in data.val] == ["sub-rat5_sample-data14", "sub-rat6_sample-data15"]
    assert data.leaking == ()


def test_images_without_labels_are_left_out_and_named(tmp_path):
    labelled(tmp_path, "ad", mask=stripes(0, 1, 255))
    labelled(tmp_path, "bc", mask=stripes(255))
    data = load(tmp_path, "0.5")
    assert ([s.stem for s in data.train], [s.stem for s in data.val]) == (["a"], ["d"])
    assert data.notes[-1] == "without a labelled pixel and left out: b, c"


@pytest.mark.parametrize(("val", "kind"), [("b", "training"), ("a", "validation")])
def test_a_side_without_any_label_is_refused(tmp_path, val, kind):
    labelled(tmp_path, "a", mask=stripes(255))
    labelled(tmp_path, "b", mask=stripes(0, 1, 255))
    with pytest.raises(DataError, match=rf"masks/a\.png: no pixel is labelled, nor in another {kind} mask"):
        load_dataset(tmp_path, val)


def test_a_painted_mask_may_show_one_class(tmp_path):
    labelled(tmp_path, "ab", mask=stripes(0, 1, 255))
    labelled(tmp_path, "c", mask=stripes(1, 1, 255))
    assert np.unique(load(tmp_path).val[0].mask).tolist() == [1, 255]
