"""Options that do not go together are refused in one line, before anything is read or written."""

import sys

import pytest

from rescrnet import cli
from rescrnet.commands.options import given, listed

TRAIN = ["train", "data", "--out", "run"]
PREDICT = ["predict", "model", "images", "--out", "masks"]
OBJECTS = ["objects", "masks", "--out", "out", "--numbered"]
NETWORK = "--from: the network is that of the model; leave out what sets it"
SEEDS = "--seeds: takes no --seed and no --max-time; list the seeds, and give --budget for a time"
RESUME = "--resume: the run keeps its configuration; give no option but --epochs, --max-time and devices"
NUMBERED = "--numbered: the masks number objects already; leave out options about classes and splits"


def refused(monkeypatch, capsys, *arguments):
    """What the program says of ``arguments``, which are wrong usage."""
    monkeypatch.setattr(sys, "argv", ["rescrnet", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    assert (end.value.code, captured.out) == (2, "")
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [*TRAIN, "--budget", "5m", "--epochs", "3"],
            "--budget: plans the number of epochs itself; leave --epochs out",
        ),
        ([*TRAIN, "--from", "model", "--network", "unet"], NETWORK),
        ([*TRAIN, "--from", "model", "--set", "network.n=2"], NETWORK),
        ([*TRAIN, "--seeds", "3", "--seed", "0"], SEEDS),
        ([*TRAIN, "--seeds", "3", "--max-time", "0"], SEEDS),
        ([*TRAIN, "--resume", "--seeds", "3"], RESUME),
        ([*TRAIN, "--resume", "--seed", "0"], RESUME),
        ([*TRAIN, "--resume", "--budget", "5m"], RESUME),
        ([*TRAIN, "--resume", "--val", "0.5"], RESUME),
        (
            [*PREDICT, "--workers", "2", "--dask", "tcp://host:8786"],
            "--workers, --dask: both are given; give one of them; a Dask scheduler has workers of its own",
        ),
        (
            [*PREDICT, "--label", "cells", "--objects"],
            "--objects, --label: are both given; leave --label out, objects are measured in a folder",
        ),
        (
            [*PREDICT, "--label", "cells", "--object-class", "cell"],
            "--objects, --label: are both given; leave --label out, objects are measured in a folder",
        ),
        ([*OBJECTS, "--names", "a,b"], NUMBERED),
        ([*OBJECTS, "--class", "a"], NUMBERED),
        ([*OBJECTS, "--boundary", "edge"], NUMBERED),
        ([*OBJECTS, "--without-boundary"], NUMBERED),
        ([*OBJECTS, "--threshold", "0"], NUMBERED),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_exclude_each_other_are_refused(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert refused(monkeypatch, capsys, *arguments) == f"rescrnet: {message}\n"
    assert list(tmp_path.iterdir()) == []


def test_seeds_that_are_no_numbers_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    said = refused(monkeypatch, capsys, *TRAIN, "--seeds", "three")
    assert said == "rescrnet: --seeds three: is no number; expected how many, as 5, or a list, as 0,1,2\n"


@pytest.mark.parametrize("option", ["--epochs", "--max-time"])
def test_runs_of_several_seeds_keep_their_epochs(option, tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/seeds.json").touch()
    monkeypatch.chdir(tmp_path)
    said = refused(monkeypatch, capsys, *TRAIN, "--resume", option, "5")
    assert said == (
        "rescrnet: --resume: run holds several runs, which keep their epochs; leave out --epochs, --max-time\n"
    )


def test_what_is_given_may_be_nothing_or_false():
    assert given({"a": 0, "b": None, "c": False, "d": ""}) == {"a": 0, "c": False, "d": ""}


@pytest.mark.parametrize(("text", "parts"), [(None, []), ("", []), ("a", ["a"]), ("a, b,,c ", ["a", "b", "", "c"])])
def test_lists_are_parted_by_commas(text, parts):
    assert listed(text) == parts
