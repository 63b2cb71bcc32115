"""Whatever holds an image, its planes are read by region."""

import tracemalloc

import numpy as np
import pytest
import zarr
from PIL import Image

from rescrnet.errors import DataError
from rescrnet.images.open import image_stem, list_images, open_image, wrap
from rescrnet.images.stack import Axis
from rescrnet.images.whole import read_pixels
from rescrnet.intensity import normalise, normalise_image, without_alpha
from tests.support.folders import noise, save, travelled

MEBIBYTE = 1 << 20


def whole(source):
    rows, columns, _ = source.shape
    return source.read(0, rows, 0, columns)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.npy"])
@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 3)])
def test_a_plain_image_is_one_plane_whatever_its_format(tmp_path, name, shape):
    array = noise(shape)
    (np.save if name == "a.npy" else save)(tmp_path / name, array)
    ((plane_name, source),) = open_image(tmp_path / name)
    assert plane_name == ""
    assert (source.shape, source.dtype) == ((12, 16, 3 if len(shape) == 3 else 1), np.uint8)
    np.testing.assert_array_equal(source.read(3, 11, 5, 16), array.reshape(12, 16, -1)[3:11, 5:])
    np.testing.assert_array_equal(travelled(source).read(3, 11, 5, 16), source.read(3, 11, 5, 16))


@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint16), ("a.jpg", np.uint8)])
def test_a_picture_is_read_as_the_reader_of_whole_images_does(tmp_path, name, dtype):
    save(tmp_path / name, noise(dtype=dtype))
    np.testing.assert_array_equal(
        whole(open_image(tmp_path / name)[0].source)[..., 0], read_pixels(tmp_path / name).values
    )


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_alpha_is_left_out(tmp_path, name, channels):
    array = noise((12, 16, channels))
    how = {"photometric": "minisblack" if channels == 2 else "rgb", "planarconfig": "contig", "extrasamples": [2]}
    save(tmp_path / name, array, **(how if name == "a.tif" else {}))
    np.testing.assert_array_equal(whole(open_image(tmp_path / name)[0].source), array[..., :-1])


def test_a_palette_picture_has_its_colours(tmp_path):
    image = Image.fromarray(noise((4, 4)) % 2, mode=None)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a.png")
    assert set(map(tuple, whole(open_image(tmp_path / "a.png")[0].source).reshape(-1, 3).tolist())) <= {
        (10, 20, 30),
        (40, 50, 60),
    }


@pytest.mark.parametrize(
    ("shape", "axes", "names", "plane_shape"),
    [
        ((5, 7), None, [""], (5, 7, 1)),
        ((5, 7, 3), None, [""], (5, 7, 3)),
        ((2, 5, 7), None, ["p0", "p1"], (5, 7, 1)),
        ((2, 5, 7, 3), None, ["p0", "p1"], (5, 7, 3)),
        ((4, 5, 7), "cyx", [""], (5, 7, 4)),
        ((5, 7, 4), "yxc", [""], (5, 7, 4)),
        ((7, 5), "xy", [""], (5, 7, 1)),
        ((2, 3, 11, 5, 7), "tczyx", [f"t{t}_z{z:02}" for t in range(2) for z in range(11)], (5, 7, 3)),
        ((1, 2, 5, 7), "tzyx", ["z0", "z1"], (5, 7, 1)),
    ],
)
def test_planes_and_channels_follow_the_axes(shape, axes, names, plane_shape):
    array = noise(shape)
    stack = wrap(array, axes)
    assert [plane.name for plane in stack] == names
    assert {plane.source.shape for plane in stack} == {plane_shape}
    letters = axes or {2: "yx", 3: "yxc" if shape[-1] == 3 else "pyx", 4: "pyxc"}[len(shape)]
    outer = "".join(letter for letter in letters if letter not in "yxc")
    order = [letters.index(letter) for letter in outer + "yx" + "c" * ("c" in letters)]
    expected = array.transpose(order).reshape(len(names), *plane_shape)
    for plane, wanted in zip(stack, expected, strict=True):
        np.testing.assert_array_equal(plane.source.read(1, 4, 2, 7), wanted[1:4, 2:7])


def test_zarr_and_dask_arrays_are_wrapped_alike(tmp_path):
    array = noise((20, 30))
    stored = zarr.create_array(tmp_path / "a.zarr", data=array, chunks=(8, 8))
    np.testing.assert_array_equal(wrap(stored)[0].source.read(3, 11, 5, 17)[..., 0], array[3:11, 5:17])
    dask = pytest.importorskip("dask.array")
    np.testing.assert_array_equal(
        wrap(dask.from_array(array, chunks=7))[0].source.read(3, 11, 5, 17)[..., 0], array[3:11, 5:17]
    )


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (-1, 3, 0, 5), (0, 13, 0, 5), (0, 5, 3, 17)])
def test_a_region_outside_the_image_is_a_mistake_of_the_caller(region):
    with pytest.raises(ValueError, match="does not lie within 12×16"):
        wrap(noise())[0].source.read(*region)


@pytest.mark.parametrize(
    ("array", "axes", "message"),
    [
        (np.zeros((0, 5)), None, r"image: holds an array of shape \(0, 5\); expected an image with at least one pixel"),
        (np.zeros((4, 5), complex), None, "image: holds complex128 values; expected integers or floats; convert it"),
        (np.zeros((4, 5), "M8[s]"), None, r"image: holds datetime64\[s\] values"),
        (np.zeros(5), None, r"image: holds an array of shape \(5,\) and does not say which axis is which"),
        (np.zeros((2, 3, 4, 5)), None, r"image: holds an array of shape \(2, 3, 4, 5\) and does not say"),
        (np.zeros((4, 5)), "zyx", r"image: has shape \(4, 5\); expected one axis for each of z,y,x"),
        (np.zeros((4, 5, 6)), "qyx", "image: has axes q,y,x; expected y and x, and besides at most c"),
        (np.zeros((4, 5)), "zx", "image: has axes z,x; expected y and x"),
        (np.zeros((4, 5, 6)), "yyx", "image: has axes y,y,x; expected y and x"),
    ],
)
def test_arrays_that_are_no_image_are_refused(array, axes, message):
    with pytest.raises(DataError, match=message):
        wrap(array, axes)


@pytest.mark.parametrize("dtype", [bool, np.int16, np.uint32, np.float16, np.float64])
def test_every_real_type_is_read_as_stored(dtype):
    array = noise().astype(dtype)
    source = wrap(array)[0].source
    assert source.dtype == dtype
    np.testing.assert_array_equal(whole(source)[..., 0], array)


def test_blocks_scale_as_whole_images_do():
    array = noise((6, 6, 4), np.uint16)
    np.testing.assert_array_equal(normalise(without_alpha(array))[1:3], normalise_image(array)[1:3])
    assert normalise(array).shape == array.shape
    np.testing.assert_array_equal(normalise(np.array([True, False])), [1, 0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tif", b"\x89PNG\r\n\x1a\n" + bytes(50), r"a\.tif: cannot be read as an image"),
        ("a.png", b"II*\0" + bytes(50), r"a\.png: holds no image; expected a TIFF with at least one page"),
        ("a.tif", b"\x93NUMPY" + bytes(50), r"a\.tif: cannot be read as a NumPy array"),
        ("a.npy", b"nonsense" * 9, r"a\.npy: cannot be read as an image"),
        ("a.png", b"nonsense" * 9, r"a\.png: cannot be read as an image"),
        ("a.xyz", b"nonsense" * 9, r"a\.xyz: cannot be read as an image"),
        ("a.tif", b"", r"a\.tif: is empty; copy it again"),
    ],
)
def test_a_file_that_is_no_image_is_refused_whatever_its_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.svs", "a.png", "a.npy", "a"])
@pytest.mark.parametrize("form", ["TIFF", "PNG", "NumPy"])
def test_an_image_by_any_other_name_is_read_by_its_content(tmp_path, form, name):
    real = tmp_path / {"TIFF": "real.tif", "PNG": "real.png", "NumPy": "real.npy"}[form]
    (np.save if form == "NumPy" else save)(real, noise())
    real.rename(tmp_path / name)
    stack = open_image(tmp_path / name)
    np.testing.assert_array_equal(whole(stack[0].source)[..., 0], noise())
    assert stack.form == form


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, r"a: no such file or folder; expected an image"),
        (lambda path: path.mkdir(), r"a: is a folder but no Zarr; expected an image, or an OME-Zarr"),
    ],
    ids=["missing", "folder"],
)
def test_what_is_not_there_is_refused(tmp_path, make, message):
    make(tmp_path / "a")
    with pytest.raises(DataError, match=message):
        open_image(tmp_path / "a")


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.tif"])
@pytest.mark.parametrize("level", [1, -1])
def test_an_image_without_a_pyramid_has_level_0_alone(tmp_path, name, level):
    (np.save if name == "a.npy" else save)(tmp_path / name, noise())
    with pytest.raises(DataError, match=rf"{name}: has one level, 0; there is no level {level}"):
        open_image(tmp_path / name, level)


@pytest.mark.parametrize("shape", [(50_000, 64), (64, 50_000)])
def test_a_long_image_is_read_with_the_memory_of_the_region(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint16))
    tracemalloc.start()
    source = open_image(tmp_path / "a.npy")[0].source
    source.read(shape[0] // 2, shape[0] // 2 + 32, shape[1] // 2, shape[1] // 2 + 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * MEBIBYTE  # of 6 MiB


def test_a_huge_array_on_disk_opens_without_being_read(tmp_path):
    file = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (40_000, 30_000))
    file[39_999, 29_999] = 5
    file.flush()
    tracemalloc.start()
    source = open_image(tmp_path / "a.npy")[0].source
    corner = source.read(39_900, 40_000, 29_900, 30_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert corner[-1, -1, 0] == 5
    assert peak < 0.2 * MEBIBYTE


def test_segment_bytes_say_what_is_held_beside_the_region(tmp_path):
    array = noise((100, 200))
    assert wrap(array)[0].source.segment_bytes == array.nbytes
    assert open_image(save(tmp_path / "a.png", array))[0].source.segment_bytes == array.nbytes
    np.save(tmp_path / "a.npy", array)
    assert open_image(tmp_path / "a.npy")[0].source.segment_bytes == 0


def test_the_images_of_a_folder_are_its_pictures_arrays_and_zarrs(tmp_path):
    save(tmp_path / "b.tif", noise())
    save(tmp_path / ".hidden.tif", noise())
    np.save(tmp_path / "c.npy", noise())
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    zarr.create_array(tmp_path / "a.zarr", data=noise())
    assert [path.name for path in list_images(tmp_path)] == ["a.zarr", "b.tif", "c.npy"]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("cell.png", "cell"),
        ("cell.ome.tif", "cell"),
        ("a.b.OME.TIFF", "a.b.OME"),
        ("cell.ome.zarr", "cell"),
        ("x", "x"),
    ],
)
def test_the_stem_is_the_name_without_its_suffix(tmp_path, name, stem):
    assert image_stem(tmp_path / name) == stem


def test_pixel_size_is_in_micrometres_or_unknown():
    from rescrnet.images.stack import pixel_size

    assert pixel_size([Axis("y", 5, 500.0, 0.0, "nanometer"), Axis("x", 5, 0.25, 0.0, "micrometer")]) == (0.5, 0.25)
    assert pixel_size([Axis("y", 5, 500.0, 0.0, "parsec"), Axis("x", 5, 0.25, 0.0, "micrometer")]) is None
    assert wrap(noise()).pixel_size is None
