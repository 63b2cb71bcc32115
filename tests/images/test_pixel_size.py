"""The size of a pixel is read where a file tells it, and a printer's resolution is not taken for one."""

import pytest
import tifffile
from PIL import Image

from rescrnet.images.whole import read_pixels
from tests.support.folders import noise, save


def pixel_size(path):
    return read_pixels(path).pixel_size


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"resolution": (20_000, 40_000), "resolutionunit": "CENTIMETER"}, (0.25, 0.5)),
        ({"resolution": (25_400, 25_400), "resolutionunit": "INCH"}, (1.0, 1.0)),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (1, 1), "resolutionunit": "NONE"}, None),
        ({}, None),
        ({"imagej": True, "resolution": (4, 5), "metadata": {"unit": "micron"}}, (0.2, 0.25)),
        ({"imagej": True, "resolution": (0.25, 0.25), "metadata": {"unit": "nm"}}, (0.004, 0.004)),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "pixel"}}, None),
    ],
)
def test_the_resolution_of_a_tiff_is_read(tmp_path, how, expected):
    size = pixel_size(save(tmp_path / "a.tif", noise(), **how))
    assert size == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("unit", "expected"), [("µm", (0.3, 0.2)), ("nm", (0.0003, 0.0002)), ("pixel", None)])
def test_the_physical_size_of_ome_is_read(tmp_path, unit, expected):
    axes = {f"PhysicalSize{axis}": size for axis, size in (("X", 0.2), ("Y", 0.3))}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(), ome=True, metadata={"axes": "YX", **axes, **units})
    size = pixel_size(tmp_path / "a.ome.tif")
    assert size == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("dpi", "expected"), [((50_800, 25_400), (1.0, 0.5)), ((96, 96), None), (None, None)])
def test_the_physical_size_of_a_png_is_read(tmp_path, dpi, expected):
    Image.fromarray(noise()).save(tmp_path / "a.png", **({"dpi": dpi} if dpi else {}))
    size = pixel_size(tmp_path / "a.png")
    assert size == (None if expected is None else pytest.approx(expected, rel=1e-4))
