"""One process writes a folder or file at a time, and nothing that has a name is overwritten."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import rescrnet
from rescrnet.atomic import check_free, write_atomically
from rescrnet.errors import OutputError
from rescrnet.locks import lock_file, locked
from rescrnet.training.progress import ProgressReporter
from tests.support.configs import tiny

HOLD = """
import sys, time
from pathlib import Path
from rescrnet.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "r"], stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_lock_says_who_holds_it_and_is_let_go_of_when_its_holder_is_killed(tmp_path, holder):
    with pytest.raises(OutputError, match=rf"r: process {holder.pid} on \S+, since \d{{4}}-.+, is writing there"):
        locked(tmp_path / "r").__enter__()
    holder.kill()
    holder.wait()
    with locked(tmp_path / "r"):
        assert json.loads(lock_file(tmp_path / "r").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_left_beside_a_finished_folder_goes_when_the_folder_is_refused_unless_it_is_held(tmp_path, holder):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/result.txt").touch()
    for held in (True, False):
        with pytest.raises(OutputError, match="already holds files"):
            check_free(tmp_path / "r")
        assert lock_file(tmp_path / "r").exists() == held
        holder.kill()
        holder.wait()


def test_a_lock_can_be_waited_for(tmp_path):
    entered, order = threading.Event(), []

    def hold():
        with locked(tmp_path / "r"):
            entered.set()
            time.sleep(0.2)
            order.append("first")

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    with locked(tmp_path / "r", wait=10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_no_two_hold_one_lock_while_others_remove_its_file(tmp_path):
    inside, most, failures = [], [], []

    def take():
        for _ in range(60):
            try:
                with locked(tmp_path / "r", wait=30):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(most) == {1}


def test_folders_that_were_made_for_a_lock_go_with_it(tmp_path):
    with locked(tmp_path / "a/b/r"):
        assert (tmp_path / "a/b").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_two_names_of_a_folder_have_one_lock(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "s").symlink_to("r")
    with locked(tmp_path / "r"), pytest.raises(OutputError, match="is writing there"):
        locked(tmp_path / "s").__enter__()


@pytest.mark.parametrize("how", ["train", "resume", "report"])
def test_a_run_folder_has_one_writer(cells, tmp_path, how):
    run = tmp_path / "run"
    others = {
        "train": lambda: rescrnet.train(cells, run, tiny(network__filters=4), progress=ProgressReporter()),
        "resume": lambda: rescrnet.resume(cells, run, progress=ProgressReporter()),
        "report": lambda: rescrnet.report(run),
    }

    class Other(ProgressReporter):
        def begin(self, epochs, steps, done):
            with pytest.raises(OutputError, match=r"run: process .+ is writing there; wait for it to end"):
                others[how]()

    model = rescrnet.train(cells, tmp_path / "run", tiny(training__epochs=1), progress=Other())
    assert model.card.network.filters == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_prediction_into_a_folder_that_trains_is_refused(cells, run, tmp_path):
    with locked(tmp_path / "o"), pytest.raises(OutputError, match=r"o: process .+ is writing there"):
        rescrnet.predict_files(rescrnet.load(run), cells / "val_local/images/img", tmp_path / "o")


@pytest.mark.parametrize("links", [True, False])
def test_a_result_that_must_be_new_replaces_nothing_that_came_meanwhile(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(type(tmp_path), "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("no links")))

    def write(partial):
        partial.write_text("mine")
        (tmp_path / "m").write_text("theirs")

    with pytest.raises(OutputError, match="m: exists already; choose another name"):
        write_atomically(tmp_path / "m", write, new=True)
    assert (tmp_path / "m").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    (tmp_path / "m").unlink()
    write_atomically(tmp_path / "m", lambda partial: partial.write_text("mine"), new=True)
    assert (tmp_path / "m").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_is_finished_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("sync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, to: (calls.append("name"), replace(path, to))[1])
    write_atomically(tmp_path / "a", lambda partial: partial.write_text("a"))
    assert calls == (["sync", "name", "sync"] if os.name != "nt" else ["sync", "name"])
