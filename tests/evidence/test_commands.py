"""The commands as a user meets them: a line of what was found and a page, or a line of what is wrong."""

import sys

import pytest

from rescrnet import cli
from rescrnet.commands.options import resolved
from rescrnet.config import resolve
from rescrnet.datasets.synthetic import write_dataset

METHODS = """
import numpy as np

def always(dataset, seed, budget, which=0):
    shares = np.eye(len(dataset.classes))[which]
    return lambda image: np.broadcast_to(shares[:, None, None], (len(shares), *image.shape[:2]))

def never(dataset, seed, budget):
    return always(dataset, seed, budget, 1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_dataset("em", folder / "em", train=4, val=2, size=(64, 80))
    (folder / "mine.py").write_text(METHODS, encoding="utf-8")
    return folder


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["rescrnet", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def test_compare_says_what_it_found_and_where_the_page_is(folder, tmp_path, monkeypatch, capsys):
    mine, out = folder / "mine.py", tmp_path / "out"
    methods = f"{mine}:always,{mine}:never"
    how = ["--methods", methods, "--folds", 3, "--seeds", 1, "--budget", "1m"]
    command = ["compare", folder / "em", "--out", out, *how]
    code, printed, progress = call(monkeypatch, capsys, *command)
    assert code == 0
    assert "never is worse than always" in printed
    assert str(out / "report.html") in printed
    assert "6/6  never, fold 3, seed 0: mean IoU" in progress
    assert (out / "report.html").is_file()
    code, printed, progress = call(monkeypatch, capsys, *command)
    assert (code, printed) == (1, "")
    assert progress == f"rescrnet: {out}: holds results already; choose a new folder, or go on with --resume\n"
    code, printed, progress = call(monkeypatch, capsys, *command, "--resume")
    assert code == 0
    assert "never is worse than always" in printed
    assert "seed" not in progress  # nothing was done again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crossval", "--folds", "9"], "--folds 9: DATA has 6 labelled images; expected at most 6"),
        (["crossval", "--folds", "1"], "--folds 1: is no cross-validation; expected at least 2"),
        (["crossval", "--seeds", "0"], "--seeds 0: trains nothing; expected at least 1"),
        (["crossval", "--budget", "ten"], "--budget ten: is no time; expected such as 30m, 90s or 2h"),
        (["curve", "--sizes", "2,many"], "--sizes 2,many: is no list of numbers; expected such as 2,4,8"),
        (["curve", "--sizes", "2,50"], "--sizes 50: the folds leave 4 images to train on; expected between 1 and 4"),
        (
            ["compare", "--methods", "res-cr-net,prior", "--budget", "1m", "--updates", "5"],
            "--budget, --updates: are both given; give the one that all methods are to share",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys, arguments, message):
    name, *options = arguments
    out = tmp_path / "out"
    code, printed, error = call(monkeypatch, capsys, name, folder / "em", "--out", out, *options)
    assert (code, printed) == (2, "")
    assert error == f"rescrnet: {message.replace('DATA', str(folder / 'em'))}\n"
    assert not out.exists()


def test_the_commands_begin_with_the_preset_that_training_begins_with():
    assert resolved(None, None, None) == resolve()
