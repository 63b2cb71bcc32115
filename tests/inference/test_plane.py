"""Prediction of a plane within a memory, through a scratch folder."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rescrnet.errors import DataError, OutputError, UsageError
from rescrnet.inference.journal import MANIFEST, Journal
from rescrnet.inference.plane import predict_plane
from rescrnet.inference.resources import Resources, Sequential
from rescrnet.inference.stream import Tiling
from rescrnet.ops import buffers
from tests.support.pictures import Canvas, Picture, model_of, picture

SMALL = Tiling(tile=(32, 16), rows=5, strip=8, segment=16, block=8)
SHAPE = (61, 43)


class InterruptedRunError(Exception):
    pass


class StopsAfter(Sequential):
    """Ends the process, so to speak, after some tasks, in the middle of the next."""

    def __init__(self, count):
        self.count, self.ran = count, []

    def run(self, stream, tasks):
        for task in super().run(stream, tasks):
            self.ran.append(task)
            if len(self.ran) == self.count:
                raise InterruptedRunError
            yield task


@pytest.fixture
def model():
    return model_of(m=2)


def predicted(model, image, tiling=None, **resources):
    mask, probabilities = Canvas(*image.shape[:2]), Canvas(*image.shape[:2], 3)
    predict_plane(model, Picture(image), mask, probabilities, resources=Resources(tiling=tiling, **resources))
    return mask.array, probabilities.array


@pytest.mark.parametrize("count", [1, 7, 20, 60, 100])
def test_a_stopped_prediction_goes_on_without_doing_anything_again_and_ends_the_same(model, tmp_path, count):
    image = picture(*SHAPE)
    expected = predicted(model, image, SMALL)
    mask, probabilities = Canvas(*SHAPE), Canvas(*SHAPE, 3)
    ran = []
    for stop in (count, 10**6):
        executor = StopsAfter(stop)
        resources = Resources(scratch=tmp_path / "s", executor=executor, tiling=SMALL)
        try:
            predict_plane(model, Picture(image), mask, probabilities, resources=resources)
        except InterruptedRunError:
            assert (tmp_path / "s").is_dir()
        ran += executor.ran
    assert len(ran) == len(set(ran)) > 100
    np.testing.assert_array_equal(mask.array, expected[0])
    np.testing.assert_array_equal(probabilities.array, expected[1])
    assert not (tmp_path / "s").exists()


def test_a_task_that_was_stopped_in_the_middle_is_done_again_over_what_it_left(model, tmp_path, monkeypatch):
    image = picture(*SHAPE)
    expected = predicted(model, image, SMALL)
    record, calls = Journal.record, []

    def stop_before_some_records(journal, *step):
        calls.append(step[0])
        if len(calls) % 23 == 0:
            raise InterruptedRunError
        record(journal, *step)

    monkeypatch.setattr(Journal, "record", stop_before_some_records)
    mask, probabilities = Canvas(*SHAPE), Canvas(*SHAPE, 3)
    for _ in range(10):
        try:
            resources = Resources(scratch=tmp_path / "s", tiling=SMALL)
            predict_plane(model, Picture(image), mask, probabilities, resources=resources)
            break
        except InterruptedRunError:
            continue
    assert len(calls) > 100
    np.testing.assert_array_equal(mask.array, expected[0])
    np.testing.assert_array_equal(probabilities.array, expected[1])


def stopped(model, image, folder, count, **settings):
    with pytest.raises(InterruptedRunError):
        predicted(model, image, SMALL, scratch=folder, executor=StopsAfter(count), **settings)


OTHER = Tiling(tile=(64, 64), rows=9, strip=4, segment=32, block=8)


def test_a_prediction_is_resumed_with_the_tiling_it_was_started_with(model, tmp_path):
    image = picture(*SHAPE)
    stopped(model, image, tmp_path / "s", 9)
    found = predicted(model, image, OTHER, scratch=tmp_path / "s")
    np.testing.assert_array_equal(found[1], predicted(model, image, SMALL)[1])


class RecordsTiling(StopsAfter):
    def run(self, stream, tasks):
        self.tiling = stream.tiling
        yield from super().run(stream, tasks)


@pytest.mark.parametrize(("share", "tiling"), [(0.9, SMALL), (0.5, OTHER)])
def test_with_much_less_memory_than_it_was_started_with_a_prediction_starts_anew(model, tmp_path, share, tiling):
    image = picture(*SHAPE)
    stopped(model, image, tmp_path, 9, memory=10**9)
    executor = RecordsTiling(10**6)
    found = predicted(model, image, OTHER, scratch=tmp_path, executor=executor, memory=int(share * 10**9))
    assert executor.tiling == tiling
    np.testing.assert_array_equal(found[1], predicted(model, image, tiling)[1])


def test_an_array_that_did_not_outlive_the_stop_is_filled(model, tmp_path, monkeypatch):
    image = picture(*SHAPE)
    expected = predicted(model, image, SMALL)
    monkeypatch.setattr(Canvas, "persistent", False)
    everything = StopsAfter(10**6)
    predicted(model, image, SMALL, executor=everything)
    stopped(model, image, tmp_path / "s", len(everything.ran) - 2)
    again = StopsAfter(10**6)
    found = predicted(model, image, SMALL, scratch=tmp_path / "s", executor=again)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert len(again.ran) < len(everything.ran) / 4  # the last scan alone


def test_the_scratch_of_another_image_of_that_shape_starts_anew(model, tmp_path):
    stopped(model, picture(*SHAPE, seed=1), tmp_path / "s", 50)
    image = picture(*SHAPE)
    found = predicted(model, image, SMALL, scratch=tmp_path / "s")
    np.testing.assert_array_equal(found[1], predicted(model, image, SMALL)[1])


@pytest.mark.parametrize("count", range(12))
def test_a_prediction_that_ends_while_its_scratch_folder_is_removed_is_done_again(model, tmp_path, monkeypatch, count):
    """In any order: folders are listed as the file system likes."""
    image = picture(*SHAPE)
    expected = predicted(model, image, SMALL)
    mask, probabilities = Canvas(*SHAPE), Canvas(*SHAPE, 3)

    def predict():
        resources = Resources(scratch=tmp_path / "s", tiling=SMALL)
        predict_plane(model, Picture(image), mask, probabilities, resources=resources)

    removed, rng = [], np.random.default_rng(count)
    with monkeypatch.context() as patch:
        listed, unlink, rmtree = Path.iterdir, Path.unlink, shutil.rmtree

        def end_after_some(remove):
            def removing(path, *arguments, **settings):
                if path.is_relative_to(tmp_path / "s") and path.exists():
                    removed.append(path)
                    if len(removed) > count:
                        raise KeyboardInterrupt
                remove(path, *arguments, **settings)

            return removing

        patch.setattr(Path, "iterdir", lambda path: iter(rng.permutation(np.array(list(listed(path)), object))))
        patch.setattr(Path, "unlink", end_after_some(unlink))
        patch.setattr(shutil, "rmtree", end_after_some(rmtree))
        with contextlib.suppress(KeyboardInterrupt):
            predict()
    assert len(removed) == count + 1 or not (tmp_path / "s").exists()
    predict()
    np.testing.assert_array_equal(mask.array, expected[0])
    np.testing.assert_array_equal(probabilities.array, expected[1])
    assert not (tmp_path / "s").exists()


def test_the_scratch_of_another_model_starts_anew(model, tmp_path):
    image, other = picture(*SHAPE), model_of(m=2, n=1)
    with pytest.raises(InterruptedRunError):
        predicted(other, image, SMALL, scratch=tmp_path / "s", executor=StopsAfter(50))
    found = predicted(model, image, SMALL, scratch=tmp_path / "s")
    np.testing.assert_array_equal(found[1], predicted(model, image, SMALL)[1])


def test_a_scratch_folder_that_holds_other_files_is_refused_and_stays_as_it_is(model, tmp_path):
    (tmp_path / "job.json").write_text("mine")
    with pytest.raises(OutputError, match="holds other files; choose an empty or new scratch folder"):
        predicted(model, picture(*SHAPE), SMALL, scratch=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_a_scratch_folder_below_a_file_is_refused(model, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file/s: cannot be used as scratch folder \(Not a directory\)"):
        predicted(model, picture(*SHAPE), SMALL, scratch=tmp_path / "file/s")


def test_without_a_scratch_folder_nothing_is_left(model, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    predicted(model, picture(*SHAPE), SMALL)
    assert list(tmp_path.iterdir()) == []


def test_the_need_for_scratch_space_is_known_beforehand(model, tmp_path, mount):
    disk = mount("size=100k")
    with pytest.raises(OutputError, match=r"111KB of scratch space are needed for image and \d+KB are free; make room"):
        predicted(model, picture(*SHAPE), SMALL, scratch=disk / "s")


def test_a_disk_that_fills_up_is_one_line_and_the_prediction_goes_on_when_there_is_room(model, tmp_path, mount):
    disk = mount("size=4m")

    class Fills(Sequential):
        def run(self, stream, tasks):
            for task in super().run(stream, tasks):
                if task.phase == "0-rows-1":
                    with pytest.raises(OSError), (disk / "other").open("wb") as file:
                        file.write(bytes(10**7))
                yield task

    image, mask, probabilities = picture(*SHAPE), Canvas(*SHAPE), Canvas(*SHAPE, 3)
    arguments = (model, Picture(image), mask, probabilities)
    with pytest.raises(OutputError, match=r"s: the disk is full; make room there and repeat the command, it goes on"):
        predict_plane(*arguments, resources=Resources(scratch=disk / "s", executor=Fills(), tiling=SMALL))
    (disk / "other").unlink()
    predict_plane(*arguments, resources=Resources(scratch=disk / "s"))
    np.testing.assert_array_equal(probabilities.array, predicted(model, image, SMALL)[1])


def test_an_image_that_fits_is_predicted_whole(model):
    image = picture(*SHAPE)
    mask, probabilities = predicted(model, image)
    np.testing.assert_array_equal(np.moveaxis(probabilities, -1, 0), model.predict(image))
    np.testing.assert_array_equal(mask, model.predict(image).argmax(0))


@pytest.mark.parametrize("tiling", [None, SMALL], ids=["whole", "streamed"])
def test_results_are_of_the_types_that_writers_expect_and_all_pixels_are_counted(model, tiling):
    mask, probabilities, done = Canvas(*SHAPE), Canvas(*SHAPE, 3), []
    resources = Resources(tiling=tiling)
    predict_plane(model, Picture(picture(*SHAPE)), mask, probabilities, resources=resources, advance=done.append)
    assert (mask.dtypes, probabilities.dtypes) == ({np.dtype("uint8")}, {np.dtype("float32")})
    assert sum(done) == pytest.approx(SHAPE[0] * SHAPE[1])


def test_what_a_streamed_prediction_computed_in_is_given_back_before_its_file_is_made(model):
    for tiling in (None, SMALL):
        buffers.empty(1 << 20)  # leaves one that is idle
        predicted(model, picture(*SHAPE), tiling)
        assert bool(buffers._idle) == (tiling is None)


def test_hardly_more_is_read_than_the_image(model):
    source = Picture(picture(200, 60))
    predict_plane(model, source, Canvas(200, 60), resources=Resources(tiling=Tiling((200, 60), 16, 8, 16, 8)))
    assert source.pixels_read == 200 * 60


@pytest.mark.parametrize("tiling", [None, SMALL], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("image", "says"),
    [
        (picture(*SHAPE, 3), "image: has 3 channels, expected 1; convert the image"),
        (np.where(np.arange(43)[:, None] == 40, np.nan, np.ones((*SHAPE, 1), np.float32)), "holds NaN or infinite"),
    ],
    ids=["channels", "NaN"],
)
def test_an_image_that_does_not_fit_the_model_is_refused(model, image, says, tiling):
    with pytest.raises(DataError, match=says):
        predicted(model, image, tiling)


@pytest.mark.parametrize("tiling", [None, SMALL], ids=["whole", "streamed"])
def test_grey_in_three_channels_is_grey(model, tiling):
    image = picture(*SHAPE)
    found = predicted(model, image.repeat(3, axis=-1), tiling)
    np.testing.assert_allclose(np.moveaxis(found[1], -1, 0), model.predict(image), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "unet"}, "network 'unet': sees the whole image at once and cannot be streamed"),
        ({"resize": (4000, 4000)}, "the model resizes every image to 4000×4000 and cannot be streamed"),
    ],
    ids=["unet", "resize"],
)
def test_a_model_that_needs_the_whole_image_says_so_where_that_does_not_fit(settings, says):
    image, model = Picture(np.empty((9000, 9000, 1), np.uint8)), model_of(**settings)
    with pytest.raises(
        UsageError, match=rf"image: 9000×9000 pixels at once need about .*GB of memory and 1GB are allowed; {says}"
    ):
        predict_plane(model, image, None, resources=Resources(memory=10**9))


@pytest.mark.parametrize("manifest", ["", "{", '{"facts": {"format": 2}}'], ids=["empty", "half", "older version"])
def test_a_scratch_folder_of_which_nobody_can_be_sure_starts_anew(model, tmp_path, manifest):
    image = picture(*SHAPE)
    stopped(model, image, tmp_path / "s", 50)
    (tmp_path / "s" / MANIFEST).write_text(manifest)
    everything = StopsAfter(10**6)
    found = predicted(model, image, SMALL, scratch=tmp_path / "s", executor=everything)
    np.testing.assert_array_equal(found[1], predicted(model, image, SMALL)[1])
    assert len(everything.ran) > 100


def test_a_scratch_folder_says_what_it_is_of(model, tmp_path):
    stopped(model, picture(*SHAPE), tmp_path, 1)
    text = (tmp_path / MANIFEST).read_text()
    assert all(word in text for word in ('"image"', str(SHAPE[0]), str(SHAPE[1])))
