"""Ctrl-C ends work that can go on in one line that says how, and with the exit code of a program that was stopped."""

import sys

import pytest
from PIL import Image

from rescrnet import cli

STOPPED = 130  # as a shell says of Ctrl-C


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "arguments", "how"),
    [
        ("rescrnet.objects.folder.write_objects", ["objects", "masks", "--numbered"], "the same command goes on"),
        ("rescrnet.training.seeds.train_seeds", ["train", "masks", "--seeds", "2"], "--resume continues"),
        ("rescrnet.evidence.crossval.crossval", ["crossval", "masks"], "the same command with --resume goes on"),
        ("rescrnet.evidence.compare.compare", ["compare", "masks"], "the same command with --resume goes on"),
        ("rescrnet.evidence.curve.curve", ["curve", "masks"], "the same command with --resume goes on"),
    ],
)
def test_ctrl_c_is_one_line_that_says_how_to_go_on(where, arguments, how, tmp_path, monkeypatch, capsys):
    (tmp_path / "masks").mkdir()
    Image.new("L", (8, 8), 1).save(tmp_path / "masks/a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(where, interrupted)
    monkeypatch.setattr(sys, "argv", ["rescrnet", *arguments, "--out", "out"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert (end.value.code, said.out) == (STOPPED, "")
    assert said.err.startswith("stopped; ")
    assert said.err.endswith(f"{how}\n")
    assert said.err.count("\n") == 1
