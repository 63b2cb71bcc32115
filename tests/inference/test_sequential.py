"""Files that can only be unpacked from their top are unpacked about twice, whatever is asked of them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

import rescrnet
from rescrnet.errors import RescrnetWarning
from rescrnet.images import picture, rows, stack, tiff_reader
from rescrnet.images.open import open_image
from rescrnet.inference import plane
from rescrnet.inference.stream import Tiling
from rescrnet.objects.subjects import by_region
from tests.support.folders import noise

SHAPE = (160, 130)
STREAMED = rescrnet.Resources(tiling=Tiling(tile=(80, 130), rows=80, strip=80, segment=160))


@pytest.fixture
def unpacked_rows(monkeypatch):
    """Small images are large ones; the list gets the number of rows of each band that is unpacked."""
    for module in (picture, tiff_reader):
        monkeypatch.setattr(module, "_LARGE", 1)
    monkeypatch.setattr(rows, "BAND", 1500)  # some ten rows
    monkeypatch.setattr(stack, "_BAND", 2500)
    monkeypatch.setattr(plane, "_SAMPLE", 1)
    counted, following = [], rows.Inflated._next

    def count(self, top):
        following(self, top)
        counted.append(len(self._band))

    monkeypatch.setattr(rows.Inflated, "_next", count)
    return counted


def write(path, image, orientation=1):
    if path.suffix == ".tif":
        tag = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, image, compression="zlib", rowsperstrip=len(image), extratags=tag, metadata=None)
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(image).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_streamed_image_is_unpacked_twice_however_it_lies_in_its_file(
    run, tmp_path, unpacked_rows, name, orientation
):
    path = write(tmp_path / name, noise(SHAPE), orientation)
    rescrnet.predict_files(rescrnet.load(run), path, tmp_path / "o", resources=STREAMED)
    assert SHAPE[0] < sum(unpacked_rows) <= 2 * SHAPE[0]
    assert open_image(path)[0].source.sequential


def test_turned_images_give_what_they_give_when_they_are_small(run, tmp_path, request):
    model, image = rescrnet.load(run), noise(SHAPE)
    for orientation in (3, 6):
        path = write(tmp_path / f"{orientation}.png", image, orientation)
        rescrnet.predict_files(model, path, tmp_path / f"whole{orientation}", resources=STREAMED)
    request.getfixturevalue("unpacked_rows")
    for orientation in (3, 6):
        path = tmp_path / f"{orientation}.png"
        rescrnet.predict_files(model, path, tmp_path / f"rows{orientation}", resources=STREAMED)
        found = (tmp_path / f"rows{orientation}/{orientation}.png").read_bytes()
        assert found == (tmp_path / f"whole{orientation}/{orientation}.png").read_bytes()


@pytest.mark.parametrize("black", [SHAPE[0], SHAPE[0] // 2])
def test_a_black_image_is_unpacked_once_more(run, tmp_path, unpacked_rows, black):
    image = noise(SHAPE)
    image[:black] = 0
    path = write(tmp_path / "a.png", image)
    with pytest.warns(RescrnetWarning, match=r"same value|far from"):
        rescrnet.predict_files(rescrnet.load(run), path, tmp_path / "o", resources=STREAMED)
    assert sum(unpacked_rows) <= 3 * SHAPE[0]


def test_masks_whose_objects_are_found_are_unpacked_once(tmp_path, unpacked_rows):
    source = open_image(write(tmp_path / "a.png", noise(SHAPE)))[0].source
    whole = source.read(0, SHAPE[0], 0, SHAPE[1])
    unpacked_rows.clear()
    copy = by_region(source, tmp_path / "copy.npy", large=False)
    for y0 in (70, 0, 50):
        np.testing.assert_array_equal(copy.read(y0, y0 + 90, 7, 50), whole[y0 : y0 + 90, 7:50])
    assert sum(unpacked_rows) == SHAPE[0]


def test_a_tile_tells_how_far_it_is_while_it_is_computed(run, tmp_path):
    told = []
    tiling = Tiling(tile=SHAPE, rows=16, strip=80, segment=160)
    path = write(tmp_path / "a.png", noise(SHAPE))
    resources = rescrnet.Resources(tiling=tiling)
    rescrnet.predict_files(rescrnet.load(run), path, tmp_path / "o", resources=resources, advance=told.append)
    assert len(told) > SHAPE[0] // 16
    assert max(told) < 0.2
    assert sum(told) == pytest.approx(1)
