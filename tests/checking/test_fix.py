"""The corrected copy has none of the faults that it fixes, and the original is as it was."""

import os

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from rescrnet.checking.check import check as check_dataset
from rescrnet.checking.check import load_dataset
from rescrnet.checking.findings import CHECKS
from rescrnet.checking.fix import write_corrected
from rescrnet.errors import DataError, OutputError
from tests.support.bad_datasets import BAD
from tests.support.folders import noise, save, stripes
from tests.support.micrographs import LEVELS, good, image_of, mask_of

FIXABLE = [(name, place) for name, cases in BAD.items() for place in range(len(cases)) if CHECKS[name].fixable]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "place"), FIXABLE, ids=[f"{name}-{place}" for name, place in FIXABLE])
def test_what_can_be_mended_is_gone_from_the_copy(tmp_path, name, place):
    data = good(tmp_path / "data")
    BAD[name][place][0](data)
    before = contents(data)
    write_corrected(check_dataset(data), tmp_path / "copy")
    assert name not in {finding.check.name for finding in check_dataset(tmp_path / "copy").findings}
    assert contents(data) == before


def test_a_good_dataset_is_copied_pixel_by_pixel(tmp_path):
    data = good(tmp_path / "data")
    corrected = write_corrected(check_dataset(data), tmp_path / "copy")
    assert str(corrected) == "8 images with masks"
    for first, second in zip(load_dataset(data).train, load_dataset(tmp_path / "copy").train, strict=True):
        assert first.stem == second.stem
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.mask, second.mask)
    entries = load_dataset(tmp_path / "copy").classes
    assert [(entry.name, entry.value) for entry in entries] == [("grey 0", 0), ("grey 128", 1), ("grey 255", 2)]


def test_masks_of_the_copy_show_their_classes_in_colour(tmp_path):
    write_corrected(check_dataset(good(tmp_path / "data")), tmp_path / "copy")
    with Image.open(tmp_path / "copy/masks/a.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[3:6] == [0xE6, 0x9F, 0x00]


def test_what_is_left_out_is_named_with_the_reason(tmp_path):
    data = good(tmp_path / "data")
    os.truncate(data / "images/c.png", 60)
    (data / "masks/d.png").unlink()
    words = str(write_corrected(check_dataset(data), tmp_path / "copy"))
    assert words.startswith("6 images with masks; left out: ")
    assert f"{data}/images/d.png (has no mask)" in words
    assert f"{data}/images/c.png (cannot be read)" in words


def test_validation_groups_and_pixel_size_are_kept(tmp_path):
    for part, stems in (("train", "ab"), ("val", "c")):
        for seed, stem in enumerate(stems, start=ord(part[0])):
            how = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
            save(tmp_path / f"data/{part}/x/{stem}.tif", image_of(mask_of(seed), seed), **how)
            save(tmp_path / f"data/{part}/y/{stem}.png", LEVELS[mask_of(seed)])
    write_corrected(check_dataset(tmp_path / "data"), tmp_path / "copy")
    description = yaml.safe_load((tmp_path / "copy/dataset.yaml").read_text())
    assert description["validation"] == ["c"]
    assert description["pixel_size"] == [0.5, 0.5]
    assert sorted(path.name for path in (tmp_path / "copy/images").iterdir()) == ["a.tif", "b.tif", "c.tif"]


def test_stacks_and_channel_files_become_single_files(tmp_path):
    masks = np.stack([mask_of(seed) for seed in range(4)])
    for channel in "12":
        for index, mask in enumerate(masks):
            save(tmp_path / f"two/images/{index}_c{channel}.png", image_of(mask, index + int(channel)))
            save(tmp_path / f"two/masks/{index}.png", LEVELS[mask])
    save(tmp_path / "one/images/s.tif", masks * 9 + noise(masks.shape) // 9, imagej=True, metadata={"axes": "ZYX"})
    save(tmp_path / "one/masks/s.tif", LEVELS[masks], imagej=True, metadata={"axes": "ZYX"})
    for name in ("one", "two"):
        write_corrected(check_dataset(tmp_path / name), tmp_path / f"{name} copy")
        copy, original = load_dataset(tmp_path / f"{name} copy"), load_dataset(tmp_path / name)
        np.testing.assert_array_equal(copy.train[1].image, original.train[1].image)
        np.testing.assert_array_equal(copy.train[1].mask, original.train[1].mask)
    assert yaml.safe_load((tmp_path / "one copy/dataset.yaml").read_text())["groups"] == {
        "s": ["s-1", "s-2", "s-3", "s-4"]
    }
    assert tifffile.imread(tmp_path / "two copy/images/0.tif").shape == (2, 40, 48)


def test_masks_saved_as_jpeg_become_what_they_were(tmp_path):
    for seed, stem in enumerate("abcd"):
        mask = np.kron(mask_of(seed), np.ones((2, 2), np.uint8))
        save(tmp_path / f"data/images/{stem}.png", image_of(mask, seed))
        (tmp_path / "data/masks").mkdir(exist_ok=True)
        Image.fromarray(LEVELS[mask]).save(tmp_path / f"data/masks/{stem}.jpg", quality=90)
    write_corrected(check_dataset(tmp_path / "data"), tmp_path / "copy")
    data = load_dataset(tmp_path / "copy")
    for seed, sample in enumerate([*data.train, *data.val]):
        assert (sample.mask == np.kron(mask_of(seed), np.ones((2, 2), np.uint8))).mean() > 0.99


def test_numbered_objects_become_classes_on_request(tmp_path):
    data = good(tmp_path / "data", "abcd")
    for seed, stem in enumerate("abcd"):
        objects = np.zeros((40, 48), np.uint8)
        for number in range(6):
            objects[2 + 6 * number : 7 + 6 * number, 4 : 30 + seed] = 10 * seed + number + 1
        save(data / f"masks/{stem}.png", objects)
    assert check_dataset(data).errors
    write_corrected(check_dataset(data, declared={"instance_boundary": 1}), tmp_path / "copy")
    copy = load_dataset(tmp_path / "copy")
    assert [entry.name for entry in copy.classes] == ["background", "interior", "boundary"]
    assert np.unique(copy.train[0].mask).tolist() == [0, 1, 2]


def test_unlabelled_pixels_stay_unlabelled(tmp_path):
    data = good(tmp_path / "data")
    (data / "dataset.yaml").write_text("ignore: 77")
    mask = LEVELS[mask_of(0)]
    mask[:10] = 77
    save(data / "masks/a.png", mask)
    write_corrected(check_dataset(data), tmp_path / "copy")
    np.testing.assert_array_equal(load_dataset(tmp_path / "copy").train[0].mask, load_dataset(data).train[0].mask)


def test_masks_that_are_not_understood_cannot_be_mended(tmp_path):
    data = good(tmp_path / "data")
    save(data / "masks/c.png", noise((40, 48)))
    with pytest.raises(DataError, match=r"copy: no corrected copy can be made, since the masks are not understood"):
        write_corrected(check_dataset(data), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_dataset_without_a_usable_image_cannot_be_mended(tmp_path):
    data = good(tmp_path / "data", "ab")
    for stem in "ab":
        save(data / f"images/{stem}.png", np.full((40, 48), 3, np.uint8))
    with pytest.raises(DataError, match="none of its images can be used"):
        write_corrected(check_dataset(data), tmp_path / "copy")


def test_an_existing_folder_is_not_written_into(tmp_path):
    save(tmp_path / "copy/mine.png", stripes(0, 1))
    with pytest.raises(OutputError, match="copy: already holds files"):
        write_corrected(check_dataset(good(tmp_path / "data")), tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["mine.png"]
