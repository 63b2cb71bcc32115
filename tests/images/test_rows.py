"""Large pictures that are read by rows give what decoding them whole gives, in whatever order they are read."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from rescrnet.images import picture, rows, tiff_reader
from rescrnet.images.open import open_image
from tests.support.folders import noise, save

FORMS = {
    "grey.png": noise((61, 47)),
    "rgb.png": noise((61, 47, 3)),
    "alpha.png": noise((61, 47, 4)),
    "sixteen.png": noise((61, 47), np.uint16),
    "grey.bmp": noise((61, 47)),
    "rgb.bmp": noise((61, 47, 3)),
    "grey.tif": noise((61, 47)),
    "rgb.tif": noise((61, 47, 3)),
    "sixteen.tif": noise((61, 47), np.uint16),
    "differences.tif": noise((61, 47), np.uint16),
}


@pytest.fixture
def written(request, tmp_path):
    array = FORMS[request.param]
    how = {"compression": "zlib", "rowsperstrip": len(array), "predictor": request.param == "differences.tif"}
    return save(tmp_path / request.param, array, **(how if request.param.endswith("tif") else {})), array


@pytest.mark.parametrize("written", FORMS, indirect=True)
def test_rows_are_those_of_the_whole(written, monkeypatch):
    path, array = written
    whole = open_image(path)[0].source.read(0, 61, 0, 47, alpha=True)
    np.testing.assert_array_equal(whole.reshape(array.shape), array)
    for module in (picture, tiff_reader):
        monkeypatch.setattr(module, "_LARGE", 1)
    monkeypatch.setattr(rows, "BAND", 500)  # a few rows
    source = open_image(path)[0].source
    assert source.sequential or path.suffix == ".bmp"
    for y0, y1, x0, x1 in [(0, 7, 0, 47), (5, 40, 3, 9), (60, 61, 46, 47), (0, 61, 0, 47), (33, 34, 0, 1)]:
        np.testing.assert_array_equal(source.read(y0, y1, x0, x1, alpha=True), whole[y0:y1, x0:x1])


def test_rows_of_an_indexed_png_show_its_colours_or_give_its_indices(tmp_path, monkeypatch):
    indexed = Image.fromarray(noise((61, 47)) % 5)
    indexed.putpalette([200, 0, 0, 0, 90, 0, 0, 0, 255, 9, 8, 7, 0, 255, 255])
    indexed.save(tmp_path / "a.png")
    for indices in (False, True):
        monkeypatch.undo()
        whole = open_image(tmp_path / "a.png", indices=indices)[0].source.read(0, 61, 0, 47)
        monkeypatch.setattr(picture, "_LARGE", 1)
        monkeypatch.setattr(rows, "BAND", 500)
        found = open_image(tmp_path / "a.png", indices=indices)[0].source.read(9, 55, 2, 40)
        np.testing.assert_array_equal(found, whole[9:55, 2:40])


def test_a_strip_that_is_cut_short_is_refused_by_rows_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_reader, "_LARGE", 1)
    tifffile.imwrite(tmp_path / "a.tif", noise((61, 47)), compression="zlib", rowsperstrip=61)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        tag = file.pages[0].tags[279]
        tag.overwrite(tag.value[0] // 2)
    with pytest.raises(Exception, match=r"a.tif.*damaged or cut short"):
        open_image(tmp_path / "a.tif")[0].source.read(0, 61, 0, 47)
