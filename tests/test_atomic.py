"""A folder of results is there whole, or not at all."""

import errno
import os
from pathlib import Path

import pytest

from rescrnet.atomic import check_free, write_folder
from rescrnet.errors import DataError, OutputError


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


@pytest.mark.skipif(os.name == "nt", reason="there are no such locks")
@pytest.mark.parametrize("there", [False, True])
def test_two_processes_do_not_write_one_folder(tmp_path, there):
    """A second handle on the folder is as good as a second process."""
    if there:
        (tmp_path / "out").mkdir()

    def write(folder):
        write_two(folder)
        with pytest.raises(OutputError, match="out: another process is writing there; wait for it to end"):
            write_folder(tmp_path / "out", write_two)

    write_folder(tmp_path / "out", write)
    assert names(tmp_path / "out") == ["a.txt", "b.txt"]


def test_what_is_left_of_a_folder_that_was_being_removed_is_not_gone_on_with(tmp_path, monkeypatch):
    def stop(folder):
        write_two(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", stop, 1, keep=lambda error, partial: True)
    with monkeypatch.context() as patch:
        unlink = Path.unlink

        def end_at_the_second(path, **settings):
            if path.name == "b.txt":
                raise KeyboardInterrupt
            unlink(path, **settings)

        patch.setattr(Path, "iterdir", lambda path: iter([path / name for name in ("a.txt", "b.txt", ".facts.json")]))
        patch.setattr(Path, "unlink", end_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            write_folder(tmp_path / "out", write_two, 2, keep=lambda error, partial: True)
    write_folder(tmp_path / "out", lambda folder: (folder / "c.txt").write_text("c"), 1)
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
        raise OutputError(f"{folder / 'a.png'}: cannot be written")

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
