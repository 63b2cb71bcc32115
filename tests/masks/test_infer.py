"""The meaning of mask values is inferred, or declared in dataset.yaml."""

import numpy as np
import pytest

from rescrnet.classes import ClassEntry
from rescrnet.datasets.layouts import find_pairs
from rescrnet.errors import DataError
from rescrnet.masks.declared import DatasetFile
from rescrnet.masks.infer import mask_table
from tests.support.folders import noise, save, shared, stripes

RED, GREEN, BLUE, BLACK, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 0)


def table_of(folder, *masks, declared=None):
    files = [{"": save(folder / f"{i}.png", mask)} for i, mask in enumerate(masks)]
    return mask_table(files, declared, folder)


def classes(table):
    return {entry.name: entry.values for entry in table.classes}


def declare(*entries, **values):
    return DatasetFile(classes=[*entries, *(ClassEntry(name=name, value=value) for name, value in values.items())])


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (stripes(0, 1), {"class 0": [0], "class 1": [1]}),
        (stripes(1, 2, 5), {"class 1": [1], "class 2": [2], "class 5": [5]}),
        (stripes(False, True, dtype=bool), {"class 0": [0], "class 1": [1]}),
        (stripes(0, 255), {"grey 0": [0], "grey 255": [255]}),
        (stripes(0, 128, 255), {"grey 0": [0], "grey 128": [128], "grey 255": [255]}),
        (stripes(0, 32768, 65535, dtype=np.uint16), {"grey 0": [0], "grey 32768": [32768], "grey 65535": [65535]}),
        (stripes(0, 127, 127, 128, 255, shape=(10, 10)), {"grey 0": [0], "grey 127": [127, 128], "grey 255": [255]}),
        (stripes((0, 0, 0), (255, 255, 255)), {"grey 0": [0], "grey 255": [255]}),
        (stripes(RED, GREEN, BLUE), {"red": ["#ff0000"], "green": ["#00ff00"], "blue": ["#0000ff"]}),
        (stripes(RED, BLACK), {"background": ["#000000"], "red": ["#ff0000"]}),
        (stripes((*RED, 255), (*BLUE, 255)), {"red": ["#ff0000"], "blue": ["#0000ff"]}),
    ],
    ids=lambda value: str(list(value))[:60] if isinstance(value, dict) else "",
)
def test_the_encoding_is_inferred_from_the_values(tmp_path, mask, expected):
    table = table_of(tmp_path, mask)
    assert classes(table) == expected
    assert table.strays == {}


def test_the_classes_of_all_masks_are_known_though_each_holds_a_few(tmp_path):
    assert list(classes(table_of(tmp_path, stripes(0, 1), stripes(1, 2)))) == ["class 0", "class 1", "class 2"]


def test_every_pixel_goes_to_the_class_of_its_value(tmp_path):
    table = table_of(tmp_path, stripes(BLUE, RED, GREEN))
    np.testing.assert_array_equal(table.decode({"": tmp_path / "0.png"}), stripes(2, 0, 1))


def test_bits_and_grey_levels_mix(tmp_path):
    table = table_of(tmp_path, stripes(False, True, dtype=bool), stripes(0, 255))
    assert classes(table) == {"grey 0": [0], "grey 255": [255]}
    np.testing.assert_array_equal(table.decode({"": tmp_path / "0.png"}), stripes(0, 1))


def test_bit_masks_are_read_as_declared_whether_1_or_255(tmp_path):
    for value in (1, 255):
        table = table_of(tmp_path, stripes(False, True, dtype=bool), declared=declare(a=0, b=value))
        np.testing.assert_array_equal(table.decode({"": tmp_path / "0.png"}), stripes(0, 1))


def test_a_few_stray_values_go_to_the_nearest_class(tmp_path):
    mask = stripes(0, 255, shape=(200, 200))
    mask[0, :3] = 3, 100, 200
    table = table_of(tmp_path, mask)
    assert classes(table) == {"grey 0": [0], "grey 255": [255]}
    assert table.decode({"": tmp_path / "0.png"})[0, :3].tolist() == [0, 0, 1]
    assert "200 (1 pixels)" in table.notes()[0]


def test_a_mask_of_many_grey_values_is_refused_with_values_counts_and_remedy(tmp_path):
    with pytest.raises(
        DataError, match=r"the masks hold \d+ grey values.*: \d+ \(\d+ pixels\).*number the classes.*dataset\.yaml"
    ):
        table_of(tmp_path, noise())


def test_a_jpeg_mask_is_read_as_the_classes_that_it_means(tmp_path):
    classes = np.kron(noise((10, 10)) // 128, np.ones((9, 9), np.uint8))
    file = save(tmp_path / "a.jpg", 255 * classes)
    table = mask_table([{"": file}], None, tmp_path)
    np.testing.assert_array_equal(table.decode({"": file}), classes)
    assert "antialiased edges" in table.notes()[0]


def test_colours_that_are_no_channel_are_refused_with_an_example_that_mends_it(tmp_path):
    with pytest.raises(DataError, match=r"#ffff00 \(60 pixels\).*\{name: nucleus, value: '#ffff00'\}"):
        table_of(tmp_path, stripes(RED, YELLOW, BLACK, shape=(12, 16)))


def test_colours_can_be_declared(tmp_path):
    table = table_of(tmp_path, stripes(RED, YELLOW, BLACK), declared=declare(a=["#ff0000", "#000000"], b="#FFFF00"))
    np.testing.assert_array_equal(table.decode({"": tmp_path / "0.png"}), stripes(0, 1, 0))


def test_names_values_and_colours_for_display_are_those_declared(tmp_path):
    cell = ClassEntry(name="cell", value=255, color="#00aa00")
    table = table_of(tmp_path, stripes(0, 255), declared=declare(cell, outside=0))
    assert table.classes[0] == cell
    np.testing.assert_array_equal(table.decode({"": tmp_path / "0.png"}), stripes(1, 0))


@pytest.mark.parametrize(
    ("mask", "declared", "message"),
    [
        (stripes(0, 255), declare(a=0, b=128), r"belong to no class: 255 \(96 pixels\); correct .*dataset\.yaml"),
        (stripes(RED, BLUE), declare(a="#ff0000", b="#00ff00"), r"belong to no class: #0000ff \(96 pixels\)"),
        (stripes(0, 255), declare(a=0, b="#ff0000"), "'b' is declared as '#ff0000', but the masks are grey; give"),
        (stripes(RED, BLUE), declare(a="red", b="#0000ff"), "'a' is declared as 'red', but the masks are colours"),
        (stripes(0, 255), declare(a=0, b=[255, 0]), "value 0 is declared for both 'a' and 'b'; give it to one"),
        (
            stripes(0, 255),
            declare(ClassEntry(name="a", value=0), ClassEntry(name="a", value=255)),
            "two classes are named 'a'; give each class a name of its own",
        ),
    ],
    ids=["value left out", "colour left out", "colour in grey", "name in colours", "value twice", "name twice"],
)
def test_a_declaration_that_does_not_fit_the_masks_is_refused(tmp_path, mask, declared, message):
    with pytest.raises(DataError, match=message):
        table_of(tmp_path, mask, declared=declared)


def binary(folder, **layers):
    return [{name: save(folder / name / "a.png", layer) for name, layer in layers.items()}]


def test_folders_are_classes_and_what_they_do_not_cover_is_background(tmp_path):
    table = mask_table(binary(tmp_path, cell=stripes(0, 255, 0), wall=stripes(0, 0, 255)), None, tmp_path)
    assert list(classes(table)) == ["background", "cell", "wall"]
    assert [share for _, _, share in table.rows()] == pytest.approx([1 / 3] * 3, abs=0.05)


def test_folders_that_cover_all_leave_no_background(tmp_path):
    table = mask_table(binary(tmp_path, cell=stripes(0, 1), wall=stripes(1, 0)), None, tmp_path)
    assert list(classes(table)) == ["cell", "wall"]


def test_a_folder_that_is_named_background_takes_what_no_folder_covers(tmp_path):
    table = mask_table(binary(tmp_path, background=stripes(1, 0, 0), cell=stripes(0, 1, 0)), None, tmp_path)
    assert list(classes(table)) == ["background", "cell"]


def test_folders_can_be_renamed_joined_and_ordered(tmp_path):
    files = binary(tmp_path, x=stripes(1, 0, 0), y=stripes(0, 1, 0))
    table = mask_table(files, declare(tissue=["x", "y"], gap="background"), tmp_path)
    np.testing.assert_array_equal(table.decode(files[0]), stripes(0, 0, 1))


def test_a_folder_in_dataset_yaml_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(DataError, match="'z' is declared as 'z', but the masks are folders x, y"):
        mask_table(binary(tmp_path, x=stripes(0, 1), y=stripes(1, 0)), declare(x="x", z="z"), tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("em_vnc", ["grey 0", "grey 128", "grey 255"]),
        ("fm_nuclei", ["red", "green", "blue"]),
        ("em_vnc_native", ["background", "membrane", "mitochondrion"]),
        ("sem_axons", ["grey 0", "grey 127", "grey 255"]),
    ],
)
def test_published_masks_are_understood_without_configuration(name, expected):
    split = find_pairs(shared(name))
    masks = [pair.masks for pair in (*split.train, *split.val)]
    table = mask_table(masks, None, shared(name))
    assert [entry.name for entry in table.classes] == expected
    assert all(share > 0.005 for _, _, share in table.rows())
    assert table.decode(masks[0]).max() == 2


def test_the_nine_published_grey_levels_are_nine_classes():
    files = sorted((shared("em_vnc_native") / "labels9").glob("*.png"))
    table = mask_table([{"": file} for file in files], None, files[0].parent)
    assert [entry.values[0] for entry in table.classes] == [0, 32, 64, 96, 128, 159, 191, 223, 255]
