"""What validates is read from text once."""

import pytest
from pydantic import TypeAdapter

from rescrnet.validation import Folder, Fraction, Names, Validation, parse_validation


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("0.25", Fraction(fraction=0.25)),
        ("a", Names(names=["a"])),
        ("a, b,c", Names(names=["a", "b", "c"])),
        ("07", Names(names=["07"])),  # no share, so an image of that name
        ("1", Names(names=["1"])),
        ("0", Names(names=["0"])),
        ("nan", Names(names=["nan"])),
        ("", Names(names=[""])),
    ],
)
def test_text_is_a_fraction_or_names(text, meaning):
    assert parse_validation(text) == meaning


def test_a_folder_that_is_there_is_a_folder_wherever_it_is_read_again(tmp_path, monkeypatch):
    (tmp_path / "held-out").mkdir()
    monkeypatch.chdir(tmp_path)
    meaning = parse_validation("held-out")
    assert meaning == Folder(folder=tmp_path / "held-out")
    monkeypatch.chdir("/")
    assert parse_validation(str(meaning)) == meaning


def test_a_folder_that_has_gone_is_still_a_folder(tmp_path):
    assert parse_validation(str(tmp_path / "gone")) == Folder(folder=tmp_path / "gone")


@pytest.mark.parametrize("text", ["0.25", "a,b", "/"])
def test_it_survives_being_stored_and_said_again(text):
    adapter = TypeAdapter(Validation)
    meaning = parse_validation(text)
    assert adapter.validate_json(adapter.dump_json(meaning)) == meaning
    assert parse_validation(str(meaning)) == meaning
