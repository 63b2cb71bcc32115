"""MRC, DM3 and DM4: what electron microscopes write."""

import struct
import sys

import numpy as np
import pytest

from rescrnet.checking.check import check
from rescrnet.errors import DataError
from rescrnet.images.open import image_stem, list_images, open_image
from rescrnet.images.whole import read_pixels
from tests.support.dm_files import dm_file
from tests.support.folders import noise, save, stripes, travelled
from tests.support.micrographs import good

mrcfile = pytest.importorskip("mrcfile", reason='pip install "rescrnet[em]"')
pytest.importorskip("nionswift_plugin.DM_IO", reason='pip install "rescrnet[em]"')

PICTURE = np.arange(12 * 16).reshape(12, 16) % 120


def mrc(path, array, step=12.5, volume=False, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, **how) as file:
        file.set_data(array)
        if volume:
            file.set_volume()
        elif array.ndim == 3:
            file.set_image_stack()
        file.voxel_size = step
    return path


def changed(path, *changes):
    """The file with numbers of its header, at a place each, set anew."""
    content = bytearray(path.read_bytes())
    for place, form, value in changes:
        struct.pack_into(form, content, place, value)
    path.write_bytes(content)
    return path


def mean_of(stack):
    return [float(source.read(0, *source.shape[:1], 0, source.shape[1]).mean()) for _, source in stack]


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
@pytest.mark.parametrize("suffix", [".mrc", ".rec", ".st", ".map", ".mrcs", ".ali"])
def test_every_mode_of_mrc_is_read_as_viewers_show_it(tmp_path, dtype, suffix):
    path = mrc(tmp_path / f"cell{suffix}", PICTURE.astype(dtype))
    pixels = read_pixels(path)
    assert pixels.values.dtype == dtype
    np.testing.assert_array_equal(pixels.values, PICTURE[::-1])  # rows are stored from the lower left
    assert (pixels.form, pixels.pixel_size) == ("MRC", pytest.approx((0.00125, 0.00125)))
    assert list_images(tmp_path) == [path]


@pytest.mark.parametrize("order", ["<", ">"])
def test_mrc_of_either_byte_order_is_read_by_region(tmp_path, order):
    path = mrc(tmp_path / "a.mrc", PICTURE.astype(f"{order}i2"))
    source = travelled(open_image(path))[0].source
    np.testing.assert_array_equal(source.read(2, 5, 3, 9)[..., 0], PICTURE[::-1][2:5, 3:9])
    assert source.segment_bytes == 0


def test_a_width_that_looks_like_another_form_does_not_matter(tmp_path):
    path = mrc(tmp_path / "montage.mrc", np.zeros((2, int.from_bytes(b"P1", "little")), "i1"))
    assert open_image(path).size == (2, 12624)


def test_an_extended_header_is_passed_over(tmp_path):
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(PICTURE.astype("i2"))
        file.set_extended_header(np.ones(1024, "V1"))
    np.testing.assert_array_equal(read_pixels(path).values, PICTURE[::-1])


def test_bytes_are_unsigned_where_a_header_is_older_than_the_standard_or_its_maximum_says_so(tmp_path):
    plain = mrc(tmp_path / "a.mrc", np.full((4, 4), -56, "i1"))
    assert read_pixels(changed(plain, (80, "<f", 200.0))).values.max() == 200
    old = np.zeros(256, "<i4")
    old[:4] = [16, 12, 1, 0]
    (tmp_path / "old.mrc").write_bytes(old.tobytes() + PICTURE.astype("u1").tobytes())
    np.testing.assert_array_equal(read_pixels(tmp_path / "old.mrc").values, PICTURE[::-1])


def test_bytes_of_imod_are_signed_only_where_it_says_so(tmp_path):
    plain = mrc(tmp_path / "a.mrc", np.full((4, 4), -56, "i1"))
    assert read_pixels(plain).values.max() == -56
    stamped = [(152, "<i", 1146047817), (156, "<i", 0)]
    assert read_pixels(changed(plain, *stamped)).values.max() == 200
    assert read_pixels(changed(plain, stamped[0], (156, "<i", 1))).values.max() == -56


@pytest.mark.parametrize("packed", ["", ".gz", ".bz2"])
@pytest.mark.parametrize(("volume", "axis"), [(True, "z"), (False, "p")])
def test_stacks_and_tomograms_are_planes_packed_or_not(tmp_path, packed, volume, axis):
    stack = np.stack([PICTURE, PICTURE + 1, PICTURE + 2]).astype("i2")
    how = {".gz": {"compression": "gzip"}, ".bz2": {"compression": "bzip2"}}.get(packed, {})
    path = mrc(tmp_path / f"cell.mrc{packed}", stack, volume=volume, **how)
    planes = travelled(open_image(path))
    assert [plane.name for plane in planes] == [f"{axis}0", f"{axis}1", f"{axis}2"]
    assert mean_of(planes) == [stack[index].mean() for index in range(3)]
    assert (image_stem(path), list_images(tmp_path)) == ("cell", [path])


def test_a_pixel_size_of_one_angstrom_or_none_is_not_believed(tmp_path):
    for step in (0, 1):
        assert open_image(mrc(tmp_path / f"{step}.mrc", PICTURE.astype("i2"), step)).pixel_size is None


def test_what_is_no_grey_image_in_mrc_is_refused_in_a_line(tmp_path):
    fourier = mrc(tmp_path / "fft.mrc", np.ones((4, 4), "c8"))
    with pytest.raises(DataError, match=r"fft\.mrc: holds complex values.*\(mode 4\); expected grey values"):
        open_image(fourier)
    for mode in (16, 101, 7):
        with pytest.raises(DataError, match=rf"fft\.mrc: .*{mode}"):
            open_image(changed(fourier, (12, "<i", mode)))


def test_damaged_mrc_is_refused_in_a_line(tmp_path):
    path = mrc(tmp_path / "a.mrc", PICTURE.astype("i2"))
    whole = path.read_bytes()
    for length in (0, 3, 300, 1023, 1024, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.mrc: (is empty|is cut short|cannot be read)"):
            read_pixels(path)
    for place in (0, 4, 8, 92):  # extents, and the length of the extended header
        path.write_bytes(whole)
        with pytest.raises(DataError, match=r"a\.mrc: "):
            read_pixels(changed(path, (place, "<i", -5)))
    packed = mrc(tmp_path / "b.mrc.gz", PICTURE.astype("i2"), compression="gzip")
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"b\.mrc\.gz: cannot be read as an MRC image"):
        read_pixels(packed)


def test_a_map_of_another_program_is_no_image(tmp_path):
    save(tmp_path / "a.png", noise())
    (tmp_path / "linker.map").write_text("Memory Configuration\n" * 40, encoding="utf-8")
    (tmp_path / "empty.rec").touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("thumbnail", [True, False])
def test_dm3_and_dm4_are_read_without_their_thumbnail(tmp_path, version, dtype, thumbnail):
    path = tmp_path / f"cell.dm{version}"
    path.write_bytes(dm_file(PICTURE.astype(dtype), version, thumbnail=thumbnail))
    pixels = read_pixels(path)
    assert pixels.values.dtype == dtype
    np.testing.assert_array_equal(pixels.values, PICTURE)
    assert (pixels.form, pixels.pixel_size) == ("DM", (0.004, 0.004))
    assert list_images(tmp_path) == [path]


@pytest.mark.parametrize(("unit", "size"), [("µm", (4, 4)), ("Å", (4e-4, 4e-4)), ("1/nm", None), ("", None)])
def test_the_unit_of_a_dm_file_is_heeded(tmp_path, unit, size):
    (tmp_path / "a.dm3").write_bytes(dm_file(PICTURE.astype("i2"), unit=unit))
    assert open_image(tmp_path / "a.dm3").pixel_size == (size and pytest.approx(size))


@pytest.mark.parametrize("version", [3, 4])
def test_a_dm_stack_is_planes_and_colours_are_red_green_blue(tmp_path, version):
    stack = np.stack([PICTURE, PICTURE + 1]).astype("u2")
    path = tmp_path / "a.dm"
    path.write_bytes(dm_file(stack, version))
    assert mean_of(travelled(open_image(path))) == [PICTURE.mean(), PICTURE.mean() + 1]
    red = np.full((4, 6), 0x00FF8001, "u4")
    path.write_bytes(dm_file(red, version, data_type=23, thumbnail=False))
    np.testing.assert_array_equal(read_pixels(path).values[2, 3], [0xFF, 0x80, 0x01])


def test_what_is_no_image_in_dm_is_refused_in_a_line(tmp_path):
    path = tmp_path / "a.dm4"
    path.write_bytes(dm_file(PICTURE.astype("f4"), 4, data_type=3))
    with pytest.raises(DataError, match=r"a\.dm4: holds values of another kind.*TIFF in DigitalMicrograph"):
        open_image(path)
    path.write_bytes(dm_file(np.zeros((2, 2, 4, 4), "u2"), 4))
    with pytest.raises(DataError, match=r"a\.dm4: holds data of 4 dimensions"):
        open_image(path)


@pytest.mark.parametrize("version", [3, 4])
def test_a_damaged_dm_file_is_refused_in_a_line(tmp_path, version, capsys):
    path, whole = tmp_path / "a.dm3", dm_file(PICTURE.astype("i2"), version)
    for length in (0, 5, 40, 300, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.dm3: (is empty|cannot be read as a DigitalMicrograph image)"):
            open_image(path)
    assert capsys.readouterr().out == ""  # the library prints what it thinks


def test_a_dataset_of_mrc_and_dm_files_is_read_and_pairs(tmp_path):
    data = good(tmp_path)
    for file in sorted((data / "images").iterdir()):
        image = read_pixels(file).values.astype("i2") * 16
        if file.stem in "abc":
            mrc(file.with_suffix(".mrc"), image[::-1].copy())
        else:
            file.with_suffix(".dm4").write_bytes(dm_file(image, 4, scale=1.25))
        file.unlink()
    checked = check(data)
    assert [str(finding) for finding in checked.findings] == []
    assert {facts.form for _, facts in checked.reading.images} == {"MRC", "DM"}


@pytest.mark.parametrize(("module", "name"), [("mrcfile", "c.mrc"), ("nionswift_plugin.DM_IO.parse_dm3", "c.dm4")])
def test_where_the_library_is_missing_one_line_says_how_to_get_it(tmp_path, monkeypatch, module, name):
    files = [tmp_path / f"images/{stem}{name[1:]}" for stem in "cd"]
    for file in files:
        mrc(file, PICTURE.astype("i2"))
        if name == "c.dm4":
            file.write_bytes(dm_file(PICTURE.astype("i2"), 4))
    for stem in "abcd":
        save(tmp_path / f"masks/{stem}.png", stripes(0, 255))
    for number, stem in enumerate("ab"):
        save(tmp_path / f"images/{stem}.png", noise(seed=number))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r'not installed; pip install "rescrnet\[em\]"'):
        open_image(files[0])
    (error,) = [finding for finding in check(tmp_path).findings if finding.check.name == "unreadable-image"]
    assert error.files == tuple(map(str, files))  # one finding, not one a file
