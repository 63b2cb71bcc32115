"""Results written block by block appear whole, in the formats that biologists open, or not at all."""

import tracemalloc

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from rescrnet.errors import OutputError, UsageError
from rescrnet.images.open import open_image, wrap
from rescrnet.outputs.sinks import ArraySink, label_paths, open_sink, pick_kind
from tests.support.folders import noise, save
from tests.support.ome_zarr import write_image
from tests.support.results import CLASSES, KINDS, SIZE, begin, classes_of, names, probabilities_of, write_blocks

pytestmark = pytest.mark.timeout(120)

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
    return open_image(path)


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
    found = open_image(out / "cell.ome.tif")
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
    stack = open_image(path, level)
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
        stack = open_image(path)
        sink = open_sink(label_paths(stack, name), stack, CLASSES, scratch, "ome-zarr")
        write_blocks(sink, classes_of((2, *SIZE)))
        sink.finish()
    attributes = dict(zarr.open_group(path / "labels", mode="r").attrs)
    assert attributes.get("ome", attributes)["labels"] == ["first", "second"]
    assert len(read_ome(path)) == 4  # image, labels, and the two


def test_labels_that_cannot_be_written_leave_the_image_as_it_was(tmp_path, scratch, monkeypatch):
    path = write_image(tmp_path / "a.zarr", 2)
    before, stack = names(path), open_image(path)
    sink = open_sink(label_paths(stack, "tissue"), stack, CLASSES, scratch, "ome-zarr")
    with monkeypatch.context() as patch:
        patch.setattr("rescrnet.outputs.sinks.write_zarr", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OutputError, match=r"labels/tissue: cannot be written \(full\)"):
            sink.finish()
    assert names(path) == before


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_list_of_labels_is_one_line_and_stays(tmp_path, scratch, content):
    path = write_image(tmp_path / "a.zarr", 2)
    stack = open_image(path)
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
    stack = open_image(write_image(tmp_path / "a.zarr", zarr_format))
    sink = begin(out, scratch, "ome-zarr", stack)
    write_blocks(sink, classes_of((2, *SIZE)))
    assert sink.finish() == [out / "cell.ome.zarr"]
    (label,) = read_ome(out / "cell.ome.zarr")
    assert [type(spec).__name__ for spec in label.specs] == ["Label", "Multiscales"]
    found = open_image(out / "cell.ome.zarr")
    assert (found.zarr_format, found.levels, found.pixel_size) == (zarr_format, 2, stack.pixel_size)
    np.testing.assert_array_equal(found[1].source.read(0, 61, 0, 83)[..., 0], classes_of((2, *SIZE))[1])


def test_an_ome_zarr_keeps_its_empty_chunks_so_that_a_lost_one_is_noticed(out, scratch):
    begin(out, scratch, "ome-zarr").finish()
    assert not open_image(out / "cell.ome.zarr")[0].source.read(0, 61, 0, 83).any()


@pytest.mark.parametrize("zarr_format", [2, 3], ids=["0.4", "0.5"])
def test_probabilities_as_ome_zarr_are_an_image_of_classes(tmp_path, out, scratch, zarr_format):
    array = noise((2, 5, *SIZE))
    stack = open_image(write_image(tmp_path / "a.zarr", zarr_format, array, "tzyx"))
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
    np.testing.assert_array_equal(open_image(path)[0].source.read(0, shape[0], 0, shape[1])[..., 0], values)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_that_of_a_few_tiles(out, scratch, monkeypatch, kind):
    monkeypatch.setattr("rescrnet.outputs.pyramid._BAND", 1 << 20)
    monkeypatch.setattr("rescrnet.outputs.png_writer._BAND", 1 << 20)
    begin(out, scratch, kind).finish()  # what is imported at first use
    (scratch / "classes.npy").unlink()
    stack = wrap(np.broadcast_to(np.uint8(0), (5000, 5000)))
    tracemalloc.start()
    sink = open_sink([out / "large"], stack, CLASSES, scratch, kind)
    sink.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20  # of 25 MB


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
