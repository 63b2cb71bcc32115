"""Numbered objects become interior and boundary, and are not taken for classes."""

import numpy as np
import pytest
from scipy.ndimage import label

from rescrnet.checking.check import load_dataset
from rescrnet.classes import IGNORE, ClassEntry
from rescrnet.datasets.read import read_dataset
from rescrnet.errors import DataError
from rescrnet.masks.declared import DatasetFile
from rescrnet.masks.infer import mask_table
from rescrnet.masks.instances import instances_to_classes
from tests.support.folders import noise, save, stripes


def discs(*places, size=48, radius=6, first=1, step=1, dtype=np.uint8):
    rows, columns = np.indices((size, size))
    labels = np.zeros((size, size), dtype)
    for number, (row, column) in enumerate(places):
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = first + step * number
    return labels


FIVE = [(8, 8), (8, 30), (24, 20), (38, 8), (38, 40)]


def test_two_touching_objects_have_a_boundary_between_them_and_none_at_the_border_of_the_image():
    labels = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0, 0]] * 3)
    assert instances_to_classes(labels, 1)[1].tolist() == [1, 1, 1, 2, 2, 1, 1, 2, 0, 0]
    assert instances_to_classes(labels, 2)[1].tolist() == [1, 1, 2, 2, 2, 1, 1, 2, 0, 0]  # the second is kept


def test_a_boundary_is_as_wide_as_asked_in_every_direction():
    classes = instances_to_classes(discs((24, 24), radius=15), 3)
    rows, columns = np.indices(classes.shape)
    distance = np.hypot(rows - 24, columns - 24)
    assert (classes[distance < 10.5] == 1).all()
    assert (classes[(distance > 13) & (distance < 14.5)] == 2).all()
    assert (classes[distance > 15] == 0).all()


def test_an_object_that_fills_the_image_is_all_interior_and_none_is_all_background():
    assert (instances_to_classes(np.full((5, 5), 7), 2) == 1).all()
    assert (instances_to_classes(np.zeros((5, 5), int), 2) == 0).all()


def test_next_to_unlabelled_pixels_there_is_no_boundary():
    labels = np.array([[3, 3, 3, 9, 9]] * 3)
    assert instances_to_classes(labels, 1, labels == 9)[1].tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("width", [0.3, 1, 2, 5])
@pytest.mark.parametrize("radius", [1, 2, 3, 6])
def test_objects_that_touch_stay_apart_by_a_pixel_and_none_is_lost_whatever_their_size(width, radius):
    labels = np.zeros((48, 48), int)
    for number, place in enumerate(((10, 10), (10, 11 + 2 * radius), (11 + 2 * radius, 10)), start=1):
        labels[discs(place, radius=radius) > 0] = number
    classes = instances_to_classes(labels, width)
    parts, count = label(classes == 1, np.ones((3, 3)))
    assert count == 3
    assert sorted(np.unique(labels[parts == part]).tolist() for part in range(1, 4)) == [[1], [2], [3]]
    assert ((classes > 0) == (labels > 0)).all()


def test_an_object_with_a_waist_stays_one_and_one_in_two_places_keeps_both():
    dumbbell = np.zeros((40, 80), int)
    for place, radius in (((20, 20), 12), ((20, 48), 10)):
        rows, columns = np.indices(dumbbell.shape)
        dumbbell[(rows - place[0]) ** 2 + (columns - place[1]) ** 2 <= radius**2] = 7
    dumbbell[18:23, 20:48] = 7
    interior = instances_to_classes(dumbbell, 4) == 1
    assert label(interior)[1] == 1
    assert interior[20, 20]
    dumbbell[:, 34] = 0
    interior = instances_to_classes(dumbbell, 4) == 1
    assert label(interior)[1] == 2


def test_between_objects_of_one_pixel_that_touch_one_is_boundary():
    classes = instances_to_classes(np.array([[0, 0, 0, 0, 0], [0, 1, 2, 3, 0], [0, 0, 0, 0, 0]]), 2)
    assert classes[1].tolist() == [0, 1, 2, 1, 0]


def test_a_boundary_is_as_wide_as_a_length_where_the_size_of_a_pixel_is_known(tmp_path):
    for stem in "ab":
        save(tmp_path / f"images/{stem}.png", noise((48, 48)))
        save(tmp_path / f"masks/{stem}.png", discs(*FIVE))
    declared = "instance_boundary: 0.5 µm\n"
    (tmp_path / "dataset.yaml").write_text(declared, encoding="utf-8")
    with pytest.raises(DataError, match=r"no image says how large its pixels are.*pixel_size"):
        load_dataset(tmp_path)
    known = "pixel_size: [0.25, 0.25]\n"
    (tmp_path / "dataset.yaml").write_text(declared + known, encoding="utf-8")
    assert read_dataset(tmp_path).table.reader.instances == pytest.approx(2)


def files(folder, *masks):
    return [{"": save(folder / f"{place}.png", mask)} for place, mask in enumerate(masks)]


@pytest.mark.parametrize(
    "masks",
    [
        [discs(*FIVE), discs(*FIVE[:3])],
        [discs(*FIVE, first=20, step=40), discs(*FIVE[:4], first=20, step=40)],
        [discs(*FIVE, first=300, dtype=np.uint16), discs(*FIVE, first=310, dtype=np.uint16)],
        [discs(*FIVE, (24, 40), radius=5)],
    ],
    ids=["few", "spread over the greys", "16 bits", "one image"],
)
def test_numbered_objects_are_not_taken_for_classes(tmp_path, masks):
    with pytest.raises(
        DataError, match=r"look like numbered objects.*'instance_boundary: 2' in .*data\.masks\.instance_boundary=2"
    ):
        mask_table(files(tmp_path, *masks), None, tmp_path)


@pytest.mark.parametrize(
    "masks",
    [
        [discs(*FIVE), discs(*FIVE)],  # the same numbers in every image, as layers of a tissue have
        [discs(*FIVE, step=0), discs(*FIVE[:2], step=0)],
        [np.maximum(discs(*FIVE), discs((24, 40), (24, 4), radius=3)), discs(*FIVE[:3])],
        [stripes(0, 1, 2), stripes(0, 1)],
    ],
    ids=["the same classes", "one class", "classes in pieces", "few classes"],
)
def test_classes_are_not_taken_for_numbered_objects(tmp_path, masks):
    assert len(mask_table(files(tmp_path, *masks), None, tmp_path).classes) > 1


def test_the_remedies_work(tmp_path):
    masks = files(tmp_path, discs(*FIVE), discs(*FIVE[:3]))
    table = mask_table(masks, DatasetFile(instance_boundary=2), tmp_path)
    assert [entry.name for entry in table.classes] == ["background", "interior", "boundary"]
    np.testing.assert_array_equal(table.decode(masks[1]), instances_to_classes(discs(*FIVE[:3]), 2))
    listed = DatasetFile(classes=[ClassEntry(name=str(value), value=value) for value in range(6)])
    np.testing.assert_array_equal(mask_table(masks, listed, tmp_path).decode(masks[0]), discs(*FIVE))


def test_classes_of_objects_can_be_named_and_joined(tmp_path):
    masks = files(tmp_path, discs(*FIVE))
    classes = [ClassEntry(name="nucleus", value="interior"), ClassEntry(name="rest", value=["boundary", "background"])]
    table = mask_table(masks, DatasetFile(instance_boundary=1, classes=classes), tmp_path)
    np.testing.assert_array_equal(table.decode(masks[0]), instances_to_classes(discs(*FIVE), 1) != 1)


def test_a_number_may_stand_for_unlabelled_pixels(tmp_path):
    labels = discs(*FIVE)
    labels[:, 45:] = 99
    (mask,) = files(tmp_path, labels)
    table = mask_table([mask], DatasetFile(instance_boundary=2, ignore=99), tmp_path)
    assert (table.decode(mask)[:, 45:] == IGNORE).all()
    assert table.rows()[-1][:2] == ("99", "unlabelled")


def test_objects_are_refused_where_the_masks_number_none(tmp_path):
    masks = files(tmp_path, stripes((255, 0, 0), (0, 0, 255)))
    with pytest.raises(
        DataError, match="the masks are colours, but 'instance_boundary' expects a number for each object"
    ):
        mask_table(masks, DatasetFile(instance_boundary=2), tmp_path)
