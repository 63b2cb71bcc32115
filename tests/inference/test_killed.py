"""Real processes: killed at any moment, and held to their memory."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from tests.support.pictures import model_of, picture

# Tiles so small that a small image has many tasks, in a process of its own.
PREDICT = """
import sys
from functools import partial
from rescrnet.inference import resources
from rescrnet.inference.stream import Tiling
tiling = Tiling(tile=(64, 64), rows=16, strip=16, segment=64, block=16)
resources.Resources = partial(resources.Resources, tiling=tiling)
from rescrnet.cli import main
main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    model_of(m=2).save(file)
    return file


@pytest.fixture
def image(tmp_path):
    tifffile.imwrite(tmp_path / "cell.tif", picture(300, 210)[..., 0], photometric="minisblack")
    return tmp_path / "cell.tif"


def start(model, image, out, *options):
    command = [sys.executable, "-c", PREDICT, "predict", model, image, "--out", out, "--probabilities", *options]
    return subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def end(process):
    """The code, and what was said last: on a busy machine lines of progress come before it."""
    _, err = process.communicate(timeout=300)
    lines = [line for line in err.splitlines() if "% predicted" not in line]
    return process.returncode, "\n".join(lines)


def steps_of(folder):
    """The steps of all journals of phases, with the time of each."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.glob("**/plane-*/*/*.done")}


def results(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def wait_for_more(process, folder, count):
    while process.poll() is None and len(steps_of(folder)) <= count:
        time.sleep(0.002)


def test_a_prediction_killed_again_and_again_goes_on_and_ends_with_the_same_bytes(model, image, tmp_path):
    assert end(start(model, image, tmp_path / "expected")) == (0, "")
    rng, before, kills = np.random.default_rng(0), {}, 0
    for _ in range(4):
        running = start(model, image, tmp_path / "out")
        wait_for_more(running, tmp_path / ".out.partial", len(before))
        time.sleep(rng.random() * 0.05)
        running.kill()
        if end(running)[0] == 0:
            break
        kills += 1
        after = steps_of(tmp_path / ".out.partial")
        assert before.items() <= after.items()  # what was done has not been done again
        before = after
        assert not (tmp_path / "out").exists()
    assert kills > 1
    if not (tmp_path / "out").exists():
        assert end(start(model, image, tmp_path / "out")) == (0, "")
    assert results(tmp_path / "out") == results(tmp_path / "expected")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.tif", "expected", "out"]


def stop(model, image, folder):
    running = start(model, image, folder / "out")
    wait_for_more(running, folder / ".out.partial", 0)
    running.send_signal(signal.SIGINT)
    return end(running)


def test_ctrl_c_keeps_what_is_done_and_says_that_the_command_goes_on(model, image, tmp_path):
    code, err = stop(model, image, tmp_path)
    assert (code, err) == (130, "stopped; the same command goes on")
    assert steps_of(tmp_path / ".out.partial")


def test_an_image_that_has_changed_starts_anew(model, image, tmp_path):
    stop(model, image, tmp_path)
    tifffile.imwrite(image, picture(300, 210, seed=1)[..., 0], photometric="minisblack")
    for out in ("out", "expected"):
        assert end(start(model, image, tmp_path / out)) == (0, "")
    assert results(tmp_path / "out") == results(tmp_path / "expected")


def test_a_scratch_folder_elsewhere_is_used_and_cleaned(model, image, tmp_path):
    running = start(model, image, tmp_path / "out", "--scratch", tmp_path / "fast")
    wait_for_more(running, tmp_path / "fast", 0)
    assert running.poll() is None
    assert end(running) == (0, "")
    assert list((tmp_path / "fast").iterdir()) == []


# Not getrusage: that of a child process begins with what its parent, a large test run, had when it was started.
MEASURE = """
from pathlib import Path
from rescrnet.cli import main
try:
    main()
finally:
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units elsewhere")
def test_the_memory_that_is_given_is_kept_to(tmp_path):
    model_of(n=6, filters=16, kernel_sizes=[3, 5, 7], dilations=[1, 3, 5]).save(tmp_path / "model.safetensors")
    tifffile.imwrite(tmp_path / "cell.tif", picture(900, 1100)[..., 0], photometric="minisblack", tile=(256, 256))
    command = [sys.executable, "-c", MEASURE, "predict", tmp_path / "model.safetensors", tmp_path / "cell.tif"]
    command += ["--out", tmp_path / "out", "--memory", "500MB"]
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.split()[-1]) < 550e6
