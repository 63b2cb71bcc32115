"""What is not read is named, with the way out."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rescrnet.checking.check import check
from rescrnet.errors import DataError
from rescrnet.images.open import list_images, open_image
from tests.support.folders import noise, save, stripes

FILES = {
    "a.czi": (b"ZISRAWFILE", "Zeiss CZI"),
    "a.lif": (b"\x70\0\0\0", "Leica LIF"),
    "a.nd2": (b"\xda\xce\xbe\x0a", "Nikon ND2"),
    "b.nd2": (b"\0\0\0\x0cjP  \r\n", "Nikon ND2"),
    "a.dm2": (b"GATAN", "DigitalMicrograph"),
    "a.h5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "a.ims": (b"\x89HDF\r\n\x1a\n", "Imaris"),
    "a.npz": (b"PK\3\4", "archive of NumPy arrays"),
    "a.oir": (b"OLYMPUSRAW", "Olympus"),
    "renamed.tif": (b"ZISRAWFILE", "Zeiss CZI"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_microscope_s_own_file_is_named_with_the_way_out(tmp_path: Path, name: str) -> None:
    start, form = FILES[name]
    (tmp_path / name).write_bytes(start + bytes(600))
    with pytest.raises(DataError, match=rf"{name}: is of a form that is not read: .*{form}.*; .*(TIFF|npy)"):
        open_image(tmp_path / name)


def test_a_folder_of_nothing_else_is_refused_by_name(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.czi").write_bytes(b"ZISRAWFILE" + bytes(100))
    with pytest.raises(DataError, match=r"0\.czi: is of a form that is not read: Zeiss .*\(and 2 more\); .*OME-TIFF"):
        list_images(tmp_path)
    save(tmp_path / "a.png", noise())
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


ANNOTATIONS = {
    "a.json": ('{"version": "5.2.1", "flags": {}, "shapes": [], "imagePath": "a.png"}', "LabelMe"),
    "instances.json": ('{"images": [], "annotations": [], "categories": []}', "COCO"),
    "a.geojson": ('{"type": "FeatureCollection", "features": []}', "QuPath"),
    "a.xml": ("<annotation><object/></annotation>", "Pascal VOC"),
    "annotations.xml": ("<?xml version='1.0'?><annotations><version>1.1</version></annotations>", "CVAT"),
    "a.roi": ("Iout", "ImageJ"),
    "RoiSet.zip": (None, "ImageJ"),
}


@pytest.mark.parametrize("name", ANNOTATIONS)
@pytest.mark.parametrize("folder", ["", "images", "masks"])
def test_annotations_that_are_no_pixels_are_named_where_masks_are_missing(
    tmp_path: Path, name: str, folder: str
) -> None:
    text, form = ANNOTATIONS[name]
    for stem in "ab":
        save(tmp_path / f"images/{stem}.png", noise())
    save(tmp_path / "masks/b.png", stripes(0, 255))
    if text is None:
        with zipfile.ZipFile(tmp_path / folder / name, "w") as archive:
            archive.writestr("0001.roi", b"Iout")
    else:
        (tmp_path / folder / name).write_text(text, encoding="utf-8")
    first = check(tmp_path).errors[0]
    assert (first.check.name, form in first.reason, name in first.files[0]) == ("form-not-read", True, True)


def test_what_is_not_read_beside_a_whole_dataset_is_no_error(tmp_path: Path) -> None:
    for number, stem in enumerate("abcdef"):
        save(tmp_path / f"images/{stem}.png", noise((40, 40), seed=number))
        (tmp_path / f"images/{stem}.czi").write_bytes(b"ZISRAWFILE" + bytes(99))
        save(tmp_path / f"masks/{stem}.png", stripes(0, 255, shape=(40, 40)))
    assert not check(tmp_path).errors
