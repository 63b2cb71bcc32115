"""A folder of results is there whole, or not at all."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from rescrnet.atomic import check_free, write_atomically, write_folder
from rescrnet.errors import DataError, OutputError
from rescrnet.inference.journal import Journal


def write_two(folder):
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").write_text("b")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_holds_what_was_written(tmp_path):
    write_folder(tmp_path / "new/below", write_two)
    assert names(tmp_path / "new/below") == ["a.txt", "b.txt"]
    assert names(tmp_path / "new") == ["below"]


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path):
    (tmp_path / "out").mkdir()
    before = (tmp_path / "out").stat().st_ino
    write_folder(tmp_path / "out", write_two)
    assert names(tmp_path / "out") == ["a.txt", "b.txt"]
    assert (tmp_path / "out").stat().st_ino == before


def test_the_working_directory_can_be_the_folder(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    write_folder(Path(), write_two)
    assert names(tmp_path / "out") == ["a.txt", "b.txt"]


def test_an_empty_folder_that_has_been_used_meanwhile_keeps_what_is_in_it(tmp_path):
    (tmp_path / "out").mkdir()

    def write(folder):
        write_two(folder)
        (tmp_path / "out/a.txt").write_text("mine")

    with pytest.raises(OutputError, match="out: already holds files"):
        write_folder(tmp_path / "out", write)
    assert names(tmp_path / "out") == ["a.txt"]
    assert (tmp_path / "out/a.txt").read_text() == "mine"


def test_an_empty_folder_on_another_disk_is_filled(mount, tmp_path):
    (tmp_path / "out").symlink_to(mount("size=1M"))
    write_folder(tmp_path / "out", write_two)
    assert names(tmp_path / "out") == ["a.txt", "b.txt"]
    assert names(tmp_path) == ["disk", "out"]


@pytest.mark.parametrize("there", [False, True])
def test_two_processes_do_not_write_one_folder(tmp_path, there):
    """A second handle on the folder is as good as a second process."""
    if there:
        (tmp_path / "out").mkdir()

    def write(folder):
        write_two(folder)
        with pytest.raises(OutputError, match=rf"out: process {os.getpid()} on .+, since .+, is writing there; wait"):
            write_folder(tmp_path / "out", write_two)

    write_folder(tmp_path / "out", write)
    assert names(tmp_path / "out") == ["a.txt", "b.txt"]


def test_a_folder_that_can_be_resumed_is_handed_over_as_it_was_left(tmp_path):
    def stop(folder):
        write_two(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", stop, resumable=True)
    assert not (tmp_path / "out").exists()
    write_folder(tmp_path / "out", lambda folder: (folder / "a.txt").unlink(), resumable=True)
    assert names(tmp_path / "out") == ["b.txt"]
    assert names(tmp_path) == ["out"]


def test_a_failure_that_leaves_nothing_to_resume_leaves_no_folder(tmp_path):
    def fail(folder):
        raise DataError("a.png", "damaged", "copy it again")

    with pytest.raises(DataError):
        write_folder(tmp_path / "out", fail, resumable=True)
    assert names(tmp_path) == []


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("count", range(4))
def test_what_is_left_of_a_prediction_that_was_being_removed_is_not_resumed(tmp_path, monkeypatch, count, resumable):
    """By another command for the same folder, which ends after some removals, in any order."""

    def start(folder):
        journal = Journal.open(folder, 1, foreign_files=False)
        write_two(folder)
        (folder / "z.ome.zarr").mkdir()
        (folder / "z.ome.zarr/0").touch()
        journal.record("z")
        raise KeyboardInterrupt

    def start_another(folder):
        Journal.open(folder, 2, foreign_files=False)

    def resume(folder):
        journal = Journal.open(folder, 1, foreign_files=False)
        assert not (journal.done("z") and (folder / "z.ome.zarr").exists()) or (folder / "z.ome.zarr/0").exists()
        journal.clear()
        (folder / "c.txt").touch()
        journal.close()

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", start, resumable=True)
    with monkeypatch.context() as patch:
        removed, rng = [], np.random.default_rng(count)
        listed, unlink = Path.iterdir, Path.unlink

        def end_after_some(path, **settings):
            removed.append(path)
            if len(removed) > count:
                raise KeyboardInterrupt
            unlink(path, **settings)

        def remove_half(path, **settings):
            unlink(path / "0")
            raise KeyboardInterrupt

        patch.setattr(Path, "iterdir", lambda path: iter(rng.permutation(np.array(list(listed(path)), object))))
        patch.setattr(Path, "unlink", end_after_some)
        patch.setattr(shutil, "rmtree", remove_half)
        with pytest.raises(KeyboardInterrupt):
            write_folder(tmp_path / "out", start_another, resumable=resumable)
    write_folder(tmp_path / "out", resume, resumable=True)
    assert names(tmp_path / "out") == ["c.txt"]


@pytest.mark.parametrize("error", [DataError("a.png: damaged"), KeyboardInterrupt()], ids=repr)
def test_a_failure_leaves_nothing_and_says_what_it_was(tmp_path, error):
    def write(folder):
        write_two(folder)
        raise error

    with pytest.raises(type(error)) as caught:
        write_folder(tmp_path / "out", write)
    assert caught.value is error
    assert names(tmp_path) == []


def test_an_output_error_names_the_folder_that_was_asked_for(tmp_path):
    def write(folder):
        raise OutputError(folder / "a.png", "cannot be written")

    with pytest.raises(OutputError) as caught:
        write_folder(tmp_path / "out", write)
    assert str(caught.value) == f"{tmp_path / 'out/a.png'}: cannot be written"


def test_no_space_is_one_line_and_leaves_nothing(tmp_path):
    def write(folder):
        write_two(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=r"out: cannot be written \(No space left on device\)"):
        write_folder(tmp_path / "out", write)
    assert names(tmp_path) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(mount):
    disk = mount("size=40k")
    with pytest.raises(OutputError, match=r"out: cannot be written \(No space left on device\)"):
        write_folder(disk / "out", lambda folder: (folder / "large").write_bytes(bytes(200_000)))
    assert names(disk) == []


def test_a_disk_that_cannot_be_written_is_one_line(mount):
    disk = mount("ro")
    with pytest.raises(OutputError, match=r"out: cannot be written \(Read-only file system\)"):
        write_folder(disk / "out", write_two)


def test_a_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out: cannot be written \(Not a directory\)"):
        write_folder(tmp_path / "file/out", write_two)


def test_a_folder_that_holds_files_stays_as_it_is(tmp_path):
    (tmp_path / "former.txt").write_text("former")
    with pytest.raises(OutputError, match="already holds files; choose a new folder, or remove it first"):
        write_folder(tmp_path, write_two)
    assert names(tmp_path) == ["former.txt"]


def test_a_file_is_no_place_for_a_folder(tmp_path):
    (tmp_path / "out").write_text("former")
    with pytest.raises(OutputError, match="out: is a file; expected a new folder"):
        check_free(tmp_path / "out")


def test_a_name_that_is_too_long_is_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"cannot be (used|written) \(File name too long\)"):
        write_folder(tmp_path / ("x" * 300), write_two)


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_or_folder_has_its_name_when_it_is_complete(tmp_path, shared):
    def write(partial):
        assert not (tmp_path / "a.txt").exists()
        partial.write_text("a")

    write_atomically(tmp_path / "a.txt", write, shared=shared)
    write_atomically(tmp_path / "b", write_two_into_new, shared=shared)
    assert names(tmp_path) == ["a.txt", "b"]
    assert names(tmp_path / "b") == ["a.txt", "b.txt"]


def write_two_into_new(folder):
    folder.mkdir()
    write_two(folder)


@pytest.mark.parametrize("write", [write_two_into_new, lambda partial: partial.touch()], ids=["folder", "file"])
def test_what_a_killed_process_left_of_a_file_or_folder_is_replaced(tmp_path, write):
    def stop(partial):
        write_two_into_new(partial)
        (partial / "more").touch()
        partial.rename(tmp_path / "left")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", stop)
    assert names(tmp_path) == ["left"]
    (tmp_path / "left").rename(tmp_path / ".a.partial")
    write_atomically(tmp_path / "a", write)
    assert names(tmp_path) == ["a"]
    assert not (tmp_path / "a/more").exists()


def test_an_error_about_the_temporary_path_names_the_file_that_was_asked_for(tmp_path):
    def write(partial):
        raise OutputError(partial / "0", "is no JSON object")

    with pytest.raises(OutputError, match=r"a\.zarr/0: is no JSON object") as caught:
        write_atomically(tmp_path / "a.zarr", write)
    assert caught.value.subject == tmp_path / "a.zarr/0"
