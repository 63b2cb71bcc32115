"""The folders of the Cell Tracking Challenge."""

import numpy as np
import pytest
from scipy.ndimage import label

from rescrnet.checking.check import check
from rescrnet.datasets.layouts import look_through
from tests.support.folders import save
from tests.support.micrographs import image_of, mask_of


@pytest.fixture
def films(tmp_path):
    """Two films of four images, of which every other has a mask; tracking masks beside them."""
    for film in ("01", "02"):
        for time in range(4):
            objects = label(mask_of(time + 10 * int(film)) == 2)[0].astype(np.uint16)
            save(tmp_path / film / f"t{time:03}.tif", image_of(objects > 0, time))
            save(tmp_path / f"{film}_GT/TRA/man_track{time:03}.tif", objects)
            if time % 2:
                save(tmp_path / f"{film}_GT/SEG/man_seg{time:03}.tif", objects)
    return tmp_path


def test_images_with_a_mask_are_taken_and_each_film_is_a_group(films):
    found = look_through(films)
    assert (found.layout, found.faults) == ("Cell Tracking Challenge", [])
    assert [(pair.stem, pair.group) for pair in found.split.train] == [
        *(("01-t001", "01"), ("01-t003", "01"), ("02-t001", "02"), ("02-t003", "02"))
    ]
    pair = found.split.train[0]
    assert (pair.image, pair.masks[""]) == (films / "01/t001.tif", films / "01_GT/SEG/man_seg001.tif")


def test_its_numbered_objects_become_classes_when_asked(films):
    assert any("instance_boundary" in finding.remedy + finding.reason for finding in check(films).errors)
    checked = check(films, declared={"instance_boundary": 1})
    assert (checked.errors, checked.reading.class_names) == ([], ["background", "interior", "boundary"])


def test_masks_of_people_go_before_those_of_programs(films):
    save(films / "01_ST/SEG/man_seg000.tif", np.zeros((40, 48), np.uint16))
    assert look_through(films).split.train[0].stem == "01-t001"
    for file in (films / "01_GT/SEG").iterdir():
        file.unlink()
    assert look_through(films).split.train[0].stem == "01-t000"


def test_a_mask_without_its_image_is_a_fault(films):
    (films / "02/t003.tif").unlink()
    (fault,) = look_through(films).faults
    assert (fault.check, fault.files) == ("mask-without-image", (films / "02_GT/SEG/man_seg003.tif",))


def test_a_single_film_trains_too(films):
    for file in (films / "02").iterdir():
        file.unlink()
    (films / "02").rmdir()
    checked = check(films, declared={"instance_boundary": 1})
    assert (len(checked.reading.split.train), len(checked.reading.split.val), checked.errors) == (1, 1, [])
