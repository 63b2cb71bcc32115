"""Image files become arrays, or are refused by name."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from rescrnet.atomic import write_atomically
from rescrnet.display import colourise, hex_to_rgb, to_display
from rescrnet.errors import DataError, OutputError
from rescrnet.images.open import by_stem, count_planes, list_images
from rescrnet.images.whole import Channels, Page, read_image, read_pixels
from rescrnet.intensity import match_channels, normalise_image
from tests.support.folders import noise, save, shared


def read(origin):
    """An image as it is stored, the indices of a palette."""
    return read_pixels(origin, indices=True).values


GREY, GREY_ALPHA, RGB, RGBA = (12, 16), (12, 16, 2), (12, 16, 3), (12, 16, 4)
ALPHA = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}


@pytest.mark.parametrize("shape", [GREY, GREY_ALPHA, RGB, RGBA])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_kind_of_image_is_read_as_it_was_written(tmp_path, shape, dtype, suffix):
    array = noise(shape, dtype)
    how = ALPHA if shape == GREY_ALPHA and suffix == ".tif" else {}
    found = read(save(tmp_path / f"a{suffix}", array, **how))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("shape", [GREY, RGB])
def test_a_bmp_image_is_read_as_it_was_written(tmp_path, shape):
    np.testing.assert_array_equal(read(save(tmp_path / "a.bmp", noise(shape))), noise(shape))


@pytest.mark.parametrize("shape", [GREY, RGB])
def test_a_jpeg_image_is_read_nearly_as_it_was_written(tmp_path, shape):
    array = np.broadcast_to(np.linspace(0, 255, 16).reshape(16, *[1] * (len(shape) - 2)), shape).astype(np.uint8)
    np.testing.assert_allclose(read(save(tmp_path / "a.jpg", array)).astype(int), array, atol=6)


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "lzw"},
        {"compression": "zlib"},
        {"byteorder": ">"},
        {"rowsperstrip": 5, "compression": "lzw", "predictor": True},
        {"tile": (16, 16)},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_every_way_of_writing_a_tiff_gives_the_same_array(tmp_path, how, dtype):
    np.testing.assert_array_equal(read(save(tmp_path / "a.tif", noise(dtype=dtype), **how)), noise(dtype=dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, bool])
def test_floats_and_bits_in_a_tiff_are_read(tmp_path, dtype):
    array = (noise() / 255 > 0.5).astype(dtype)
    found = read(save(tmp_path / "a.tif", array, photometric="minisblack"))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


def test_a_planar_tiff_has_its_channels_last(tmp_path):
    array = noise((3, 12, 16))
    found = read(save(tmp_path / "a.tif", array, photometric="rgb", planarconfig="separate"))
    np.testing.assert_array_equal(found, array.transpose(1, 2, 0))


def test_a_three_channel_imagej_tiff_is_rgb(tmp_path):
    array = noise((3, 12, 16), np.uint16)
    found = read(save(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "CYX"}))
    np.testing.assert_array_equal(found, array.transpose(1, 2, 0))


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_separate_channels_are_not_taken_for_alpha(tmp_path, channels):
    array = noise((channels, 12, 16))
    file = save(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read(file), array.transpose(1, 2, 0))
    assert read_image(file).shape == (12, 16, channels)


@pytest.mark.parametrize("axes", ["ZYX", "TZYX", "ZCYX"])
@pytest.mark.parametrize("imagej", [True, False])
def test_a_page_of_a_stack_is_read_by_itself(tmp_path, axes, imagej):
    sizes = {"T": 2, "Z": 3, "C": 2, "Y": 12, "X": 16}
    array = noise(tuple(sizes[axis] for axis in axes))
    file = save(tmp_path / "a.tif", array, imagej=imagej, metadata={"axes": axes}, photometric="minisblack")
    pages = array.reshape(-1, *array.shape[-3:]) if "C" in axes else array.reshape(-1, 12, 16)
    assert count_planes(file) == len(pages)
    for index, page in enumerate(pages):
        np.testing.assert_array_equal(read(Page(file, index)), page.transpose(1, 2, 0) if page.ndim == 3 else page)


def test_files_of_channels_are_joined_in_their_order(tmp_path):
    arrays = [noise(seed=seed) for seed in (1, 2)]
    files = tuple(save(tmp_path / f"a_{seed}.png", array) for seed, array in enumerate(arrays))
    np.testing.assert_array_equal(read(Channels(files)), np.stack(arrays, axis=-1))
    assert read_image(Channels(files)).shape == (12, 16, 2)


def test_files_of_channels_must_be_alike(tmp_path):
    files = (save(tmp_path / "a_0.png", noise()), save(tmp_path / "a_1.png", noise((12, 17))))
    with pytest.raises(DataError, match=r"a_1\.png: holds \(12, 17\) of uint8, but another channel .*a_0\.png"):
        read(Channels(files))


def _png_header(width, height, depth):
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([depth, 0, 0, 0, 0])
    ends = [header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (len(end) - 4).to_bytes(4) + end + zlib.crc32(end).to_bytes(4) for end in ends
    )


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_that_claims_four_gigapixels_is_refused_before_it_is_unpacked(tmp_path, depth):
    (tmp_path / "a.png").write_bytes(_png_header(65535, 65535, depth))
    with pytest.raises(DataError, match=r"a\.png: claims to hold [\d,]+ bytes of pixels in a file of \d+; expected"):
        read(tmp_path / "a.png")


def test_a_tiff_that_claims_four_gigapixels_is_refused_before_it_is_unpacked(tmp_path):
    file = save(tmp_path / "a.tif", noise(), metadata=None)
    with tifffile.TiffFile(file, mode="r+") as opened:
        for tag in ("ImageWidth", "ImageLength"):
            opened.pages[0].tags[tag].overwrite(65535)
    with pytest.raises(
        DataError, match=r"a\.tif: (claims to hold 4,294,836,225 bytes of pixels|.*cut short|.*strips or tiles)"
    ):
        read(file)


def test_a_tiff_of_several_pages_is_refused_with_their_number(tmp_path):
    file = save(tmp_path / "a.tif", noise((5, 12, 16)), photometric="minisblack")
    with pytest.raises(DataError, match=r"a\.tif: holds 5 pages .*; expected one image; save each page by itself"):
        read(file)


def test_a_stack_of_one_page_is_an_image(tmp_path):
    file = save(tmp_path / "a.tif", noise((1, 12, 16)), imagej=True, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(read(file), noise((1, 12, 16))[0])


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "CMYK"), ("a.tif", "SEPARATED")])
def test_colours_of_print_are_refused(tmp_path, name, kind):
    Image.fromarray(noise(RGB)).convert("CMYK").save(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: is stored as {kind}; expected grey or RGB; convert it"):
        read(tmp_path / name)


def test_complex_values_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.tif: holds complex64 values; expected integers or floats"):
        read(save(tmp_path / "a.tif", noise().astype(np.complex64)))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
@pytest.mark.parametrize(
    ("name", "dtype", "how"),
    [
        ("a.png", np.uint8, {}),
        ("a.png", np.uint16, {}),
        ("a.jpg", np.uint8, {}),
        ("a.bmp", np.uint8, {}),
        ("a.tif", np.uint8, {}),
        ("a.tif", np.uint16, {"compression": "lzw"}),
        ("a.tif", np.uint16, {"compression": "zlib", "rowsperstrip": 8}),
    ],
    ids=str,
)
def test_a_truncated_file_is_refused_by_name(tmp_path, name, dtype, how, share):
    file = save(tmp_path / name, noise((64, 64), dtype), **how)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        DataError,
        match=rf"{name}: (is (empty|cut short|damaged)|.*beyond its end|cannot be read as an? .*image, is it damaged)",
    ):
        read_image(file)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_with_a_flipped_bit_is_refused(tmp_path, dtype):
    file = save(tmp_path / "a.png", noise((64, 64), dtype))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"a\.png: cannot be read"):
        read(file)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.bmp"])
@pytest.mark.parametrize("data", [b"a page of text\n" * 9, np.random.default_rng(0).bytes(999)], ids=["text", "random"])
def test_what_is_no_image_is_refused_by_name(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=rf"{name}: cannot be read") as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_a_missing_file_is_refused_by_name(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}: no such file"):
        read_image(tmp_path / name)


def test_a_truncated_palette_image_is_refused_by_name(tmp_path):
    Image.fromarray(noise((64, 64))).convert("P").save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-400])
    with pytest.raises(DataError, match=r"a\.png: cannot be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.bmp"])
def test_a_palette_image_shows_its_colours_and_a_palette_mask_its_indices(tmp_path, name):
    indices = noise() % 3
    image = Image.fromarray(indices, mode="L")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / name)
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.float32)
    np.testing.assert_allclose(read_image(tmp_path / name), colours[indices] / 255, rtol=1e-6)
    np.testing.assert_array_equal(read(tmp_path / name), indices)


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535), (np.int16, 32767)])
def test_integers_are_divided_by_the_largest_value_of_their_type(tmp_path, dtype, largest):
    array = noise(dtype=dtype)
    found = read_image(save(tmp_path / "a.tif", array))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, array[..., None] / largest, rtol=1e-6)


def test_floats_are_taken_as_they_are(tmp_path):
    array = np.linspace(-3, 1000, 192, dtype=np.float32).reshape(12, 16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.tif", array))[..., 0], array)


@pytest.mark.parametrize("shape", [GREY_ALPHA, RGBA])
def test_alpha_is_left_out_of_images(tmp_path, shape):
    array = noise(shape)
    found = read_image(save(tmp_path / "a.png", array))
    np.testing.assert_allclose(found, array[..., :-1] / 255, rtol=1e-6)


def test_bits_become_zero_and_one():
    np.testing.assert_array_equal(normalise_image(np.array([[True, False]])), np.array([[[1], [0]]], np.float32))


def test_a_grey_image_that_is_stored_as_rgb_serves_a_grey_model():
    grey = np.random.default_rng(0).random((4, 5, 1), np.float32)
    np.testing.assert_array_equal(match_channels(grey.repeat(3, axis=-1), 1, "a.png"), grey)


@pytest.mark.parametrize(("found", "expected"), [(1, 3), (3, 1)])
def test_channels_that_do_not_match_are_refused_with_both_numbers(found, expected):
    image = np.random.default_rng(0).random((4, 5, found), np.float32)
    with pytest.raises(DataError, match=rf"a\.png: has {found} channels?, expected {expected}; convert the image"):
        match_channels(image, expected, "a.png")


def test_images_are_listed_by_name_whatever_the_case_of_their_suffix(tmp_path):
    for name in ("b.PNG", "a b.Tif", "ß µ.jpeg", "c.bmp", "d.TIFF", "e.JPG"):
        (tmp_path / name).touch()
    assert [file.name for file in list_images(tmp_path)] == [
        "a b.Tif", "b.PNG", "c.bmp", "d.TIFF", "e.JPG", "ß µ.jpeg"
    ]  # fmt: skip


def test_hidden_files_other_files_and_folders_are_no_images(tmp_path):
    for name in (".DS_Store", "._a.png", "Thumbs.db", "notes.txt", "a.czi"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path) == []


def test_two_files_of_one_stem_are_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"a\.png and .*a\.tif: two files of one stem; remove or rename one"):
        by_stem([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "a.tif"])


def test_a_dot_in_a_name_is_part_of_the_stem():
    assert list(by_stem([Path("cell.v1.png"), Path("cell.v2.png")])) == ["cell.v1", "cell.v2"]


def test_every_published_micrograph_of_axons_is_grey_with_or_without_alpha():
    files = list_images(shared("sem_axons") / "images")
    assert {read(file).ndim for file in files} == {2, 3}
    assert {read_image(file).shape[-1] for file in files} == {1}


def test_a_file_that_cannot_be_written_whole_is_not_there_at_all(tmp_path):
    def write_half(partial):
        partial.write_bytes(b"half")
        raise OSError(28, os.strerror(28))

    with pytest.raises(OutputError, match=r"a\.png: cannot be written \(No space left on device\)"):
        write_atomically(tmp_path / "a.png", write_half)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_former_file(tmp_path):
    (tmp_path / "a.txt").write_text("former")
    with pytest.raises(OutputError):
        write_atomically(tmp_path / "a.txt", lambda partial: (partial.parent / "none" / "b").write_text(""))
    assert (tmp_path / "a.txt").read_text() == "former"


def test_a_colour_is_three_numbers():
    assert hex_to_rgb("#ff8001") == (255, 128, 1)


def test_classes_are_shown_in_their_colours():
    expected = [[[0, 0, 1], [255, 0, 0]]]
    np.testing.assert_array_equal(colourise(np.array([[0, 1]], np.uint8), ["#000001", "#ff0000"]), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_display_stretches_each_channel_over_the_whole_range(channels):
    image = np.linspace(0.2, 0.3, 1000, dtype=np.float32).reshape(20, 50, 1).repeat(channels, axis=-1)
    shown = to_display(image)
    assert (shown.shape, shown.dtype) == ((20, 50, 3), np.uint8)
    assert (shown.min(), shown.max()) == (0, 255)


def test_a_tiff_thumbnail_is_not_the_image(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise())
        file.write(noise((3, 4)))
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), noise())
