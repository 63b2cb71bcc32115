"""What a sink was given outlives its process; what cannot be written leaves nothing half done."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rescrnet.atomic import write_atomically
from rescrnet.errors import DataError, OutputError
from rescrnet.images.open import open_image, wrap
from rescrnet.outputs.sinks import open_sink, output_paths, scratch_bytes
from tests.support.folders import noise, travelled
from tests.support.results import CLASSES, KINDS, SIZE, begin, classes_of, names, probabilities_of, write_blocks

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_process_wrote_is_there_when_the_sink_is_opened_again(out, scratch, kind):
    program = f"""
import os, signal, numpy as np
from pathlib import Path
from rescrnet.images.open import wrap
from tests.support.results import SIZE, begin, classes_of
sink = begin(Path({str(out)!r}), Path({str(scratch)!r}), {kind!r})
sink.write(0, 0, classes_of()[:30])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert names(out) == []
    sink = begin(out, scratch, kind)
    sink.write(30, 0, classes_of()[30:])
    (path,) = sink.finish()
    np.testing.assert_array_equal(open_image(path)[0].source.read(0, 61, 0, 83)[..., 0], classes_of())
    assert names(scratch) == ["classes.npy"]  # until its folder goes: the process may end before it says so


@pytest.fixture
def fail_to_name(out, monkeypatch):
    """Make giving a file of ``out`` its name fail."""

    def fail_with(error):
        def failing(name):
            do = getattr(Path, name)

            def do_or_fail(self, target):
                if out in (Path(target).parent, self.parent):
                    raise error
                return do(self, target)

            return do_or_fail

        for name in ("replace", "rename", "hardlink_to"):
            monkeypatch.setattr(Path, name, failing(name))

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
    np.testing.assert_array_equal(open_image(path)[0].source.read(0, 61, 0, 83)[..., 0], classes_of())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_blocks_give_the_same_values_whatever_their_order_and_process(out, scratch, kind):
    sink = begin(out, scratch, kind)
    write_blocks(travelled(sink), classes_of(), 7, 11)
    write_blocks(travelled(sink), classes_of(), 50, 50)  # blocks may be written again
    (path,) = sink.finish()
    np.testing.assert_array_equal(open_image(path)[0].source.read(0, 61, 0, 83)[..., 0], classes_of())


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_that_exists_is_refused_and_stays(out, scratch, kind):
    sink = begin(out, scratch, kind)
    (path,) = sink.paths
    path.write_text("former")
    with pytest.raises(OutputError, match=rf"{path.name}: exists already; choose another name, or remove it first"):
        sink.finish()
    assert path.read_text() == "former"


@pytest.mark.parametrize("stack", [wrap(noise((60, 83))), wrap(noise((2, *SIZE)))], ids=["size", "planes"])
def test_the_scratch_of_another_prediction_is_refused(out, scratch, stack):
    begin(out, scratch, "tiff")
    with pytest.raises(
        OutputError, match=r"scratch: belongs to another prediction, of shape .*; expected .*; remove it"
    ):
        begin(out, scratch, "tiff", stack)


def test_a_damaged_scratch_file_is_refused(out, scratch):
    begin(out, scratch, "png")
    os.truncate(scratch / "classes.npy", 1000)
    with pytest.raises(OutputError, match=r"classes\.npy: is cut short.*; remove the scratch folder"):
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

    def measure(path, write, **how):
        write_atomically(path, write, **how)
        used.append(sum(path.stat().st_size for path in scratch.iterdir()))

    monkeypatch.setattr("rescrnet.outputs.sinks.write_atomically", measure)
    sink.finish()
    said = scratch_bytes(stack, len(CLASSES), of="probabilities" if probabilities else "classes")
    assert max(used) <= said
    if kind != "png":
        assert said < 1.01 * max(used)
