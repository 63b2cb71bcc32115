"""PNG files written band by band are PNG files like any other."""

import numpy as np
import pytest
from PIL import Image

from rescrnet.images.npy import RawArray
from rescrnet.outputs.png_writer import write_png
from tests.support.folders import noise


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (37, 23)])
@pytest.mark.parametrize("band", [1, 100, 4 << 20])
def test_any_size_in_any_bands_is_read_by_pillow_as_8_bit_grey(tmp_path, monkeypatch, shape, band):
    monkeypatch.setattr("rescrnet.outputs.png_writer.BAND", band)
    array = RawArray.create(tmp_path / "a.npy", (2, *shape), np.uint8)
    array[(1, slice(None), slice(None))] = noise(shape)
    write_png(tmp_path / "a.png", array, 1)
    with Image.open(tmp_path / "a.png") as image:
        image.verify()
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), noise(shape))
