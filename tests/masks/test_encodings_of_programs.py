"""Masks as other programs write them: unlabelled pixels, palettes, layers in one file, smooth edges."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw

from rescrnet.classes import IGNORE, ClassEntry
from rescrnet.errors import DataError
from rescrnet.masks.declared import DatasetFile
from rescrnet.masks.infer import mask_table
from tests.support.folders import noise, save, stripes

RED, GREEN, BLUE, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)


def files(folder, *masks, suffix="png"):
    return [{"": save(folder / f"{place}.{suffix}", mask)} for place, mask in enumerate(masks)]


def names(table):
    return [entry.name for entry in table.classes]


def indexed(path, mask, *palette, **how):
    image = Image.fromarray(mask, "L")
    image.putpalette([value for colour in palette for value in colour])
    image.save(path, **how)
    return {"": path}


@pytest.mark.parametrize(
    ("masks", "declared", "value"),
    [
        ([stripes(0, 1, 255)], None, "255"),
        ([stripes(1, 2, 65535, dtype=np.uint16)], None, "65535"),
        ([stripes(1, 2, 0)], DatasetFile(ignore=0), "0"),
        ([stripes(0, 128, 77), stripes(0, 128, 78)], DatasetFile(ignore=[77, 78]), "77, 78"),
        ([stripes(RED, BLUE, WHITE)], DatasetFile(ignore="#ffffff"), "#ffffff"),
        ([stripes((*RED, 255), (*BLUE, 255), (*RED, 0))], None, "transparent, NaN or -1"),
        ([stripes((0, 255), (9, 255), (9, 0))], None, "transparent, NaN or -1"),
    ],
    ids=["255", "65535", "zero", "two values", "a colour", "transparent colours", "transparent grey"],
)
def test_unlabelled_pixels_are_told_by_a_value_a_colour_or_transparency(tmp_path, masks, declared, value):
    pairs = files(tmp_path, *masks)
    table = mask_table(pairs, declared, tmp_path)
    np.testing.assert_array_equal(table.decode(pairs[0]), stripes(0, 1, IGNORE))
    assert len(table.classes) == 2
    assert table.rows()[-1] == (value, "unlabelled", pytest.approx(1 / 3, abs=0.05))


def test_nan_is_unlabelled(tmp_path):
    pairs = files(tmp_path, stripes(0, 1, np.nan, dtype=np.float32), suffix="tif")
    np.testing.assert_array_equal(mask_table(pairs, None, tmp_path).decode(pairs[0]), stripes(0, 1, IGNORE))


def test_what_is_taken_for_unlabelled_without_being_declared_is_said(tmp_path):
    table = mask_table(files(tmp_path, stripes(0, 1, 2, 255)), None, tmp_path)
    assert "255 beside class indices is taken for unlabelled" in table.notes()[0]
    assert table.ignore == (255,)


def test_255_can_be_declared_a_class(tmp_path):
    declared = DatasetFile(classes=[ClassEntry(name=str(value), value=value) for value in (0, 1, 255)])
    assert names(mask_table(files(tmp_path, stripes(0, 1, 255)), declared, tmp_path)) == ["0", "1", "255"]


@pytest.mark.parametrize("values", [(0, 255), (0, 128, 255), (0, 2, 255), (1, 255)])
def test_255_beside_anything_but_indices_in_a_row_is_a_class(tmp_path, values):
    assert names(mask_table(files(tmp_path, stripes(*values)), None, tmp_path))[-1] == "grey 255"


def test_masks_of_0_and_1_beside_masks_of_0_and_255_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"0\.png: holds class indices, but .*1\.png holds 255 beside one other value"):
        mask_table(files(tmp_path, stripes(0, 1), stripes(0, 255)), None, tmp_path)


def test_masks_without_any_label_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no pixel of the masks is labelled, all are 0; label .* correct 'ignore'"):
        mask_table(files(tmp_path, stripes(0)), DatasetFile(ignore=0), tmp_path)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (DatasetFile(ignore="#ff0000"), "unlabelled pixels are declared as '#ff0000', but the masks are grey"),
        (
            DatasetFile(ignore=1, classes=[ClassEntry(name="a", value=0), ClassEntry(name="b", value=1)]),
            "value 1 is declared for both 'ignore' and 'b'; give it to one",
        ),
    ],
    ids=["a colour in grey", "a class too"],
)
def test_unlabelled_values_that_cannot_be_are_refused(tmp_path, declared, message):
    with pytest.raises(DataError, match=message):
        mask_table(files(tmp_path, stripes(0, 1)), declared, tmp_path)


def test_what_no_folder_covers_may_be_unlabelled(tmp_path):
    masks = {
        name: save(tmp_path / name / "a.png", layer)
        for name, layer in (("x", stripes(255, 0, 0)), ("y", stripes(0, 255, 0)))
    }
    table = mask_table([masks], DatasetFile(ignore="background"), tmp_path)
    assert names(table) == ["x", "y"]
    np.testing.assert_array_equal(table.decode(masks), stripes(0, 1, IGNORE))


def test_palette_images_are_their_indices(tmp_path):
    pairs = [indexed(tmp_path / f"{place}.png", stripes(0, 1, 2), BLACK, (200, 10, 99), RED) for place in range(2)]
    table = mask_table(pairs, None, tmp_path)
    assert names(table) == ["class 0", "class 1", "class 2"]
    np.testing.assert_array_equal(table.decode(pairs[1]), stripes(0, 1, 2))


def test_palette_images_whose_palettes_disagree_are_their_colours(tmp_path):
    one = indexed(tmp_path / "0.png", stripes(0, 1), BLACK, RED)
    other = indexed(tmp_path / "1.png", stripes(0, 1), RED, BLACK)
    table = mask_table([one, other], None, tmp_path)
    assert names(table) == ["background", "red"]
    np.testing.assert_array_equal(table.decode(one), stripes(0, 1))
    np.testing.assert_array_equal(table.decode(other), stripes(1, 0))


def test_palette_images_among_colours_are_colours(tmp_path):
    pairs = [indexed(tmp_path / "0.png", stripes(0, 1), RED, BLUE), {"": save(tmp_path / "1.png", stripes(RED, BLUE))}]
    table = mask_table(pairs, None, tmp_path)
    np.testing.assert_array_equal(table.decode(pairs[0]), table.decode(pairs[1]))


def test_a_transparent_entry_of_a_palette_is_unlabelled(tmp_path):
    pair = indexed(tmp_path / "0.png", stripes(0, 1, 2), WHITE, BLACK, RED, transparency=0)
    table = mask_table([pair], None, tmp_path)
    np.testing.assert_array_equal(table.decode(pair), stripes(IGNORE, 0, 1))


GREY = {"photometric": "minisblack"}
CHANNELS = {"metadata": {"axes": "CYX"}, **GREY}
PAGES = {"imagej": True, **GREY}


def stack(*layers):
    return np.stack([stripes(*layer) for layer in layers])


@pytest.mark.parametrize(
    ("array", "how", "expected"),
    [
        (stack((0, 255, 0), (0, 0, 255)), PAGES, ["background", "layer 1", "layer 2"]),
        (stack((255, 0, 0), (0, 255, 0), (0, 0, 255)), PAGES, ["layer 1", "layer 2", "layer 3"]),
        (stack((0, 1, 0), (0, 0, 1)), CHANNELS, ["background", "layer 1", "layer 2"]),
        (stack((0, 1, 0), (0, 0, 1)).astype(np.float32), GREY, ["background", "layer 1", "layer 2"]),
        (stack((1, 0, 0), (0, 1, 0), (0, 0, 1)).transpose(1, 2, 0), {}, ["layer 1", "layer 2", "layer 3"]),
        (
            stack((0, 255, 0), (0, 0, 255)),
            {"imagej": True, "metadata": {"Labels": ["cell", "wall"]}},
            ["background", "cell", "wall"],
        ),
    ],
    ids=["pages", "one-hot", "channels", "floats", "0 and 1 as RGB", "named by ImageJ"],
)  # fmt: skip
def test_layers_in_one_file_are_classes(tmp_path, array, how, expected):
    tifffile.imwrite(tmp_path / "0.tif", array, **how)
    pair = {"": tmp_path / "0.tif"}
    table = mask_table([pair], None, tmp_path)
    assert names(table) == expected
    np.testing.assert_array_equal(table.decode(pair), stripes(0, 1, 2))


def test_a_file_with_fewer_layers_is_named(tmp_path):
    pairs = []
    for place, array in enumerate((stack((0, 1), (1, 0), (0, 0)), stack((0, 1), (1, 0)))):
        tifffile.imwrite(tmp_path / f"{place}.tif", array, **PAGES)
        pairs.append({"": tmp_path / f"{place}.tif"})
    with pytest.raises(DataError, match=r"1\.tif: holds 2 binary masks but the other files 3; .*add what is missing"):
        mask_table(pairs, None, tmp_path)


def test_layers_that_overlap_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "0.tif", stack((255, 255), (0, 255)), imagej=True)
    with pytest.raises(DataError, match=r"0\.tif: 96 pixels are set in more than one layer; expected one class"):
        mask_table([{"": tmp_path / "0.tif"}], None, tmp_path)


def smooth(*shapes, ground, size=120):
    """Discs as a drawing program paints them, drawn four times as large and averaged."""
    image = Image.new("RGB" if isinstance(ground, tuple) else "L", (4 * size, 4 * size), ground)
    for (row, column, radius), colour in shapes:
        box = [4 * (column - radius), 4 * (row - radius), 4 * (column + radius), 4 * (row + radius)]
        ImageDraw.Draw(image).ellipse(box, fill=colour)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


@pytest.mark.parametrize(
    ("grounds", "expected"),
    [
        ((0, 255, 255, 255), {"grey 0": 0, "grey 255": 255}),
        ((0, 128, 255, 255), {"grey 0": 0, "grey 128": 128, "grey 255": 255}),
        ((BLACK, RED, GREEN, RED), {"background": BLACK, "red": RED, "green": GREEN}),
    ],
    ids=["two greys", "three greys", "colours"],
)
def test_smooth_edges_go_to_the_class_next_to_them(tmp_path, grounds, expected):
    ground, *discs = grounds
    places = [(30, 30, 18), (80, 40, 25), (60, 95, 20)]
    pairs = files(tmp_path, smooth(*zip(places, discs, strict=True), ground=ground))
    table = mask_table(pairs, None, tmp_path)
    assert names(table) == list(expected)
    assert table.antialiased
    assert "at antialiased edges were given to the class next to them" in table.notes()[0]
    rows, columns = np.indices((120, 120))
    wanted = np.zeros((120, 120), int)
    for (row, column, radius), disc in zip(places, discs, strict=True):
        wanted[np.hypot(rows + 0.5 - row, columns + 0.5 - column) < radius] = list(expected.values()).index(disc)
    assert (table.decode(pairs[0]) != wanted).mean() < 0.005  # of the pixels that an outline halves
    if grounds == (0, 128, 255, 255):  # between black and white nothing is made grey
        assert set(np.unique(table.decode(pairs[0])[50:, :70])) <= {0, 2}


def test_smooth_binary_layers_are_cut_at_half(tmp_path):
    layer = smooth(((30, 30, 9), 255), ((80, 40, 9), 255), ((60, 95, 20), 255), ground=0, size=110)
    table = mask_table([{"cell": save(tmp_path / "cell/0.png", layer)}], None, tmp_path)
    np.testing.assert_array_equal(table.decode({"cell": tmp_path / "cell/0.png"}), layer > 127)


@pytest.mark.parametrize(
    "declared", [None, DatasetFile(classes=[ClassEntry(name="a", value=0), ClassEntry(name="b", value=255)])]
)
def test_values_that_are_no_edges_are_refused(tmp_path, declared):
    mask = smooth(((60, 60, 30), 255), ground=0)
    spoilt = np.where(noise(mask.shape) < 30, noise(mask.shape, seed=1), mask)
    with pytest.raises(DataError, match=r"more than a few classes|belong to no class"):
        mask_table(files(tmp_path, spoilt), declared, tmp_path)


def test_a_thin_class_is_no_edge(tmp_path):
    mask = np.zeros((100, 100), np.uint8)
    mask[20:80, 20:80] = 255
    mask[20:80, [20, 79]] = mask[[20, 79], 20:80] = 128  # an outline one pixel wide, between 0 and 255
    assert names(mask_table(files(tmp_path, mask), None, tmp_path)) == ["grey 0", "grey 128", "grey 255"]


def test_a_permuted_class_order_permutes_the_indices_and_nothing_else(tmp_path):
    (pair,) = files(tmp_path, stripes(0, 128, 255, 77))
    entries = [ClassEntry(name=str(value), value=value) for value in (0, 128, 255)]
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)):
        declared = DatasetFile(classes=[entries[place] for place in order], ignore=77)
        table = mask_table([pair], declared, tmp_path)
        np.testing.assert_array_equal(table.decode(pair), stripes(*(order.index(place) for place in range(3)), IGNORE))
        assert sorted(table.rows()) == sorted(
            mask_table([pair], DatasetFile(classes=entries, ignore=77), tmp_path).rows()
        )
