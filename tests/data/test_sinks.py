"""Results written block by block appear whole, in the formats that biologists open, or not at all."""

import errno
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from rescrnet.data.masks import ClassEntry
from rescrnet.data.sinks import ArraySink, label_paths, open_sink, output_paths, pick_kind, scratch_bytes
from rescrnet.data.sources import open_source, wrap
from rescrnet.errors import DataError, OutputError, UsageError
from tests.data.test_zarr_reader import write_image
from tests.folders import noise, save, travelled

CLASSES = [ClassEntry(name="background"), ClassEntry(name="Zelle µ", display="#ff0000"), ClassEntry(name="fibre")]
pytestmark = pytest.mark.timeout(60)
KINDS = ["png", "tiff", "ome-zarr"]
SIZE = (61, 83)


def classes_of(shape=SIZE):
    return noise(shape) % 3


def probabilities_of(shape=SIZE):
    """(…, Y, X, classes) that sum to one."""
    values = noise((*shape, 3)).astype(np.float32) + 1
    return values / values.sum(-1, keepdims=True)


def write_blocks(sink, values, height=20, width=33):
    """Write a plane, or several, in blocks of no particular order."""
    planes = values if values.ndim == (4 if values.dtype.kind == "f" else 3) else values[None]
    rows, columns = planes.shape[1:3]
    places = [(p, y, x) for p in range(len(planes)) for y in range(0, rows, height) for x in range(0, columns, width)]
    for p, y, x in np.random.default_rng(0).permutation(places).tolist():
        sink.write(y, x, planes[p, y : y + height, x : x + width], p)


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def begin(out, scratch, kind, stack=None, probabilities=False):
    stack = stack or wrap(noise(SIZE))
    paths = output_paths(out, "cell", stack, kind, probabilities=probabilities)
    return open_sink(paths, stack, CLASSES, scratch, kind, probabilities=probabilities)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# What is written


def test_classes_as_png_are_indices(out, scratch):
    sink = begin(out, scratch, "png")
    write_blocks(sink, classes_of())
    assert sink.finish() == [out / "cell.png"]
    with Image.open(out / "cell.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), classes_of())


def test_a_stack_as_png_is_one_file_a_plane(out, scratch):
    sink = begin(out, scratch, "png", wrap(noise((2, *SIZE)), "zyx"))
    write_blocks(sink, classes_of((2, *SIZE)))
    assert sink.finish() == [out / "cell_z0.png", out / "cell_z1.png"]
    with Image.open(out / "cell_z1.png") as image:
        np.testing.assert_array_equal(np.asarray(image), classes_of((2, *SIZE))[1])


@pytest.fixture
def ome_tiff(tmp_path):
    """A z-stack of 0.25 µm pixels, 2 µm apart."""
    size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}
    path = save(
        tmp_path / "in/a.ome.tif", noise((2, 700, 1200)), photometric="minisblack", metadata={"axes": "ZYX"} | size
    )
    return open_source(path)


def test_classes_as_ome_tiff_keep_pixel_size_names_colours_and_have_a_pyramid(out, scratch, ome_tiff):
    wanted = classes_of((2, 700, 1200))
    sink = begin(out, scratch, "tiff", ome_tiff)
    write_blocks(sink, wanted, 300, 500)
    assert sink.finish() == [out / "cell.ome.tif"]
    with tifffile.TiffFile(out / "cell.ome.tif") as file:
        (series,) = file.series
        assert (series.kind, series.axes, len(series.levels)) == ("ome", "ZYX", 3)
        for number, level in enumerate(series.levels):
            np.testing.assert_array_equal(level.asarray(), wanted[:, :: 2**number, :: 2**number])
            assert level.keyframe.is_tiled
            assert level.keyframe.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
            assert level.keyframe.get_resolution("CENTIMETER") == pytest.approx((4e4 / 2**number, 2e4 / 2**number))
        (pixels,) = (tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"],)
        assert [pixels[f"PhysicalSize{axis}"] for axis in "XYZ"] == [0.25, 0.5, 2]
        annotation = tifffile.xml2dict(file.ome_metadata)["OME"]["StructuredAnnotations"]["MapAnnotation"]
        assert [m["value"] for m in annotation["Value"]["M"]] == ["background", "Zelle µ", "fibre"]
        assert file.pages[0].colormap[:, 1].tolist() == [65535, 0, 0]
    found = open_source(out / "cell.ome.tif")
    assert found.pixel_size == (0.5, 0.25)
    assert [(axis.name, axis.scale) for axis in found.plane_axes] == [("z", 2)]


def test_probabilities_as_ome_tiff_are_channels_with_names(out, scratch, ome_tiff):
    wanted = probabilities_of((2, 700, 1200))
    sink = begin(out, scratch, "tiff", ome_tiff, probabilities=True)
    write_blocks(sink, wanted, 300, 500)
    assert sink.finish() == [out / "cell_probabilities.ome.tif"]
    with tifffile.TiffFile(out / "cell_probabilities.ome.tif") as file:
        (series,) = file.series
        assert (series.axes, series.dtype, len(series.levels)) == ("ZCYX", np.float32, 3)
        np.testing.assert_array_equal(series.asarray(), wanted.transpose(0, 3, 1, 2))
        mean = wanted.reshape(2, 350, 2, 600, 2, 3).mean((2, 4)).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(series.levels[1].asarray(), mean, rtol=1e-6)
        channels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
        assert [channel["Name"] for channel in channels] == ["background", "Zelle µ", "fibre"]


def test_probabilities_beside_a_png_are_a_tiff_of_classes_rows_and_columns(out, scratch):
    sink = begin(out, scratch, "png", probabilities=True)
    write_blocks(sink, probabilities_of())
    assert sink.finish() == [out / "cell_probabilities.tif"]
    with tifffile.TiffFile(out / "cell_probabilities.tif") as file:
        assert file.series[0].axes == "CYX"
        np.testing.assert_array_equal(file.asarray(), probabilities_of().transpose(2, 0, 1))


def read_ome(path):
    """The nodes that ome-zarr finds in a folder, image first: what napari shows."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    return list(Reader(parse_url(path))())


@pytest.mark.parametrize("zarr_format", [2, 3], ids=["0.4", "0.5"])
@pytest.mark.parametrize("level", [0, 1])
def test_labels_in_place_are_found_over_the_image_with_its_axes_steps_and_levels(tmp_path, scratch, zarr_format, level):
    path = write_image(tmp_path / "a.zarr", zarr_format, levels=3)
    stack = open_source(path, level)
    wanted = classes_of((2, *stack.size))
    sink = open_sink(label_paths(stack, "tissue"), stack, CLASSES, scratch, "ome-zarr")
    write_blocks(sink, wanted)
    assert sink.finish() == [path / "labels/tissue"]

    image, *_, label = read_ome(path)
    assert [type(spec).__name__ for spec in label.specs] == ["Label", "Multiscales"]
    assert len(label.data) == len(image.data) == 3  # the format demands as many levels
    assert [axis["name"] for axis in label.metadata["axes"]] == ["t", "y", "x"]
    for number, data in enumerate(label.data):
        np.testing.assert_array_equal(np.asarray(data), wanted[:, :: 2**number, :: 2**number])
        (scale, translation) = label.metadata["coordinateTransformations"][number]
        in_image = image.metadata["coordinateTransformations"][level]
        assert scale["scale"][1:] == [step * 2**number for step in in_image[0]["scale"][2:]]
        assert translation["translation"][1:] == in_image[1]["translation"][2:]
    assert label.metadata["properties"] == {i: {"class": entry.name} for i, entry in enumerate(CLASSES)}
    assert label.metadata["color"][0][3] == 0  # the background does not hide the image
    assert label.metadata["color"][1] == [1, 0, 0, 1]


@pytest.mark.parametrize("zarr_format", [2, 3], ids=["0.4", "0.5"])
def test_labels_of_others_stay_listed(tmp_path, scratch, zarr_format):
    path = write_image(tmp_path / "a.zarr", zarr_format, levels=1)
    for name in ("first", "second"):
        stack = open_source(path)
        sink = open_sink(label_paths(stack, name), stack, CLASSES, scratch, "ome-zarr")
        write_blocks(sink, classes_of((2, *SIZE)))
        sink.finish()
    attributes = dict(zarr.open_group(path / "labels", mode="r").attrs)
    assert attributes.get("ome", attributes)["labels"] == ["first", "second"]
    assert len(read_ome(path)) == 4  # image, labels, and the two


def test_labels_that_cannot_be_written_leave_the_image_as_it_was(tmp_path, scratch, monkeypatch):
    path = write_image(tmp_path / "a.zarr", 2)
    before, stack = names(path), open_source(path)
    sink = open_sink(label_paths(stack, "tissue"), stack, CLASSES, scratch, "ome-zarr")
    with monkeypatch.context() as patch:
        patch.setattr("rescrnet.data.sinks.write_zarr", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OutputError, match=r"labels/tissue: cannot be written \(full\)"):
            sink.finish()
    assert names(path) == before


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_list_of_labels_is_one_line_and_stays(tmp_path, scratch, content):
    path = write_image(tmp_path / "a.zarr", 2)
    stack = open_source(path)
    (path / "labels").mkdir()
    (path / "labels/.zattrs").write_text(content)
    sink = open_sink(label_paths(stack, "tissue"), stack, CLASSES, scratch, "ome-zarr")
    with pytest.raises(OutputError, match=r"labels/\.zattrs: is no JSON object, is it damaged\?"):
        sink.finish()
    assert (path / "labels/.zattrs").read_text() == content
    assert not (path / "labels/tissue").exists()


def test_labels_in_place_need_an_ome_zarr():
    with pytest.raises(
        OutputError, match="image: is no OME-Zarr image; labels can lie only in one; choose a new folder"
    ):
        label_paths(wrap(noise()), "tissue")


@pytest.mark.parametrize("zarr_format", [2, 3], ids=["0.4", "0.5"])
def test_an_ome_zarr_of_its_own_is_labels_too_and_of_the_version_of_the_image(tmp_path, out, scratch, zarr_format):
    stack = open_source(write_image(tmp_path / "a.zarr", zarr_format))
    sink = begin(out, scratch, "ome-zarr", stack)
    write_blocks(sink, classes_of((2, *SIZE)))
    assert sink.finish() == [out / "cell.ome.zarr"]
    (label,) = read_ome(out / "cell.ome.zarr")
    assert [type(spec).__name__ for spec in label.specs] == ["Label", "Multiscales"]
    found = open_source(out / "cell.ome.zarr")
    assert (found.zarr_format, found.levels, found.pixel_size) == (zarr_format, 2, stack.pixel_size)
    np.testing.assert_array_equal(found[1].source.read(0, 61, 0, 83)[..., 0], classes_of((2, *SIZE))[1])


def test_an_ome_zarr_keeps_its_empty_chunks_so_that_a_lost_one_is_noticed(out, scratch):
    begin(out, scratch, "ome-zarr").finish()
    assert not open_source(out / "cell.ome.zarr")[0].source.read(0, 61, 0, 83).any()


@pytest.mark.parametrize("zarr_format", [2, 3], ids=["0.4", "0.5"])
def test_probabilities_as_ome_zarr_are_an_image_of_classes(tmp_path, out, scratch, zarr_format):
    array = noise((2, 5, *SIZE))
    stack = open_source(write_image(tmp_path / "a.zarr", zarr_format, array, "tzyx"))
    wanted = probabilities_of((10, *SIZE))
    sink = begin(out, scratch, "ome-zarr", stack, probabilities=True)
    write_blocks(sink, wanted)
    assert sink.finish() == [out / "cell_probabilities.ome.zarr"]
    (image,) = read_ome(out / "cell_probabilities.ome.zarr")
    assert [type(spec).__name__ for spec in image.specs] == ["Multiscales", "OMERO"]
    assert [axis["name"] for axis in image.metadata["axes"]] == ["t", "c", "z", "y", "x"]
    expected = wanted.reshape(2, 5, *SIZE, 3).transpose(0, 4, 1, 2, 3)
    np.testing.assert_array_equal(np.asarray(image.data[0]), expected)
    fine, coarse = (steps[1]["translation"][-1] for steps in image.metadata["coordinateTransformations"])
    assert (fine, coarse) == (10, 10 + 0.25 / 2)  # the mean of two pixels lies between them
    assert image.metadata["channel_names"] == [entry.name for entry in CLASSES]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (50_000, 64), (64, 50_000)])
def test_thin_and_small_images_are_written(out, scratch, kind, shape):
    values = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 3
    stack = wrap(np.broadcast_to(np.uint8(0), shape))
    sink = begin(out, scratch, kind, stack)
    write_blocks(sink, values.astype(np.uint8), 5000, 5000)
    (path,) = sink.finish()
    np.testing.assert_array_equal(open_source(path)[0].source.read(0, shape[0], 0, shape[1])[..., 0], values)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_that_of_a_few_tiles(out, scratch, monkeypatch, kind):
    monkeypatch.setattr("rescrnet.data.pyramid._BAND", 1 << 20)
    monkeypatch.setattr("rescrnet.data.png_writer._BAND", 1 << 20)
    begin(out, scratch, kind).finish()  # what is imported at first use
    stack = wrap(np.broadcast_to(np.uint8(0), (8000, 8000)))
    tracemalloc.start()
    sink = open_sink([out / "large"], stack, CLASSES, scratch, kind)
    sink.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20  # of 64 MB


@pytest.mark.parametrize(
    ("array", "probabilities"),
    [
        (np.zeros(SIZE, np.uint8), False),
        (np.zeros((2, *SIZE), np.uint8), False),
        (np.zeros((3, *SIZE), np.float32), True),
        (np.zeros((2, 3, *SIZE), np.float32), True),
    ],
)
def test_an_array_of_the_callers_takes_blocks_too(array, probabilities):
    stacked = array.ndim == 4 - (not probabilities)
    values = (probabilities_of if probabilities else classes_of)((2, *SIZE) if stacked else SIZE)
    sink = ArraySink(array)
    write_blocks(sink, values)
    np.testing.assert_array_equal(array, np.moveaxis(values, -1, -3) if probabilities else values)
    assert sink.finish() == []


def test_a_zarr_of_the_callers_takes_blocks_too(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=SIZE, dtype=np.uint8, chunks=(16, 16))
    write_blocks(ArraySink(array), classes_of())
    np.testing.assert_array_equal(array[:], classes_of())


# Resuming, failing


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_process_wrote_is_there_when_the_sink_is_opened_again(out, scratch, kind):
    program = f"""
import os, signal, numpy as np
from pathlib import Path
from rescrnet.data.sources import wrap
from tests.data.test_sinks import SIZE, begin, classes_of
sink = begin(Path({str(out)!r}), Path({str(scratch)!r}), {kind!r})
sink.write(0, 0, classes_of()[:30])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert names(out) == []
    sink = begin(out, scratch, kind)
    sink.write(30, 0, classes_of()[30:])
    (path,) = sink.finish()
    np.testing.assert_array_equal(open_source(path)[0].source.read(0, 61, 0, 83)[..., 0], classes_of())
    assert names(scratch) == []


@pytest.fixture
def fail_to_name(out, monkeypatch):
    """Make giving a file of ``out`` its name fail."""
    replace = Path.replace

    def fail_with(error):
        def replace_or_fail(self, target):
            if Path(target).parent == out:
                raise error
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", replace_or_fail)

    return fail_with


@pytest.mark.parametrize("kind", KINDS)
def test_a_finish_that_was_cut_off_is_done_again(out, scratch, kind, fail_to_name, monkeypatch):
    sink = begin(out, scratch, kind)
    write_blocks(sink, classes_of())
    fail_to_name(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        sink.finish()
    monkeypatch.undo()
    assert names(out) == []
    (path,) = begin(out, scratch, kind).finish()
    np.testing.assert_array_equal(open_source(path)[0].source.read(0, 61, 0, 83)[..., 0], classes_of())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_blocks_give_the_same_values_whatever_their_order_and_process(out, scratch, kind):
    sink = begin(out, scratch, kind)
    write_blocks(travelled(sink), classes_of(), 7, 11)
    write_blocks(travelled(sink), classes_of(), 50, 50)  # blocks may be written again
    (path,) = sink.finish()
    np.testing.assert_array_equal(open_source(path)[0].source.read(0, 61, 0, 83)[..., 0], classes_of())


def test_an_abandoned_sink_leaves_nothing_but_the_files_of_others(out, scratch):
    (scratch / "other.npy").touch()
    sink = begin(out, scratch, "tiff")
    write_blocks(sink, classes_of())
    sink.abandon()
    assert names(out) == []
    assert names(scratch) == ["other.npy"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_exists_is_refused_and_stays(out, scratch, kind):
    sink = begin(out, scratch, kind)
    (path,) = sink.paths
    path.write_text("former")
    with pytest.raises(OutputError, match=rf"{path.name}: exists already; choose another name, or remove it first"):
        sink.finish()
    with pytest.raises(OutputError, match="exists already"):
        begin(out, scratch, kind)
    assert path.read_text() == "former"


@pytest.mark.parametrize("stack", [wrap(noise((60, 83))), wrap(noise((2, *SIZE)))], ids=["size", "planes"])
def test_the_scratch_of_another_prediction_is_refused(out, scratch, stack):
    begin(out, scratch, "tiff")
    with pytest.raises(
        OutputError, match=r"scratch: belongs to another prediction, of shape .*, expected .*; remove it"
    ):
        begin(out, scratch, "tiff", stack)


def test_a_damaged_scratch_file_is_refused(out, scratch):
    begin(out, scratch, "png")
    os.truncate(scratch / "classes.npy", 1000)
    with pytest.raises(OutputError, match=r"classes\.npy: is cut short.*; or remove the scratch folder"):
        begin(out, scratch, "png")


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fails_at_the_end_leaves_no_file_and_keeps_what_was_written(
    out, scratch, kind, fail_to_name, monkeypatch
):
    sink = begin(out, scratch, kind)
    write_blocks(sink, classes_of())
    fail_to_name(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
        sink.finish()
    monkeypatch.undo()
    assert names(out) == []
    assert names(scratch) == ["classes.npy"]
    sink.finish()


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_output_disk_is_one_line_and_leaves_no_file(mount, scratch, kind):
    disk = mount("size=100k")
    stack = wrap(np.broadcast_to(np.uint8(0), (1000, 1000)))
    sink = open_sink(output_paths(disk, "cell", stack, kind), stack, CLASSES, scratch, kind)
    sink.write(0, 0, noise((1000, 1000)))
    with pytest.raises(OutputError, match=r"cell\..*: cannot be written \(No space left on device\)"):
        sink.finish()
    assert names(disk) == []


def test_a_full_scratch_disk_is_one_line(mount, out):
    disk = mount("size=100k")
    stack = wrap(np.broadcast_to(np.uint8(0), (1000, 1000)))
    sink = open_sink([out / "cell.png"], stack, CLASSES, disk, "png")
    with pytest.raises(OutputError, match=r"disk: cannot be written \(No space left on device\); free space there"):
        sink.write(0, 0, noise((1000, 1000)))


def test_a_block_of_another_type_is_a_mistake_of_the_caller(out, scratch):
    with pytest.raises(ValueError, match="block of int64, expected uint8"):
        begin(out, scratch, "png").write(0, 0, np.zeros((2, 2), np.int64))


def test_pages_besides_z_and_t_are_refused_before_anything_is_written(out, scratch):
    with pytest.raises(DataError, match="has pages besides z and t, which OME cannot hold"):
        begin(out, scratch, "tiff", wrap(noise((2, 2, 2, *SIZE)), "ptzyx"))
    assert names(scratch) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("probabilities", [False, True])
def test_scratch_space_is_no_more_than_was_said(out, scratch, kind, probabilities, monkeypatch):
    stack = wrap(noise((2, 700, 1200)), "zyx")
    sink = begin(out, scratch, kind, stack, probabilities)
    write_blocks(sink, (probabilities_of if probabilities else classes_of)((2, 700, 1200)), 300, 500)
    used = []
    remove = type(sink)._remove

    def measure(self, pattern):
        used.append(sum(path.stat().st_size for path in scratch.iterdir()))
        remove(self, pattern)

    monkeypatch.setattr(type(sink), "_remove", measure)
    sink.finish()
    said = scratch_bytes(stack, len(CLASSES), probabilities=probabilities)
    assert max(used) <= said
    if kind != "png":
        assert said < 1.01 * max(used)


# Which kind


@pytest.mark.parametrize(
    ("stack", "asked", "kind"),
    [
        (wrap(noise(SIZE)), None, "png"),
        (wrap(noise(SIZE)), "tiff", "tiff"),
        (wrap(noise((2, *SIZE)), "zyx"), None, "tiff"),
        (wrap(np.broadcast_to(np.uint8(0), (8192, 8192))), None, "png"),
        (wrap(np.broadcast_to(np.uint8(0), (8192, 8193))), None, "tiff"),
        (wrap(np.broadcast_to(np.uint8(0), (8192, 8193))), "png", "png"),
    ],
)
def test_the_kind_is_as_asked_or_as_the_image(stack, asked, kind):
    assert pick_kind(stack, asked) == kind


def test_an_unknown_kind_is_refused():
    with pytest.raises(UsageError, match="--format jpeg: is unknown; expected png, tiff, ome-zarr"):
        pick_kind(wrap(noise()), "jpeg")
