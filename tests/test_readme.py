"""Every command and every line of Python in the README runs."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from rescrnet import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# The same commands on smaller images with fewer steps.
SMALLER = {
    "samples": ["--size", "64", "80", "--train", "8", "--val", "1"],
    "check": ["--no-estimate"],
    "train": [
        *("--set", "network.n=1", "--set", "data.patch_size=32", "--epochs", "1"),
        *("--set", "training.steps_per_epoch=1", "--set", "training.bn_recalibration_batches=1"),
    ],
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command, monkeypatch):
    program, verb, *rest = shlex.split(command)
    assert program == "rescrnet"
    monkeypatch.setattr(sys, "argv", [program, verb, *rest, *SMALLER.get(verb, [])])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None), command


def test_the_six_commands_then_the_python_lines(work, monkeypatch):
    commands = [line for block in blocks("console") for line in block.splitlines() if line.startswith("rescrnet ")]
    assert [command.split()[1] for command in commands] == [
        "samples",
        "check",
        "train",
        "predict",
        "evaluate",
        "report",
    ]
    for command in commands:
        run(command, monkeypatch)
    assert sorted(path.name for path in (work / "masks").iterdir()) == ["08.png", "08_overlay.png", "classes.json"]
    assert {path.name for path in (work / "scores").iterdir()} == {"scores.json", "scores.csv", "objects.csv"}
    assert (work / "run" / "report.html").is_file()
    assert (work / "check.html").is_file()

    (python,) = blocks("python")
    first_training = 'rescrnet.train("cells", "run")'
    assert first_training in python
    values = {}
    exec(python.replace(first_training, 'rescrnet.load("run")'), values)
    assert values["classes"].shape == (64, 80)


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [
        line.split()[1] for block in blocks("console") for line in block.splitlines() if line.startswith("make ")
    ]
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_every_link_and_picture_is_there():
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert len(targets) > 3
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing
