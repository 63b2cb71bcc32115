"""Folders become pairs of images and masks, split into training and validation."""

import shutil

import pytest

from rescrnet.datasets.layouts import find_pairs
from rescrnet.datasets.splitting import split_off
from rescrnet.errors import DataError, UsageError
from tests.support.folders import labelled, noise, save, shared, stripes


def authors(folder, train="ab", val="cd"):
    """The authors' layout."""
    for split, stems in (("train_local", train), ("val_local", val)):
        for stem in stems:
            save(folder / split / "images/img" / f"{stem}.png", noise())
            save(folder / split / "masks/msk" / f"{stem}.png", stripes(0, 1))
    return folder


def stems(pairs):
    return [pair.stem for pair in pairs]


def test_the_authors_layout_has_its_own_validation_images(tmp_path):
    split = find_pairs(authors(tmp_path))
    assert (stems(split.train), stems(split.val)) == (["a", "b"], ["c", "d"])
    assert split.train[0].image == tmp_path / "train_local/images/img/a.png"
    assert split.train[0].masks == {"": tmp_path / "train_local/masks/msk/a.png"}


def test_images_and_masks_pair_by_stem_whatever_the_format(tmp_path):
    save(tmp_path / "images/Zelle 1 µ.TIF", noise())
    save(tmp_path / "masks/Zelle 1 µ.png", stripes(0, 1))
    (pair,) = find_pairs(tmp_path).train
    assert (pair.image.name, pair.masks[""].name) == ("Zelle 1 µ.TIF", "Zelle 1 µ.png")


def test_a_folder_of_masks_for_each_class_gives_each_image_a_file_a_class(tmp_path):
    for name in ("images", "masks/nucleus", "masks/cell wall"):
        save(tmp_path / name / "a.png", noise())
    (pair,) = find_pairs(tmp_path).train
    assert pair.masks == {name: tmp_path / "masks" / name / "a.png" for name in ("cell wall", "nucleus")}


def test_hidden_and_foreign_files_do_not_count(tmp_path):
    labelled(tmp_path)
    for name in ("images/.DS_Store", "images/._a.png", "masks/Thumbs.db", "masks/.ipynb_checkpoints/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert stems(find_pairs(tmp_path).train) == ["a", "b"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("", "no such folder; expected a folder of images and masks"),
        ("images", "images: no such folder; expected 'images' and 'masks'"),
        ("masks", "masks: no such folder; expected 'images' and 'masks'"),
        ("images/*", "images: holds no images; expected PNG, TIFF, JPEG, BMP, NumPy or Zarr images"),
        ("images/a.png", r"masks/a\.png: has no image; expected .*images/a\.\*"),
        ("masks/b.png", r"images/b\.png: has no mask; expected .*masks/b\.\*"),
        ("masks/*", r"images/a\.png: has no mask \(and 1 more\)"),
    ],
)
def test_what_is_missing_is_named(tmp_path, missing, message):
    labelled(tmp_path)
    for path in tmp_path.glob(missing) if missing else [tmp_path]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=message):
        find_pairs(tmp_path)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_two_files_of_one_stem_are_named(tmp_path, folder):
    save(labelled(tmp_path) / folder / "a.tif", noise())
    with pytest.raises(DataError, match=rf"{folder}/a\.png and .*{folder}/a\.tif: two files of one stem"):
        find_pairs(tmp_path)


def test_a_mask_that_is_missing_in_the_folder_of_one_class_is_named(tmp_path):
    for name in ("images/a", "images/b", "masks/x/a", "masks/x/b", "masks/y/a"):
        save(tmp_path / f"{name}.png", noise())
    with pytest.raises(DataError, match=r"images/b\.png: has no mask; expected .*masks/y/b\.\*"):
        find_pairs(tmp_path)


def test_an_empty_folder_of_a_class_is_not_passed_over(tmp_path):
    for name in ("images", "masks/x"):
        save(tmp_path / name / "a.png", noise())
    (tmp_path / "masks/y").mkdir()
    with pytest.raises(DataError, match=r"images/a\.png: has no mask; expected .*masks/y/a\.\*"):
        find_pairs(tmp_path)


def test_masks_beside_folders_of_masks_are_refused(tmp_path):
    save(labelled(tmp_path) / "masks/extra/a.png", noise())
    with pytest.raises(DataError, match=r"masks: holds both masks and folders of masks \(extra\); keep one kind"):
        find_pairs(tmp_path)


def test_training_images_without_validation_images_are_refused_in_the_authors_layout(tmp_path):
    shutil.rmtree(authors(tmp_path) / "val_local")
    with pytest.raises(DataError, match="val_local: no such folder; expected the validation images beside train_local"):
        find_pairs(tmp_path)


def test_one_name_in_training_and_validation_is_refused(tmp_path):
    with pytest.raises(DataError, match="'b' is the name of two images; rename or remove one"):
        find_pairs(authors(tmp_path, train="ab", val="bc"))


def test_a_class_folder_for_validation_alone_is_refused_by_name(tmp_path):
    for split, stem, classes in (("train_local", "a", "xy"), ("val_local", "b", "xyz")):
        for name in ("images", *(f"masks/{c}" for c in classes)):
            save(tmp_path / split / name / f"{stem}.png", noise())
    with pytest.raises(DataError, match=r"val_local.*: the masks differ in kind .* \(only one has 'z'\)"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("val", "expected"),
    [(None, "gh"), ("0.25", "gh"), ("0.5", "efgh"), ("0.01", "h"), ("0.99", "bcdefgh"), ("b", "b"), ("b, d", "bd")],
)
def test_a_fraction_takes_the_last_images_and_names_take_the_named(tmp_path, val, expected):
    split = split_off(find_pairs(labelled(tmp_path, "abcdefgh")), val)
    assert stems(split.val) == list(expected)
    assert stems(split.train) == [stem for stem in "abcdefgh" if stem not in expected]


def test_validation_images_may_be_another_folder(tmp_path):
    labelled(tmp_path / "one", "ab")
    labelled(tmp_path / "two", "cd")
    split = split_off(find_pairs(tmp_path / "one"), str(tmp_path / "two"))
    assert (stems(split.train), stems(split.val)) == (["a", "b"], ["c", "d"])


def test_the_dataset_itself_cannot_be_the_validation_folder(tmp_path):
    with pytest.raises(DataError, match="trains and validates at once"):
        split_off(find_pairs(labelled(tmp_path)), str(tmp_path))


def test_images_named_like_numbers_are_taken_for_names(tmp_path):
    split = split_off(find_pairs(labelled(tmp_path, ["0", "1", "2"])), "1")
    assert (stems(split.train), stems(split.val)) == (["0", "2"], ["1"])


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ("0", "expected a fraction between 0 and 1"),
        ("1", "expected a fraction between 0 and 1"),
        ("1.5", "expected a fraction between 0 and 1"),
        ("-0.5", "expected a fraction between 0 and 1"),
        ("nan", "expected a fraction between 0 and 1"),
        ("a,z", "no image is named 'z' and no such folder exists"),
        ("a.png", "no image is named 'a.png' .* names of images without suffix"),
        ("", "no image is named ''"),
        ("no/folder", "no image is named 'no/folder' and no such folder exists"),
        ("a,b", "names every image; leave some for training"),
    ],
)
def test_a_split_that_cannot_be_is_wrong_usage(tmp_path, val, message):
    with pytest.raises(UsageError, match=f"^--val {val}: .*{message}"):
        split_off(find_pairs(labelled(tmp_path)), val)


@pytest.mark.parametrize("val", [None, "0.5"])
def test_a_single_image_cannot_be_split(tmp_path, val):
    with pytest.raises(DataError, match=r"images/a\.png: is the only image; expected at least two"):
        split_off(find_pairs(labelled(tmp_path, "a")), val)


@pytest.mark.parametrize("stem", ["a", "7"])
def test_the_single_image_cannot_be_named_for_validation(tmp_path, stem):
    with pytest.raises(UsageError, match=f"--val {stem}: names every image"):
        split_off(find_pairs(labelled(tmp_path, [stem])), stem)


def test_a_split_is_refused_where_the_dataset_has_one(tmp_path):
    with pytest.raises(UsageError, match=r"--val 0\.5: the dataset has its own validation images in val_local"):
        split_off(find_pairs(authors(tmp_path)), "0.5")


@pytest.mark.parametrize(
    ("name", "train", "val"), [("em_vnc", 8, 4), ("fm_nuclei", 10, 6), ("em_vnc_native", 4, 0), ("sem_axons", 8, 0)]
)
def test_published_datasets_pair_whole(name, train, val):
    split = find_pairs(shared(name))
    assert (len(split.train), len(split.val)) == (train, val)
