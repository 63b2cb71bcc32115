"""OME-Zarr images and Zarr arrays are read by region, and what is missing from them is named."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
import zarr

from rescrnet.errors import DataError
from rescrnet.images.open import open_image
from rescrnet.images.zarr_reader import ZarrArray
from tests.support.folders import noise, travelled
from tests.support.ome_zarr import SHAPE, write_image

MEBIBYTE = 1 << 20


@pytest.fixture(params=[2, 3], ids=["0.4", "0.5"])
def zarr_format(request):
    return request.param


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_of_an_ome_zarr_is_read_with_its_axes_and_steps(tmp_path, zarr_format, level):
    stack = open_image(write_image(tmp_path / "a.zarr", zarr_format), level)
    assert [plane.name for plane in stack] == ["t0", "t1"]
    assert (stack.kind, stack.levels, stack.zarr_format) == ("ome-zarr", 2, zarr_format)
    assert stack.pixel_size == (0.5 * 2**level, 0.25 * 2**level)
    assert [(a.name, a.scale, a.translation, a.unit) for a in stack.axes][-1] == (
        "x",
        0.25 * 2**level,
        10,
        "micrometer",
    )
    array = noise(SHAPE)[..., :: 2**level, :: 2**level].transpose(0, 2, 3, 1)
    for plane, wanted in zip(stack, array, strict=True):
        np.testing.assert_array_equal(plane.source.read(5, 29, 7, 40), wanted[5:29, 7:40])
        np.testing.assert_array_equal(travelled(plane.source).read(5, 29, 7, 40), wanted[5:29, 7:40])


def test_the_transformation_of_all_levels_follows_that_of_each(tmp_path, zarr_format):
    steps = [{"type": "scale", "scale": [1, 1, 2, 2]}, {"type": "translation", "translation": [0, 0, 0, 5]}]
    path = write_image(tmp_path / "a.zarr", zarr_format, coordinateTransformations=steps)
    x = open_image(path).axes[-1]
    assert (x.scale, x.translation) == (0.5, 10 * 2 + 5)


@pytest.mark.parametrize("axes", [["t", "c", "y", "x"], None], ids=["0.3", "0.2"])
def test_older_versions_name_axes_alone_or_not_at_all(tmp_path, axes):
    array, letters = (noise(SHAPE), "tcyx") if axes else (noise((1, 3, 1, 61, 83)), "tczyx")
    path = write_image(tmp_path / "a.zarr", 2, array, letters)
    description = json.loads((path / ".zattrs").read_text())
    multiscale = description["multiscales"][0]
    multiscale["datasets"] = [{"path": "0"}, {"path": "1"}]
    multiscale["axes"] = axes
    if axes is None:
        del multiscale["axes"]
    (path / ".zattrs").write_text(json.dumps(description))
    stack = open_image(path)
    assert stack.pixel_size is None
    np.testing.assert_array_equal(stack[0].source.read(0, 61, 0, 83), array[0].reshape(3, 61, 83).transpose(1, 2, 0))


@pytest.mark.parametrize("names", [("y", "x", "c"), ("Y", "X", "channel")])
def test_a_plain_array_may_name_its_axes(tmp_path, names):
    zarr.create_array(tmp_path / "a.zarr", data=noise((20, 30, 2)), dimension_names=names)
    assert open_image(tmp_path / "a.zarr")[0].source.shape == (20, 30, 2)
    array = zarr.create_array(tmp_path / "b.zarr", data=noise((20, 30, 2)), zarr_format=2)
    array.attrs["_ARRAY_DIMENSIONS"] = list(names)
    assert open_image(tmp_path / "b.zarr")[0].source.shape == (20, 30, 2)


def test_a_plain_array_without_names_is_read_as_any_array(tmp_path, zarr_format):
    zarr.create_array(tmp_path / "a.zarr", data=noise((2, 20, 30)), chunks=(1, 7, 9), zarr_format=zarr_format)
    stack = open_image(tmp_path / "a.zarr")
    assert [plane.name for plane in stack] == ["p0", "p1"]
    np.testing.assert_array_equal(stack[1].source.read(3, 11, 5, 17)[..., 0], noise((2, 20, 30))[1, 3:11, 5:17])


def test_shards_are_read(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=noise((64, 64)), chunks=(8, 8), shards=(32, 32))
    source = open_image(tmp_path / "a.zarr")[0].source
    assert source.segment_bytes == 64
    np.testing.assert_array_equal(source.read(3, 40, 5, 60)[..., 0], noise((64, 64))[3:40, 5:60])


def test_the_one_image_of_bioformats2raw_is_found_and_one_of_several_must_be_named(tmp_path):
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2, attributes={"bioformats2raw.layout": 3})
    write_image(tmp_path / "a.zarr/0", 2)
    assert len(open_image(tmp_path / "a.zarr")) == 2
    write_image(tmp_path / "a.zarr/1", 2)
    with pytest.raises(DataError, match=r"a\.zarr: is a Zarr group but no OME-Zarr image; .* \(it holds 0, 1\)"):
        open_image(tmp_path / "a.zarr")


# Memory


def test_a_huge_sparse_array_opens_and_is_read_with_the_memory_of_the_region(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(40_000, 30_000), dtype=np.uint8, chunks=(256, 256), fill_value=3)
    open_image(tmp_path / "a.zarr", fill_missing=True)[0].source.read(0, 1, 0, 1)  # what zarr imports at first use
    tracemalloc.start()
    source = open_image(tmp_path / "a.zarr", fill_missing=True)[0].source
    region = source.read(20_000, 20_512, 15_000, 15_512)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (region == 3).all()
    assert peak < 2 * MEBIBYTE  # of 1,100 MiB


@pytest.mark.parametrize("shape", [(50_000, 64), (64, 50_000)])
def test_a_long_image_is_read_with_the_memory_of_region_and_chunks(tmp_path, shape):
    zarr.create_array(
        tmp_path / "a.zarr", data=np.ones(shape, np.uint16), chunks=(512, 512), config={"write_empty_chunks": True}
    )
    open_image(tmp_path / "a.zarr")[0].source.read(0, 1, 0, 1)
    tracemalloc.start()
    source = open_image(tmp_path / "a.zarr")[0].source
    source.read(shape[0] // 2, shape[0] // 2 + 32, shape[1] // 2, shape[1] // 2 + 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * MEBIBYTE  # of 6 MiB


# Damage


def chunk(path, zarr_format, level=0):
    return path / f"{level}/{'c/' if zarr_format == 3 else ''}1/2/3/1"


def test_a_missing_chunk_is_refused_by_name_unless_it_is_said_to_be_empty(tmp_path, zarr_format):
    path = write_image(tmp_path / "a.zarr", zarr_format)
    file = chunk(path, zarr_format)
    file.unlink()
    key = file.relative_to(path / "0")
    message = (
        rf"a\.zarr/0: chunk {key} is missing \(1 of 72\); copy it again, or, .* but 0, predict with --fill-missing"
    )
    with pytest.raises(DataError, match=message):
        open_image(path)
    assert len(open_image(path, 1)) == 2  # the other level has all of its own
    region = open_image(path, fill_missing=True)[1].source.read(40, 61, 0, 83)
    assert not region[8:, 32:64, 2].any()
    np.testing.assert_array_equal(region[..., :2], noise(SHAPE)[1, :2, 40:].transpose(1, 2, 0))


def test_a_chunk_lost_after_opening_is_named_when_it_is_read(tmp_path, zarr_format):
    path = write_image(tmp_path / "a.zarr", zarr_format)
    source = open_image(path)[1].source
    chunk(path, zarr_format).unlink()
    source.read(0, 32, 0, 83)
    with pytest.raises(DataError, match=r"a\.zarr/0: chunk .*1/2/3/1 is missing"):
        source.read(40, 61, 30, 40)


def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path, zarr_format):
    path = write_image(tmp_path / "a.zarr", zarr_format)
    chunk(path, zarr_format).write_bytes(b"\xff" * 40)
    source = open_image(path)[1].source
    source.read(0, 32, 0, 83)
    with pytest.raises(DataError, match=r"a\.zarr/0: is damaged, a chunk cannot be decoded \(.*\); copy it again"):
        source.read(40, 61, 30, 40)


def test_a_missing_shard_is_refused(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=noise((64, 64)), chunks=(8, 8), shards=(32, 32))
    (tmp_path / "a.zarr/c/1/1").unlink()
    with pytest.raises(DataError, match=r"a\.zarr: chunk c/1/1 is missing \(1 of 4\)"):
        ZarrArray(tmp_path / "a.zarr").check()


@pytest.mark.parametrize("level", [2, -1])
def test_a_level_that_is_not_there_is_refused(tmp_path, zarr_format, level):
    path = write_image(tmp_path / "a.zarr", zarr_format)
    with pytest.raises(DataError, match=rf"a\.zarr: has levels 0 to 1; there is no level {level}"):
        open_image(path, level)


def test_an_array_has_level_0_alone(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=noise())
    with pytest.raises(DataError, match=r"a\.zarr: is one array, level 0; there is no level 1"):
        open_image(tmp_path / "a.zarr", 1)


def _edit(key, value):
    def edit(path):
        description = json.loads((path / ".zattrs").read_text())
        description["multiscales"][0][key] = value
        (path / ".zattrs").write_text(json.dumps(description))

    return edit


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / ".zattrs").write_text("{"), r"a\.zarr: cannot be read as a Zarr, is it damaged"),
        (lambda path: (path / "0/.zarray").write_text("{}"), r"a\.zarr/0: cannot be read as a Zarr, is it damaged"),
        (lambda path: shutil.rmtree(path / "0"), r"a\.zarr/0: cannot be read as a Zarr"),
        (lambda path: (path / ".zattrs").unlink(), r"a\.zarr: is a Zarr group but no OME-Zarr image"),
        (lambda path: (path / ".zattrs").write_text('{"plate": {}}'), r"a\.zarr: is a plate; expected an image"),
        (_edit("datasets", [{}]), r"a\.zarr: its OME-Zarr metadata is not valid \(KeyError\('path'\)\)"),
        (_edit("datasets", None), r"a\.zarr: its OME-Zarr metadata is not valid"),
        (_edit("axes", ["q", "c", "y", "x"]), r"a\.zarr: has axes q,c,y,x; expected y and x"),
        (_edit("axes", ["y", "x"]), r"a\.zarr: .*(names 2 axes|metadata is not valid)"),
    ],
    ids=["attributes", "array", "level", "no metadata", "plate", "path", "datasets", "axis", "axes"],
)
def test_damaged_metadata_is_one_line(tmp_path, spoil, message):
    path = write_image(tmp_path / "a.zarr", 2)
    spoil(path)
    with pytest.raises(DataError, match=message) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5), np.complex64), "holds complex64 values; expected integers or floats"),
        (np.zeros((0, 5), np.uint8), r"holds an array of shape \(0, 5\)"),
        (np.zeros(5, np.uint8), "does not say which axis is which"),
    ],
    ids=["complex", "empty", "line"],
)
def test_what_is_no_image_is_refused(tmp_path, array, message):
    zarr.create_array(
        tmp_path / "a.zarr", shape=array.shape, dtype=array.dtype, chunks=tuple(max(1, n) for n in array.shape)
    )
    with pytest.raises(DataError, match=message):
        open_image(tmp_path / "a.zarr")


def test_a_zarr_is_the_only_image_whose_reading_imports_zarr(tmp_path):
    import subprocess
    import sys

    program = "import sys, rescrnet.images.open, rescrnet.outputs.sinks; raise SystemExit('zarr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
