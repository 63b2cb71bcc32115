"""TIFF files are read by region, whatever their structure, and damage is named."""

import os
import tracemalloc

import numpy as np
import pytest
import tifffile

from rescrnet.errors import DataError
from rescrnet.images.open import open_image
from rescrnet.images.tiff_reader import TiffArray
from tests.support.folders import noise, save, travelled

GREY, RGB, STACK = (61, 83), (61, 83, 3), (4, 61, 83)
MEBIBYTE = 1 << 20
STRUCTURES = {
    "one strip": {},
    "big-endian": {"byteorder": ">"},
    "strips": {"rowsperstrip": 7},
    "LZW strips, predictor": {"compression": "lzw", "rowsperstrip": 7, "predictor": True},
    "tiles": {"tile": (32, 16)},
    "zlib tiles": {"tile": (32, 16), "compression": "zlib"},
    "one zlib strip": {"compression": "zlib", "rowsperstrip": 61},
    "BigTIFF": {"bigtiff": True},
}


@pytest.fixture(params=STRUCTURES.values(), ids=STRUCTURES.keys())
def how(request):
    return request.param


def planes(path, region=(5, 37, 7, 50), **options):
    """The same region of all planes."""
    return np.stack([source.read(*region) for _, source in open_image(path, **options)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_grey(tmp_path, how, dtype):
    array = noise(GREY).astype(dtype)
    found = planes(save(tmp_path / "a.tif", array, **how))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[0, ..., 0], array[5:37, 7:50])


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_rgb(tmp_path, how, planarconfig):
    stored = noise(RGB) if planarconfig == "contig" else noise(RGB).transpose(2, 0, 1)
    found = planes(save(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planarconfig, **how))
    np.testing.assert_array_equal(found[0], noise(RGB)[5:37, 7:50])


@pytest.mark.parametrize("ome", [False, True])
def test_stacks_are_read_plane_by_plane(tmp_path, how, ome):
    axes = {"metadata": {"axes": "ZYX"}, "ome": True} if ome else {}
    path = save(tmp_path / "a.tif", noise(STACK), photometric="minisblack", **axes, **how)
    assert [name for name, _ in open_image(path)] == [f"{'z' if ome else 'p'}{i}" for i in range(4)]
    np.testing.assert_array_equal(planes(path)[..., 0], noise(STACK)[:, 5:37, 7:50])


def test_ome_channels_that_lie_in_pages_of_their_own_come_together(tmp_path, how):
    array = noise((2, 3, 61, 83))
    path = save(tmp_path / "a.ome.tif", array, photometric="minisblack", metadata={"axes": "TCYX"}, **how)
    np.testing.assert_array_equal(planes(path), array.transpose(0, 2, 3, 1)[:, 5:37, 7:50])


def test_separate_channels_are_never_taken_for_alpha(tmp_path):
    array = noise((2, 61, 83))
    path = save(tmp_path / "a.ome.tif", array, photometric="minisblack", metadata={"axes": "CYX"})
    assert open_image(path)[0].source.shape == (61, 83, 2)


def test_bits_and_palettes_are_read_as_stored(tmp_path):
    bits = noise(GREY) > 99
    np.testing.assert_array_equal(
        planes(save(tmp_path / "b.tif", bits, photometric="minisblack"))[0, ..., 0], bits[5:37, 7:50]
    )
    colours = noise((3, 256), np.uint16)
    path = save(tmp_path / "p.tif", noise(GREY), photometric="palette", colormap=colours)
    np.testing.assert_array_equal(planes(path)[0, ..., 0], noise(GREY)[5:37, 7:50])


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_jpeg_tiles_are_read_as_tifffile_reads_them(tmp_path, photometric):
    path = save(tmp_path / "a.tif", noise((64, 96, 3)), compression="jpeg", tile=(32, 32), photometric=photometric)
    np.testing.assert_array_equal(planes(path)[0], tifffile.imread(path)[5:37, 7:50])


def test_an_imagej_hyperstack_is_read_with_its_axes_and_steps(tmp_path):
    array = noise((2, 3, 61, 83))
    how = {"imagej": True, "resolution": (4, 2), "metadata": {"axes": "TZYX", "unit": "um", "spacing": 3}}
    stack = open_image(save(tmp_path / "a.tif", array, **how))
    assert [plane.name for plane in stack][:4] == ["t0_z0", "t0_z1", "t0_z2", "t1_z0"]
    assert stack.pixel_size == (0.5, 0.25)
    assert [(axis.name, axis.scale, axis.unit) for axis in stack.plane_axes][1] == ("z", 3, "micrometer")
    np.testing.assert_array_equal(planes(tmp_path / "a.tif")[..., 0], array.reshape(6, 61, 83)[:, 5:37, 7:50])


@pytest.fixture
def pyramid(tmp_path):
    path, array = tmp_path / "a.ome.tif", noise((256, 320))
    with tifffile.TiffWriter(path) as file:
        options = {"tile": (64, 64), "compression": "zlib", "photometric": "minisblack"}
        size = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
        file.write(array, subifds=2, metadata={"axes": "YX", **size}, **options)
        file.write(array[::2, ::2], subfiletype=1, **options)
        file.write(array[::4, ::4], subfiletype=1, **options)
        file.write(array[:32, :32], metadata={"Name": "thumbnail"}, photometric="minisblack")
    return path


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_level_of_a_pyramid_is_chosen_and_has_its_own_pixel_size(pyramid, level):
    stack, step = open_image(pyramid, level), 2**level
    assert (stack.size, stack.levels, stack.kind) == ((256 // step, 320 // step), 3, "tiff")
    np.testing.assert_allclose(stack.pixel_size, (0.5 * step, 0.25 * step))
    np.testing.assert_array_equal(
        planes(pyramid, (3, 60, 5, 70), level=level)[0, ..., 0], noise((256, 320))[::step, ::step][3:60, 5:70]
    )


@pytest.mark.parametrize("level", [3, -1])
def test_a_level_that_is_not_there_is_refused(pyramid, level):
    with pytest.raises(DataError, match=rf"a\.ome\.tif: has levels 0 to 2; there is no level {level}"):
        open_image(pyramid, level)


def test_a_source_reads_the_same_in_another_process(pyramid):
    source = open_image(pyramid, 1)[0].source
    np.testing.assert_array_equal(travelled(source).read(3, 60, 5, 70), source.read(3, 60, 5, 70))


@pytest.mark.parametrize(
    ("how", "size"),
    [
        ({"resolution": (20_000, 10_000), "resolutionunit": "CENTIMETER"}, (1, 0.5)),
        ({"resolution": (25_400, 25_400), "resolutionunit": "INCH"}, (1, 1)),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (2, 2), "resolutionunit": "NONE"}, None),
        ({"resolution": (4, 2), "imagej": True, "metadata": {"unit": "micron"}}, (0.5, 0.25)),
        ({"resolution": (4, 2), "imagej": True, "metadata": {"unit": "pixel"}}, None),
        ({"description": "Aperio Image Library v1\n1x1|AppMag = 20|MPP = 0.5", "metadata": None}, (0.5, 0.5)),
        ({}, None),
    ],
    ids=["cm", "inch", "printer", "none", "imagej", "imagej without", "aperio", "silent"],
)
def test_pixel_size_is_what_the_file_says_in_micrometres(tmp_path, how, size):
    found = open_image(save(tmp_path / "a.tif", noise(GREY), **how)).pixel_size
    assert found is None if size is None else found == pytest.approx(size)


@pytest.mark.parametrize(
    ("shape", "how", "kind"),
    [
        (GREY, {}, "png"),
        (GREY, {"compression": "zlib"}, "png"),
        (RGB, {"photometric": "rgb"}, "png"),
        (GREY, {"tile": (32, 32)}, "tiff"),
        (GREY, {"ome": True}, "tiff"),
        (STACK, {"photometric": "minisblack"}, "tiff"),
    ],
)
def test_a_plain_page_asks_for_a_png_and_everything_else_for_a_tiff(tmp_path, shape, how, kind):
    assert open_image(save(tmp_path / "a.tif", noise(shape), **how)).kind == kind


# Memory and decoding


@pytest.mark.parametrize(
    ("how", "touched"),
    [({"tile": (64, 64)}, 4), ({"rowsperstrip": 16}, 3), ({"rowsperstrip": 1024}, 1)],
    ids=["tiles", "strips", "one strip"],
)
def test_a_region_decodes_only_the_segments_that_it_touches(tmp_path, monkeypatch, how, touched):
    path = save(tmp_path / "a.tif", noise((1024, 1024)), compression="zlib", **how)
    array = TiffArray(path)
    decoded = []
    decode = array._decode_piece
    monkeypatch.setattr(array, "_decode_piece", lambda data, i, **k: decoded.append(i) or decode(data, i, **k))
    array[(slice(100, 140), slice(120, 160))]
    assert len(decoded) == len(set(decoded)) == touched


def test_an_only_segment_is_decoded_once(tmp_path, monkeypatch):
    array = TiffArray(save(tmp_path / "a.tif", noise(GREY), compression="zlib", rowsperstrip=61))
    decoded = []
    decode = array._decode_piece
    monkeypatch.setattr(array, "_decode_piece", lambda data, i, **k: decoded.append(i) or decode(data, i, **k))
    for row in range(10):
        array[(slice(row, row + 1), slice(0, 5))]
    assert decoded == [0]


@pytest.mark.parametrize("shape", [(50_000, 64), (64, 50_000)])
@pytest.mark.parametrize("how", [{}, {"tile": (64, 64), "compression": "zlib"}], ids=["contiguous", "tiles"])
def test_a_long_image_is_read_with_the_memory_of_region_and_segments(tmp_path, shape, how):
    path = save(tmp_path / "a.tif", np.zeros(shape, np.uint16), **how)
    open_image(path)  # what tifffile imports when it is first used is not the image's
    tracemalloc.start()
    source = open_image(path)[0].source
    source.read(shape[0] // 2, shape[0] // 2 + 32, shape[1] // 2, shape[1] // 2 + 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * MEBIBYTE  # of 6 MiB


@pytest.mark.parametrize(
    ("how", "size"),
    [
        ({}, 0),
        ({"tile": (32, 16), "compression": "zlib"}, 32 * 16 * 2),
        ({"rowsperstrip": 7, "compression": "lzw"}, 7 * 83 * 2),
        ({"rowsperstrip": 61, "compression": "lzw"}, 61 * 83 * 2),
    ],
)
def test_a_source_says_how_large_the_pieces_of_its_file_are(tmp_path, how, size):
    source = open_image(save(tmp_path / "a.tif", noise(GREY, np.uint16), **how))[0].source
    assert source.segment_bytes == size


# Damage


@pytest.mark.parametrize(
    "how",
    [{}, {"compression": "lzw", "rowsperstrip": 7}, {"tile": (32, 32), "compression": "zlib"}, {"imagej": True}],
    ids=["contiguous", "strips", "tiles", "imagej"],
)
@pytest.mark.parametrize("left", [4, 9, 60, 0.3, 0.6, -1])
def test_a_file_cut_short_is_refused_before_anything_is_read(tmp_path, capfd, how, left):
    path = save(tmp_path / "a.tif", noise((4, 200, 200)), **({"photometric": "minisblack"} | how))
    length = path.stat().st_size
    os.truncate(path, left if left > 1 else length - 1000 if left < 0 else int(length * left))
    with pytest.raises(DataError, match=r"a\.tif: .*(cut short|beyond its end|damaged).*") as caught:
        open_image(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_tile_in_the_middle_is_named_when_it_is_read_and_the_rest_is_not(tmp_path):
    path = save(tmp_path / "a.tif", noise((256, 256)), tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[5]
    with path.open("r+b") as file:
        file.seek(offset + 20)
        file.write(b"\xff" * 40)
    source = open_image(path)[0].source
    np.testing.assert_array_equal(source.read(0, 64, 0, 256)[..., 0], noise((256, 256))[:64])
    with pytest.raises(DataError, match=r"a\.tif: is damaged, tile 5 cannot be decoded \(.*\); copy it again"):
        source.read(0, 256, 0, 256)


def test_a_file_cut_short_after_opening_is_named_when_it_is_read(tmp_path):
    path = save(tmp_path / "a.tif", noise((256, 256)), tile=(64, 64), compression="zlib")
    source = open_image(path)[0].source
    os.truncate(path, 1000)
    with pytest.raises(DataError, match=r"a\.tif: is damaged, tile 15 is cut short; copy it again"):
        source.read(200, 256, 200, 256)


def test_a_missing_tile_is_refused_unless_it_is_said_to_be_empty(tmp_path):
    path, tiles = tmp_path / "a.tif", iter([np.full((32, 32), 7, np.uint8), None, None, np.full((32, 32), 9, np.uint8)])
    tifffile.imwrite(path, tiles, shape=(64, 64), dtype=np.uint8, tile=(32, 32), compression="zlib")
    with pytest.raises(DataError, match=r"a\.tif: 2 of 4 strips or tiles of page 0 are missing; copy .*--fill-missing"):
        open_image(path)
    found = planes(path, (0, 64, 0, 64), fill_missing=True)[0, ..., 0]
    assert found[::32, ::32].tolist() == [[7, 0], [0, 9]]


def test_a_missing_page_of_a_stack_in_several_files_is_refused(tmp_path):
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:a">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="83" SizeY="61" SizeZ="2" '
        'SizeC="1" SizeT="1"><TiffData FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:a</UUID>'
        '</TiffData><TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="gone.ome.tif">urn:uuid:b</UUID>'
        "</TiffData></Pixels></Image></OME>"
    )
    path = save(tmp_path / "a.ome.tif", noise(GREY), description=xml, metadata=None, compression="zlib")
    with pytest.raises(DataError, match=r"a\.ome\.tif: .*(page 1 is missing|gone\.ome\.tif)"):
        open_image(path)


@pytest.mark.parametrize(
    ("array", "how", "message"),
    [
        (noise((12, 16, 4)), {"photometric": "separated"}, r"a\.tif: is stored as SEPARATED; expected grey or RGB"),
        (noise(GREY).astype(np.complex64), {}, r"a\.tif: holds complex64 values; expected integers or floats"),
        (noise((2, 61, 83)), {"ome": True, "metadata": {"axes": "HYX"}}, r"axes HYX, of which H cannot be read"),
    ],
    ids=["print", "complex", "axes"],
)
def test_what_is_no_micrograph_is_refused(tmp_path, array, how, message):
    how = {"photometric": "minisblack"} | how
    with pytest.raises(DataError, match=message):
        open_image(save(tmp_path / "a.tif", array, **how))


def test_images_of_different_sizes_in_one_file_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise(GREY))
        file.write(noise((20, 20)))
    with pytest.raises(DataError, match=r"a\.tif: holds 2 different images \(61×83, 20×20\); expected one; save each"):
        open_image(tmp_path / "a.tif")
