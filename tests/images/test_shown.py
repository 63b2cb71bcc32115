"""Images are read as every viewer shows them: upright, and with black and white the right way round."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from rescrnet.errors import DataError
from rescrnet.images.open import open_image
from rescrnet.images.whole import read_pixels

RAMP = np.arange(256, dtype=np.uint8)
PICTURE = (np.random.default_rng(0).integers(0, 200, (40, 56))).astype(np.uint8)


def whole(path: Path, *, indices: bool = False) -> Any:
    return read_pixels(path, indices=indices).values


def by_region(path: Path) -> Any:
    """The image put together from regions, by a reader that went through pickle."""
    source = pickle.loads(pickle.dumps(open_image(path)[0].source))  # noqa: S301
    height, width, _ = source.shape
    rows = [
        np.concatenate([source.read(y, min(y + 7, height), x, min(x + 9, width)) for x in range(0, width, 9)], axis=1)
        for y in range(0, height, 7)
    ]
    return np.concatenate(rows).squeeze()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "late.png"])
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    if suffix == "tif":
        tifffile.imwrite(path, PICTURE, extratags=[(274, 3, 1, orientation, True)], rowsperstrip=8)
    else:
        Image.fromarray(PICTURE).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    if suffix == "late.png":
        content = path.read_bytes()
        start = content.index(b"eXIf") - 4
        length = 12 + int.from_bytes(content[start : start + 4])
        chunk, rest = content[start : start + length], content[:start] + content[start + length :]
        path.write_bytes(rest[:-12] + chunk + rest[-12:])
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    for read in (whole(path), by_region(path)):
        grey = read if read.ndim == 2 else read[..., 0]
        np.testing.assert_array_equal(grey, expected)


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_orientation_turns_planes_channels_and_pixel_size(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.tif"
    pages = np.random.default_rng(1).integers(0, 99, (3, 40, 56, 3)).astype(np.uint8)
    tag = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(
        path, pages, photometric="rgb", tile=(16, 16), extratags=tag, resolution=(5000, 10000), resolutionunit=3
    )
    turn = {3: lambda a: a[::-1, ::-1], 6: lambda a: np.rot90(a, -1), 7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1]}
    stack = open_image(path)
    for page, plane in zip(pages, stack, strict=True):
        height, width, _ = plane.source.shape
        np.testing.assert_array_equal(plane.source.read(0, height, 0, width), turn[orientation](page))
    assert stack.pixel_size == pytest.approx((1.0, 2.0) if orientation == 3 else (2.0, 1.0))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "bool"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_is_zero_is_inverted(tmp_path: Path, dtype: str, compression: str | None) -> None:
    shown = (PICTURE > 100) if dtype == "bool" else PICTURE.astype(dtype)
    top = 1 if dtype == "bool" else np.iinfo(dtype).max
    stored = ~shown if dtype == "bool" else top - shown
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="miniswhite", compression=compression, rowsperstrip=8)
    np.testing.assert_array_equal(whole(path), shown)
    np.testing.assert_array_equal(by_region(path), shown)
    assert whole(path).dtype == shown.dtype


def test_a_fax_mask_is_read_as_pillow_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(PICTURE > 100).save(path, compression="group4")
    with Image.open(path) as image:
        shown = np.asarray(image.convert("1"))
    np.testing.assert_array_equal(whole(path), shown)


def test_floats_with_white_as_zero_keep_their_values(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE.astype(np.float32), photometric="miniswhite")
    np.testing.assert_array_equal(whole(path), PICTURE)


def test_inverting_tables_of_imagej_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, 255 - PICTURE, imagej=True, metadata={"LUTs": [np.stack([RAMP[::-1]] * 3)]})
    np.testing.assert_array_equal(whole(path), PICTURE)


@pytest.mark.parametrize("step", [1, -1])
def test_a_grey_ramp_in_the_palette_of_a_tiff_gives_grey_values(tmp_path: Path, step: int) -> None:
    path = tmp_path / "a.tif"
    colours = np.stack([RAMP[::step].astype(np.uint16) * 257] * 3)
    tifffile.imwrite(path, PICTURE if step == 1 else 255 - PICTURE, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(whole(path), PICTURE)


@pytest.mark.parametrize("indices", [True, False])
@pytest.mark.parametrize("suffix", ["png", "bmp", "gif"])
@pytest.mark.parametrize("step", [1, -1])
def test_a_grey_ramp_in_the_palette_of_a_picture_gives_grey_values(
    tmp_path: Path, step: int, suffix: str, indices: bool
) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.fromarray(PICTURE if step == 1 else 255 - PICTURE)
    image.putpalette(np.stack([RAMP[::step]] * 3, -1).tobytes())
    image.save(path)
    read = whole(path, indices=indices)
    if suffix == "gif" and indices and step == 1:  # Pillow sorts the palette of a GIF by use
        return
    np.testing.assert_array_equal(read, PICTURE)


@pytest.mark.parametrize("white", [0, 1])
def test_a_mask_with_a_palette_of_black_and_white_is_one_of_one_bit(tmp_path: Path, white: int) -> None:
    path = tmp_path / "a.png"
    shown = PICTURE > 100
    image = Image.fromarray((shown if white else ~shown).astype(np.uint8))
    image.putpalette([0] * 3 + [255] * 3 if white else [255] * 3 + [0] * 3)
    image.save(path)
    np.testing.assert_array_equal(whole(path, indices=True), shown)
    np.testing.assert_array_equal(whole(path) > 0, shown)


def test_class_colours_in_a_palette_stay_indices(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    labels = (PICTURE % 3).astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette([255, 255, 255, 128, 128, 128, 0, 0, 0])
    image.save(path)
    np.testing.assert_array_equal(whole(path, indices=True), labels)


@pytest.mark.parametrize("suffix", ["gif", "webp", "pgm", "jp2", "ppm"])
def test_pictures_of_other_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "jp2":
        path.write_bytes(imagecodecs.jpeg2k_encode(PICTURE, level=0))
    else:
        Image.fromarray(PICTURE).save(path, **({"lossless": True} if suffix == "webp" else {}))
    read = whole(path)
    np.testing.assert_array_equal(read if read.ndim == 2 else read[..., 0], PICTURE)


@pytest.mark.parametrize("suffix", ["pgm", "jp2"])
def test_sixteen_bits_of_other_formats_are_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    deep = PICTURE.astype(np.uint16) * 257 + 3
    if suffix == "jp2":
        path.write_bytes(imagecodecs.jpeg2k_encode(deep, level=0))
    else:
        Image.fromarray(deep).save(path)
    assert whole(path).dtype == np.uint16
    np.testing.assert_array_equal(whole(path), deep)


def test_several_frames_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="holds 2 pictures"):
        open_image(path)


@pytest.mark.parametrize(
    ("samples", "photometric", "extra", "dtype", "channels"),
    [
        (4, "minisblack", (0, 0, 0), "uint8", 4),
        (2, "minisblack", (0,), "uint16", 2),
        (2, "minisblack", (2,), "uint16", 1),
        (4, "rgb", (0,), "uint8", 3),
        (4, "rgb", (0,), "uint16", 4),
        (4, "rgb", (1,), "uint16", 3),
        (5, "rgb", (0, 0), "uint8", 5),
        (5, "rgb", (0, 2), "uint8", 4),
    ],
)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_only_what_is_called_alpha_is_left_out(
    tmp_path: Path, samples: int, photometric: str, extra: tuple[int, ...], dtype: str, channels: int, planar: str
) -> None:
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 250, (20, 30, samples)).astype(dtype)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(path, stored, photometric=photometric, extrasamples=extra, planarconfig=planar)
    pixels = read_pixels(path)
    np.testing.assert_array_equal(pixels.colours, values[..., :channels])
    np.testing.assert_array_equal(open_image(path)[0].source.read(0, 20, 0, 30), values[..., :channels])
