"""Mask files become codes, codes become classes."""

from collections import Counter

import numpy as np
import pytest
import tifffile

from rescrnet.classes import ClassEntry, coloured
from rescrnet.errors import DataError
from rescrnet.masks.declared import DatasetFile
from rescrnet.masks.files import read_labels
from rescrnet.masks.reader import COLOUR, MaskReader
from rescrnet.masks.table import MaskTable
from tests.support.folders import noise, save, stripes

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def single(file):
    return {"": file}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_mask_is_read_as_its_values(tmp_path, dtype):
    mask = stripes(0, 128, 255, dtype=dtype)
    np.testing.assert_array_equal(read_labels(save(tmp_path / "a.png", mask)).values, mask)


@pytest.mark.parametrize("how", [{"compression": "lzw"}, {"byteorder": ">"}], ids=str)
def test_a_tiff_mask_of_whole_floats_is_read_as_integers(tmp_path, how):
    found = read_labels(save(tmp_path / "a.tif", stripes(0, 1, 2, dtype=np.float32), **how)).values
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found, stripes(0, 1, 2))


@pytest.mark.parametrize("shape", [(12, 16, 2), (12, 16, 4)])
def test_an_opaque_alpha_channel_is_left_out(tmp_path, shape):
    mask = noise(shape)
    mask[..., -1] = 255
    expected = mask[..., 0] if shape[-1] == 2 else mask[..., :3]
    np.testing.assert_array_equal(read_labels(save(tmp_path / "a.png", mask)).values, expected)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.tif", stripes(0, 0.5, dtype=np.float32), "holds fractions; expected whole numbers"),
        ("a.tif", stripes(0, np.inf, dtype=np.float32), "holds fractions; expected whole numbers"),
        ("a.tif", stripes(-2, 1, dtype=np.int16), "holds negative values; expected whole numbers from 0"),
        ("a.png", stripes(RED, BLUE, dtype=np.uint16), "is a colour mask of uint16; expected 8 bits a channel"),
        (
            "a.png",
            stripes((*RED, 255), (*BLUE, 128)),
            "96 pixels of the mask are partly transparent; expected opaque pixels where .* save it without alpha",
        ),
    ],
    ids=["fractions", "infinite", "negative", "16-bit colours", "half transparent colours"],
)
def test_a_mask_that_makes_no_sense_is_refused_by_name(tmp_path, name, array, message):
    with pytest.raises(DataError, match=rf"{name}: .*{message}"):
        read_labels(save(tmp_path / name, array))


@pytest.mark.parametrize(
    ("masks", "colour", "one"),
    [
        ([stripes(0, 1, 2)], False, 1),
        ([stripes(0, 255)], False, 255),
        ([stripes(False, True, dtype=bool)], False, 1),
        ([stripes(False, True, dtype=bool), stripes(0, 128)], False, 255),
        ([stripes(RED, GREEN, BLUE)], True, 255),
        ([stripes((7, 7, 7), (9, 9, 9))], False, 1),
        ([stripes((7, 7, 7), (9, 9, 9)), stripes(RED, BLUE)], True, 255),
    ],
    ids=["indices", "levels", "bits", "bits and levels", "colours", "grey as RGB", "grey as RGB and colours"],
)
def test_one_look_at_the_masks_tells_how_to_read_them(tmp_path, masks, colour, one):
    files = [single(save(tmp_path / f"{i}.png", mask)) for i, mask in enumerate(masks)]
    assert MaskReader.fit(files, 31) == MaskReader((), colour, one)


def test_the_set_pixels_of_a_bit_mask_among_grey_masks_are_255(tmp_path):
    files = [
        single(save(tmp_path / "a.png", stripes(False, True, dtype=bool))),
        single(save(tmp_path / "b.png", stripes(0, 255))),
    ]
    reader = MaskReader.fit(files, 31)
    np.testing.assert_array_equal(reader.codes(files[0]), reader.codes(files[1]))


def test_a_grey_mask_among_colours_is_read_as_colours(tmp_path):
    files = [single(save(tmp_path / "a.png", stripes(0, 255))), single(save(tmp_path / "b.png", stripes(RED, BLUE)))]
    reader = MaskReader.fit(files, 31)
    assert Counter(code for pair in files for code in reader.codes(pair).flat) == {
        COLOUR | 0x000000: 96, COLOUR | 0xFFFFFF: 96, COLOUR | 0xFF0000: 96, COLOUR | 0x0000FF: 96
    }  # fmt: skip


def binary_masks(folder, **layers):
    return {name: save(folder / name / "a.png", layer) for name, layer in layers.items()}


def test_binary_masks_leave_the_background_where_they_do_not_cover(tmp_path):
    files = binary_masks(tmp_path, nucleus=stripes(0, 255, 0, 0), cell=stripes(0, 0, 255, 0))
    reader = MaskReader.fit([files], 31)
    assert reader.layers == ("cell", "nucleus")
    np.testing.assert_array_equal(reader.codes(files), stripes(0, 2, 1, 0))


def test_what_binary_masks_do_not_cover_joins_a_folder_that_is_named_background(tmp_path):
    files = binary_masks(tmp_path, background=stripes(255, 0, 0), cell=stripes(0, 255, 0))
    np.testing.assert_array_equal(MaskReader.fit([files], 31).codes(files), np.where(stripes(0, 1, 0) == 1, 2, 1))


@pytest.mark.parametrize(
    "layer",
    [
        stripes(False, True, dtype=bool),
        stripes(0, 1),
        stripes(0, 255),
        stripes(0, 65535, dtype=np.uint16),
        stripes((0, 0, 0), RED),
        stripes((0, 255), (255, 255)),
    ],
    ids=["bits", "0 and 1", "0 and 255", "16 bits", "colour", "grey and alpha"],
)
def test_a_binary_mask_may_be_stored_in_any_way(tmp_path, layer):
    files = binary_masks(tmp_path, cell=layer)
    np.testing.assert_array_equal(MaskReader.fit([files], 31).codes(files), stripes(0, 1))


def test_antialiased_edges_are_cut_at_half(tmp_path):
    layer = stripes(0, 255, shape=(40, 40))
    layer[0, 19:22] = 100, 128, 127
    files = binary_masks(tmp_path, cell=layer)
    codes = MaskReader.fit([files], 31).codes(files)
    assert codes[0, 18:23].tolist() == [0, 0, 1, 0, 1]


def test_a_grey_image_is_no_binary_mask(tmp_path):
    files = binary_masks(tmp_path, cell=noise())
    with pytest.raises(DataError, match=r"cell/a\.png: \d+ pixels lie between 0 and \d+; expected .*; threshold it"):
        MaskReader.fit([files], 31).codes(files)


def test_binary_masks_that_overlap_are_refused_with_the_number_of_pixels(tmp_path):
    files = binary_masks(tmp_path, x=stripes(0, 255, 255, 0), y=stripes(0, 0, 255, 255))
    with pytest.raises(DataError, match=r"x/a\.png, .*y/a\.png: 48 pixels are set in more than one"):
        MaskReader.fit([files], 31).codes(files)


def test_binary_masks_of_two_sizes_are_refused_with_both(tmp_path):
    files = binary_masks(tmp_path, x=stripes(0, 1), y=stripes(0, 1, shape=(12, 15)))
    with pytest.raises(DataError, match=r"y/a\.png: is 12×15 but .*x/a\.png is 12×16"):
        MaskReader.fit([files], 31).codes(files)


@pytest.mark.parametrize(
    ("reader", "value", "code"),
    [
        (MaskReader(), 128, 128),
        (MaskReader(), "#808080", 128),
        (MaskReader(), "#ff0000", None),
        (MaskReader(), "nucleus", None),
        (MaskReader(colour=True), "#ff0001", COLOUR | 0xFF0001),
        (MaskReader(colour=True), 128, COLOUR | 0x808080),
        (MaskReader(("a", "b")), "b", 2),
        (MaskReader(("a", "b")), "background", 0),
        (MaskReader(("a", "background")), "background", 2),
        (MaskReader(("a", "b")), 1, None),
    ],
    ids=str,
)
def test_a_value_in_dataset_yaml_has_a_code_where_the_masks_can_hold_it(reader, value, code):
    assert reader.code_of(value) == code


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        (MaskReader(), 128),
        (MaskReader(colour=True), "#0a00ff"),
        (MaskReader(("a", "b")), "b"),
        (MaskReader(("a",)), "background"),
    ],
    ids=str,
)
def test_a_code_tells_its_value(reader, value):
    assert reader.value_of(reader.code_of(value)) == value


def table(reader, counts, **classes):
    entries = [ClassEntry(name=name, value=value) for name, value in classes.items()]
    return MaskTable(reader, entries, counts)


@pytest.mark.parametrize(
    ("reader", "mask", "expected"),
    [
        (MaskReader(), stripes(0, 127, 128, 255), stripes(0, 1, 1, 2)),
        (MaskReader(), stripes(3, 100, 200, 254), stripes(0, 1, 2, 2)),
    ],
    ids=["exact", "strays"],
)
def test_a_stray_value_goes_to_the_nearest_class(tmp_path, reader, mask, expected):
    found = table(reader, {}, a=0, b=[127, 128], c=255).decode(single(save(tmp_path / "a.png", mask)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_a_stray_colour_goes_to_the_nearest_class(tmp_path):
    file = save(tmp_path / "a.png", stripes(RED, (250, 3, 9), BLUE, (0, 90, 255)))
    found = table(MaskReader(colour=True), {}, a="#ff0000", b="#0000ff").decode(single(file))
    np.testing.assert_array_equal(found, stripes(0, 0, 1, 1))


@pytest.mark.parametrize("counts", [{0: 989, 255: 0, 7: 11}, {0: 9990, 255: 9, 7: 1}], ids=["many", "one in 10⁴"])
def test_too_many_stray_pixels_are_refused_with_values_counts_and_remedy(tmp_path, counts):
    with pytest.raises(DataError, match=rf"no class: 7 \({counts[7]} pixels\); correct .* or list .*dataset\.yaml"):
        table(MaskReader(), counts, a=0, b=255).check(tmp_path)


def test_a_few_stray_pixels_are_noted(tmp_path):
    strays = table(MaskReader(), {0: 50_000, 255: 50_000, 7: 2, 9: 1}, a=0, b=255)
    strays.check(tmp_path)
    assert strays.notes() == ["stray values were given to the nearest class: 7 (2 pixels), 9 (1 pixels)"]
    assert table(MaskReader(), {0: 1, 255: 1}, a=0, b=255).notes() == []


def test_the_class_table_has_values_class_and_share():
    rows = table(MaskReader(), {0: 50, 127: 20, 128: 5, 255: 25}, a=0, b=[127, 128, 129], c=255, d=3).rows()
    assert rows == [("0", "a", 0.5), ("127, 128", "b", 0.25), ("255", "c", 0.25), ("–", "d", 0)]


def test_classes_without_a_colour_get_one_each_and_keep_their_own():
    colours = [
        entry.color
        for entry in coloured([ClassEntry(name="a"), ClassEntry(name="b", color="#123456"), ClassEntry(name="c")])
    ]
    assert colours[1] == "#123456"
    assert len(set(colours)) == 3
    assert "" not in colours


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [", "is not valid YAML"),
        ("", "is no dataset.yaml; expected keys such as 'classes:', with a name and a value"),
        ("- a\n- b", "is no dataset.yaml; expected keys such as 'classes:'"),
        ("instance_boundary: 0", "instance_boundary: Input should be greater than 0"),
        ("ignore: #ff0000", "line 1 has a colour without quotes, .*write ignore: .#ff0000."),
        ("pixel_size: [0.5, -1]", "pixel_size.1: Input should be greater than 0"),
        ("classes: [{name: a, value: 0}]", "classes: lists 'a' alone; expected at least two classes"),
        ("classes: [{name: a}, {name: b, colour: red}]", r"key 'classes\.1\.colour' is unknown; known keys are name,"),
        ("classes: [{name: a}, {name: b, value: 1.5}]", r"classes\.1\.value"),
        ("classes: [{name: a}, {name: ''}]", r"classes\.1\.name"),
        ("classes: [{name: a}, {name: b, color: red}]", r"classes\.1\.color.*'red'"),
        (
            "classes:\n- {name: a}\n- name: b\n  value: #ff0000",
            "line 4 .* without quotes, .*write value: .#ff0000.",
        ),
    ],
)
def test_an_error_in_dataset_yaml_is_one_line_that_names_file_and_key(tmp_path, text, message):
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"^.*dataset\.yaml: .*{message}") as caught:
        DatasetFile.beside(tmp_path)
    assert "\n" not in str(caught.value)


def test_dataset_yaml_that_is_no_text_is_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "dataset.yaml", noise())
    with pytest.raises(DataError, match=r"dataset\.yaml: is not valid YAML"):
        DatasetFile.beside(tmp_path)


def test_without_dataset_yaml_nothing_is_declared(tmp_path):
    assert DatasetFile.beside(tmp_path) is None
