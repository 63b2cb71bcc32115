"""Arrays in, arrays out: the Python way to predict."""

import re
from pathlib import Path

import dask.array
import numpy as np
import pytest
import torch
import zarr
from PIL import Image

import rescrnet
from rescrnet.errors import DataError, OutputError, UsageError
from rescrnet.inference.resources import Sequential
from rescrnet.inference.stream import Tiling
from tests.support.pictures import model_of, picture

SHAPE = (61, 43)
SMALL = Tiling(tile=(32, 16), rows=5, strip=8, segment=16, block=8)


@pytest.fixture(scope="module")
def model():
    return model_of()


def image_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)


def as_numpy(array, folder):
    return array


def as_zarr(array, folder):
    stored = zarr.create_array(folder / "image.zarr", shape=array.shape, chunks=(16,) * array.ndim, dtype=array.dtype)
    stored[:] = array
    return stored


def as_dask(array, folder):
    return dask.array.from_array(array, chunks=16)


def empty_numpy(shape, dtype, folder):
    return np.empty(shape, dtype)


def empty_zarr(shape, dtype, folder):
    return zarr.create_array(folder / f"{dtype}.zarr", shape=shape, chunks=(16,) * len(shape), dtype=dtype)


@pytest.mark.parametrize("tiling", [None, SMALL], ids=["whole", "streamed"])
@pytest.mark.parametrize("held", [as_numpy, as_zarr, as_dask])
def test_an_array_of_any_library_is_predicted_as_the_image_that_it_holds(model, held, tiling, tmp_path):
    image = image_of(*SHAPE)
    resources = rescrnet.Resources(tiling=tiling)
    classes = rescrnet.predict_array(model, held(image, tmp_path), resources=resources)
    assert (classes.shape, classes.dtype) == (SHAPE, np.uint8)
    np.testing.assert_array_equal(classes, model.predict(image).argmax(0))


@pytest.mark.parametrize("tiling", [None, SMALL], ids=["whole", "streamed"])
@pytest.mark.parametrize("empty", [empty_numpy, empty_zarr])
def test_results_go_into_the_arrays_of_the_caller(model, empty, tiling, tmp_path):
    image = image_of(*SHAPE)
    classes, probabilities = empty(SHAPE, "uint8", tmp_path), empty((3, *SHAPE), "float32", tmp_path)
    resources = rescrnet.Resources(tiling=tiling)
    assert rescrnet.predict_array(model, image, classes, probabilities, resources=resources) is classes
    np.testing.assert_array_equal(classes[:], model.predict(image).argmax(0))
    np.testing.assert_allclose(probabilities[:], model.predict(image), atol=1e-5)


@pytest.mark.parametrize("held", [as_numpy, as_zarr, as_dask])
@pytest.mark.parametrize("empty", [empty_numpy, empty_zarr])
def test_a_stack_is_predicted_plane_by_plane(model, held, empty, tmp_path):
    image, done = image_of(2, 3, *SHAPE), []
    classes, probabilities = empty((2, 3, *SHAPE), "uint8", tmp_path), empty((2, 3, 3, *SHAPE), "float32", tmp_path)
    rescrnet.predict_array(model, held(image, tmp_path), classes, probabilities, axes="tzyx", advance=done.append)
    expected = np.array([[model.predict(plane) for plane in planes] for planes in image])
    np.testing.assert_array_equal(probabilities[:], expected)
    np.testing.assert_array_equal(classes[:], expected.argmax(2))
    assert sum(done) == image.size


@pytest.mark.parametrize(
    ("shape", "axes", "channels", "planes"),
    [
        (SHAPE, None, 1, ()),
        ((*SHAPE, 1), None, 1, ()),
        ((*SHAPE, 3), None, 3, ()),
        ((*SHAPE, 5), None, 5, ()),
        ((2, *SHAPE), None, 1, (2,)),
        ((1, *SHAPE), None, 1, (1,)),
        ((2, *SHAPE, 3), None, 3, (2,)),
        ((3, *SHAPE), "cyx", 3, ()),
        ((2, *SHAPE), "ZYX", 1, (2,)),
        ((*SHAPE, 2), "yxz", 1, (2,)),
        (SHAPE[::-1], "xy", 1, ()),
    ],
)
def test_axes_are_what_they_are_called_or_what_their_lengths_say(shape, axes, channels, planes):
    model, image = model_of(channels=channels, n=1), image_of(*shape)
    classes = rescrnet.predict_array(model, image, axes=axes)
    assert classes.shape == (*planes, *SHAPE)
    plane = {"cyx": np.moveaxis(image, 0, -1), "yxz": image[..., 0], "xy": image.T}.get(axes, image)
    plane = plane[0] if planes and axes != "yxz" else plane
    np.testing.assert_array_equal(classes[(0,) * len(planes)], model.predict(plane).argmax(0))


@pytest.mark.parametrize("planes", [(), (2,)])
@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_is_left_out(channels, planes):
    model, image = model_of(channels=channels, n=1), image_of(*planes, *SHAPE, channels + 1)
    expected = rescrnet.predict_array(model, image[..., :-1])
    np.testing.assert_array_equal(rescrnet.predict_array(model, image), expected)


class EndsError(Exception):
    pass


class Ends(Sequential):
    """Ends the process, so to speak, in the tasks of a plane."""

    def __init__(self, name):
        self.name, self.planes = name, []

    def run(self, stream, tasks):
        self.planes.append(stream.name)
        for count, task in enumerate(super().run(stream, tasks)):
            if count == 2 and self.name in stream.name:
                raise EndsError
            yield task


@pytest.mark.parametrize("persistent", [False, True])
def test_a_stopped_stack_is_resumed_where_it_stopped(model, tmp_path, persistent):
    image, classes = image_of(3, *SHAPE), np.full((3, *SHAPE), 99, np.uint8)
    resources = rescrnet.Resources(scratch=tmp_path / "s", tiling=SMALL, executor=Ends("p1"))
    with pytest.raises(EndsError):
        rescrnet.predict_array(model, image, classes, resources=resources, persistent=persistent)
    if not persistent:
        classes[:] = 99  # as a new process has them
    executor, done = Ends("none"), []
    resources = rescrnet.Resources(scratch=tmp_path / "s", tiling=SMALL, executor=executor)
    rescrnet.predict_array(model, image, classes, resources=resources, persistent=persistent, advance=done.append)
    np.testing.assert_array_equal(classes, [model.predict(plane).argmax(0) for plane in image])
    assert ("image (p0)" in executor.planes) is not persistent
    assert sum(done) == pytest.approx(image.size)
    assert not (tmp_path / "s").exists()


def test_probabilities_that_are_asked_for_later_are_of_all_planes(model, tmp_path):
    image, classes = image_of(2, *SHAPE), np.zeros((2, *SHAPE), np.uint8)
    settings = {"scratch": tmp_path / "s", "tiling": SMALL}
    resources = rescrnet.Resources(executor=Ends("p1"), **settings)
    with pytest.raises(EndsError):
        rescrnet.predict_array(model, image, classes, resources=resources, persistent=True)
    probabilities = np.zeros((2, 3, *SHAPE), np.float32)
    resources = rescrnet.Resources(**settings)
    rescrnet.predict_array(model, image, classes, probabilities, resources=resources, persistent=True)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_a_scratch_folder_that_holds_other_files_is_refused(model, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError, match="holds other files; choose an empty or new scratch folder"):
        rescrnet.predict_array(model, image_of(*SHAPE), resources=rescrnet.Resources(scratch=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def group(folder):
    return zarr.create_group(folder / "group.zarr")


@pytest.mark.parametrize(
    ("image", "error", "says"),
    [
        ("cell.png", UsageError, "image: is a path, cell.png; use rescrnet.predict_files for image files"),
        (Path("cell.png"), UsageError, "image: is a path, cell.png; use rescrnet.predict_files for image files"),
        ([[1, 2], [3, 4]], UsageError, "image: is a list; expected an array .*; write numpy.asarray.image"),
        (Image.new("L", (4, 4)), UsageError, "image: is a PIL image; expected .*; write numpy.asarray.image"),
        (torch.zeros(4, 4), UsageError, r"image: is a PyTorch tensor; expected .*; write image.cpu\(\).numpy\(\)"),
        (None, UsageError, "image: is of type NoneType; expected an array of NumPy, Zarr or Dask"),
        (group, UsageError, "image: is of type Group; expected an array of NumPy, Zarr or Dask"),
        (np.array([[None]]), DataError, "image: holds object values; expected integers or floats; write image.astype"),
        (np.zeros((4, 4), complex), DataError, "image: holds complex128 values; expected integers or floats"),
        (np.zeros(9), DataError, r"image: holds an array of shape \(9,\) and does not say .*; say so, as axes='tzyx'"),
        (np.zeros((2, 2, 9, 9)), DataError, r"shape \(2, 2, 9, 9\) and does not say which axis .* as axes='tzyx'"),
        (np.zeros((0, 9)), DataError, r"image: holds an array of shape \(0, 9\); expected an image with at least one"),
        (np.zeros((9, 9, 3)) + np.arange(3), DataError, "image: has 3 channels, expected 1; convert the image"),
    ],
    ids=lambda value: getattr(type(value), "__name__", None),
)
def test_what_is_no_image_is_one_line_that_says_what_to_write(model, image, error, says, tmp_path):
    image = image(tmp_path) if image is group else image
    with pytest.raises(error, match=says) as caught:
        rescrnet.predict_array(model, image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("axes", "error", "says"),
    [
        ("zyx", DataError, r"image: has shape \(9, 8\); expected one axis for each of z,y,x"),
        ("yq", DataError, "image: has axes y,q; expected y and x"),
        (("y", "x"), UsageError, r"axes: are \('y', 'x'\); expected one letter an axis, such as 'zyx' or 'yxc'"),
    ],
)
def test_axes_that_do_not_fit_are_refused(model, axes, error, says):
    with pytest.raises(error, match=says):
        rescrnet.predict_array(model, np.zeros((9, 8)), axes=axes)


def read_only(shape, dtype):
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


WRITE = r"expected an array to write into; write {}=numpy.zeros\({}, '{}'\), or such a Zarr array"
FOR_CLASSES = WRITE.format("classes", r"\(9, 8\)", "uint8")
FOR_PROBABILITIES = WRITE.format("probabilities", r"\(3, 9, 8\)", "float32")


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"classes": np.zeros((8, 9), np.uint8)}, rf"classes: has shape \(8, 9\) of uint8; {FOR_CLASSES}"),
        ({"classes": np.zeros((9, 8))}, rf"classes: has shape \(9, 8\) of float64; {FOR_CLASSES}"),
        ({"classes": "out.zarr"}, f"classes: is a path; {FOR_CLASSES}"),
        ({"classes": [[0]]}, f"classes: is a list; {FOR_CLASSES}"),
        ({"classes": torch.zeros(9, 8)}, f"classes: is a PyTorch tensor; {FOR_CLASSES}"),
        ({"classes": dask.array.zeros((9, 8), dtype=np.uint8)}, f"classes: is a Dask array, into .*; {FOR_CLASSES}"),
        ({"classes": read_only((9, 8), np.uint8)}, f"classes: is read-only; {FOR_CLASSES}"),
        (
            {"probabilities": np.zeros((9, 8, 3), np.float32)},
            rf"probabilities: has shape \(9, 8, 3\) of float32; {FOR_PROBABILITIES}",
        ),
        (
            {"probabilities": np.zeros((3, 9, 8), np.float16)},
            rf"probabilities: has shape \(3, 9, 8\) of float16; {FOR_PROBABILITIES}",
        ),
    ],
    ids=["shape", "type", "path", "list", "tensor", "Dask", "read-only", "order of axes", "half precision"],
)
def test_an_array_that_cannot_take_the_result_is_refused_before_anything_is_computed(model, outputs, says):
    with pytest.raises(UsageError, match=says) as caught:
        rescrnet.predict_array(model, np.zeros((9, 8)), **outputs)
    assert "\n" not in str(caught.value)


def test_what_an_error_says_to_write_can_be_written(model):
    image = np.random.default_rng(0).random((9, 8))
    with pytest.raises(UsageError) as caught:
        rescrnet.predict_array(model, image, [])
    shape, dtype = re.search(r"numpy\.zeros\((\(.*?\)), '(\w+)'\)", str(caught.value)).groups()
    classes = np.zeros(tuple(map(int, re.findall(r"\d+", shape))), dtype)
    assert rescrnet.predict_array(model, image, classes) is classes


def test_a_zarr_that_is_open_for_reading_only_takes_nothing(model, tmp_path):
    empty_zarr((9, 8), "uint8", tmp_path)
    with pytest.raises(UsageError, match="classes: is read-only"):
        rescrnet.predict_array(model, np.zeros((9, 8)), zarr.open_array(tmp_path / "uint8.zarr", mode="r"))


def test_workers_in_other_processes_are_refused_for_what_they_write_would_be_lost(model):
    class Elsewhere(Sequential):
        remote = True

    with pytest.raises(UsageError, match="resources: have an executor whose workers cannot write into an array"):
        rescrnet.predict_array(model, picture(*SHAPE), resources=rescrnet.Resources(executor=Elsewhere()))
