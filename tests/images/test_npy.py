"""Arrays in files, by region, without memory maps."""

import errno
import os

import numpy as np
import pytest

from rescrnet.errors import DataError, OutputError
from rescrnet.images.npy import RawArray
from tests.support.folders import noise, travelled

WHOLE = slice(None)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4", "?"])
@pytest.mark.parametrize(
    "index",
    [
        (1, slice(2, 5), slice(3, 9), WHOLE),
        (WHOLE, slice(2, 5), WHOLE, WHOLE),
        (0, WHOLE, WHOLE, WHOLE),
        (slice(1, 3), 4, slice(0, 1), 2),
        (WHOLE, WHOLE, WHOLE, WHOLE),
    ],
    ids=str,
)
def test_a_region_is_what_numpy_gives(tmp_path, order, dtype, index):
    array = np.asarray(noise((3, 7, 11, 3)), dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    found = RawArray.open(tmp_path / "a.npy")[index]
    np.testing.assert_array_equal(found, array[index])
    assert found.dtype == array.dtype.newbyteorder("=")
    found[...] = 0  # a copy of the caller's own


def test_what_is_written_in_any_order_is_read_again_by_this_and_by_numpy(tmp_path):
    wanted = noise((2, 9, 13), np.uint16)
    array = RawArray.create(tmp_path / "a.npy", wanted.shape, wanted.dtype)
    places = [(p, y, x) for p in (0, 1) for y in (0, 5) for x in (0, 4, 8)]
    for p, y, x in np.random.default_rng(0).permutation(places):
        region = (int(p), slice(y, min(y + 5, 9)), slice(x, min(x + 5, 13)))
        array[region] = wanted[region]
    np.testing.assert_array_equal(RawArray.open(tmp_path / "a.npy")[(WHOLE, WHOLE, WHOLE)], wanted)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), wanted)


def test_a_new_array_takes_no_space_until_it_is_written(tmp_path):
    array = RawArray.create(tmp_path / "a.npy", (100_000, 100_000), np.uint8)
    assert os.stat(tmp_path / "a.npy").st_blocks * 512 < 100_000  # noqa: PTH116
    array[(slice(99_999, 100_000), slice(99_998, 100_000))] = np.array([[7, 8]], np.uint8)
    assert array[(99_999, slice(99_997, 100_000))].tolist() == [0, 7, 8]


def test_a_block_of_another_shape_is_refused_before_anything_is_written(tmp_path):
    array = RawArray.create(tmp_path / "a.npy", (4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"shape \(2, 2\) for a region of shape \(2, 3\)"):
        array[(slice(0, 2), slice(0, 3))] = np.ones((2, 2), np.uint8)
    assert not np.load(tmp_path / "a.npy").any()


def test_it_travels_to_another_process(tmp_path):
    np.save(tmp_path / "a.npy", noise())
    array = travelled(RawArray.open(tmp_path / "a.npy"))
    np.testing.assert_array_equal(array[(WHOLE, WHOLE)], noise())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: os.truncate(file, 200), r"a\.npy: is cut short, 200 bytes of 320; copy it again"),
        (lambda file: os.truncate(file, 20), r"a\.npy: cannot be read as a NumPy array, is it damaged\?"),
        (lambda file: file.write_bytes(b"text" * 50), r"a\.npy: cannot be read as a NumPy array"),
        (lambda file: np.save(file, np.array(["a", None])), r"a\.npy: holds Python objects"),
    ],
    ids=["cut", "cut in the header", "other", "objects"],
)
def test_damaged_files_are_refused(tmp_path, spoil, message):
    np.save(tmp_path / "a.npy", noise())
    spoil(tmp_path / "a.npy")
    with pytest.raises(DataError, match=message):
        RawArray.open(tmp_path / "a.npy")


def test_a_file_cut_short_after_opening_is_refused_when_it_is_read(tmp_path):
    np.save(tmp_path / "a.npy", noise())
    array = RawArray.open(tmp_path / "a.npy")
    os.truncate(tmp_path / "a.npy", 200)
    with pytest.raises(DataError, match=r"a\.npy: is cut short; copy it again"):
        array[(WHOLE, WHOLE)]


def test_a_full_disk_is_one_line_with_the_folder_and_the_remedy(mount):
    disk = mount("size=64k")
    array = RawArray.create(disk / "a.npy", (1000, 1000), np.uint8)
    with pytest.raises(OutputError, match=r"disk: cannot be written \(No space left on device\); free space there, or"):
        array[(WHOLE, WHOLE)] = np.ones((1000, 1000), np.uint8)


def test_an_array_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    def fail(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
        RawArray.create(tmp_path / "a.npy", (4, 4), np.uint8)
    assert not list(tmp_path.iterdir())
