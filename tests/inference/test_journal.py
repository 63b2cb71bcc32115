"""A journal is resumed by the work that it is of, whatever ended the process, and by no other."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rescrnet.errors import DataError, OutputError
from rescrnet.inference.journal import MANIFEST, Journal, opened
from tests.support.folders import travelled


@pytest.fixture
def journal(tmp_path):
    return Journal.open(tmp_path / "j", {"model": "a"})


def test_a_step_keeps_its_state(journal):
    assert journal.steps() == set()
    journal.record("3-1", np.arange(6).reshape(2, 3))
    resumed = Journal.open(journal.folder, {"model": "a"})
    assert resumed.steps() == {"3-1"}
    assert resumed.done("3-1")
    np.testing.assert_array_equal(resumed.state("3-1"), [[0, 1, 2], [3, 4, 5]])


def test_a_step_that_was_not_recorded_to_the_end_is_not_done(journal, monkeypatch):
    def stop(path, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            journal.record("0-0")
    (journal.folder / ".0-1.done.17.partial").write_bytes(b"\x93NUM")
    assert journal.steps() == set()
    assert not journal.started()


def test_another_identity_starts_anew(journal):
    journal.record("0")
    (journal.folder / "array").touch()
    other = Journal.open(journal.folder, {"model": "b"})
    assert [path.name for path in other.folder.iterdir()] == [MANIFEST]
    assert Journal.find(journal.folder, {"model": "a"}) is None


def test_looking_for_another_identity_changes_nothing(journal):
    journal.record("0")
    assert Journal.find(journal.folder, {"model": "b"}) is None
    assert Journal.find(journal.folder, {"model": "a"}) == journal
    assert journal.done("0")


def test_the_journal_of_a_part_starts_anew_with_the_whole_or_by_itself(journal):
    child = journal.child("plane-0", "fingerprint")
    child.record("0")
    journal.record("plane-0")
    assert journal.child("plane-0", "fingerprint").done("0")
    assert not journal.child("plane-0", "another").done("0")
    assert journal.done("plane-0")
    assert not Journal.open(journal.folder, 2).child("plane-0", "another").folder.joinpath("0.done").exists()


def test_work_counts_as_started_when_a_part_of_it_is(journal):
    child = journal.child("0").child("plane-0")
    assert not journal.started()
    child.record("features")
    assert journal.started()


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("method", ["clear", "remove"])
def test_a_journal_that_was_being_emptied_is_resumed_by_nobody(journal, monkeypatch, count, method):
    """The process ends after some removals, in any order; the first thing to go is the manifest."""
    for name in "abc":
        journal.record(name)
        journal.child(f"child-{name}").record("0")
    removed, rng = [], np.random.default_rng(count)

    def end_after_some(remove):
        def removing(path, **settings):
            removed.append(path)
            if len(removed) > count:
                raise KeyboardInterrupt
            remove(path, **settings)

        return removing

    with monkeypatch.context() as patch:
        listed = Path.iterdir
        patch.setattr(Path, "iterdir", lambda path: iter(rng.permutation(np.array(list(listed(path)), object))))
        patch.setattr(Path, "unlink", end_after_some(Path.unlink))
        patch.setattr(shutil, "rmtree", end_after_some(shutil.rmtree))
        try:
            getattr(journal, method)()
        except KeyboardInterrupt:
            assert Journal.find(journal.folder, journal.identity) is None
    resumed = Journal.open(journal.folder, journal.identity)
    assert resumed.steps() == set()
    assert [path.name for path in resumed.folder.iterdir()] == [MANIFEST]


def test_a_closed_journal_leaves_what_the_work_has_made(journal):
    journal.record("0")
    for name in ("mask.png", ".1.done.17.partial"):
        (journal.folder / name).touch()
    journal.close()
    assert [path.name for path in journal.folder.iterdir()] == ["mask.png"]


@pytest.mark.parametrize("content", ["", "{", "\udc80", '{"format": 2, "identity": {"model": "a"}}'])
def test_a_manifest_that_says_something_else_is_of_nobody(journal, content):
    journal.record("0")
    (journal.folder / MANIFEST).write_text(content, errors="surrogateescape")
    assert not Journal.open(journal.folder, {"model": "a"}).done("0")


def test_files_of_others_are_refused_and_stay(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match="holds other files; choose an empty or new scratch folder"):
        Journal.open(tmp_path, 1)
    with pytest.raises(OutputError, match="holds other files"), opened(tmp_path, 1):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_worker_records_in_a_journal_that_is_open(journal):
    worker = travelled(Journal(journal.folder))
    worker.record("0", np.ones(2))
    np.testing.assert_array_equal(journal.state("0"), [1, 1])


@pytest.mark.parametrize(
    ("error", "recorded", "stays"),
    [
        (KeyboardInterrupt(), True, True),
        (OutputError("disk", "is full"), True, True),
        (KeyboardInterrupt(), False, False),
        (DataError("a.png", "is damaged"), True, False),
    ],
    ids=["stopped", "full", "nothing done", "data"],
)
def test_a_failure_leaves_what_is_worth_resuming(tmp_path, error, recorded, stays):
    def fail():
        with opened(tmp_path / "j", 1) as journal:
            if recorded:
                journal.record("0")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (tmp_path / "j").exists() == stays
