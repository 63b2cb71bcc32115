"""Names of classes and files are printed as they are, whatever they look like and wherever the output goes."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

import rescrnet
from rescrnet.checking.check import check, load_dataset
from rescrnet.checking.terminal import show
from rescrnet.commands.evaluate import print_scores
from rescrnet.scoring.counts import Counts
from rescrnet.scoring.evaluate import Evaluation
from rescrnet.training.progress import ProgressBar, ProgressReporter
from tests.support.configs import tiny
from tests.support.folders import labelled, noise, save, stripes

CLASSES = ["Tumor [/b]", "[red]Zelle[/red]", "α :smile: [link=x]", "one_word_that_is_longer_than_columns_are"]
STEMS = ["slide1 [d=2,x=0]", "slide1 [b]", "[bold]c", ":car:"]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data [blue]"
    labelled(folder, STEMS, mask=stripes(0, 1, 2, 3))
    for seed, stem in enumerate(STEMS):
        save(folder / "images" / f"{stem}.png", noise(seed=seed // 2))  # two and two are the same, which is warned of
    lines = [f'  - {{name: "{name}", value: {value}}}' for value, name in enumerate(CLASSES)]
    (folder / "dataset.yaml").write_text("\n".join(["classes:", *lines]), encoding="utf-8")
    return folder


def printed(write, width=200):
    console = Console(file=io.StringIO(), width=width)
    write(console)
    return console.file.getvalue()


def all_of(text, names):
    together = "".join(text.replace("│", "").replace("┃", "").split())
    return [name for name in names if name.replace(" ", "") not in together]


def test_check_prints_them(data):
    text = printed(lambda console: show(check(data), console))
    assert all_of(text, [*CLASSES, *STEMS, "data [blue]"]) == []


def test_no_name_is_cut_in_a_narrow_terminal(data):
    assert "…" not in printed(lambda console: show(check(data), console), width=60).replace("… and", "")


def test_training_prints_them(data):
    dataset = load_dataset(data, "[bold]c,:car:")
    text = printed(lambda console: ProgressBar(console).data(dataset))
    assert all_of(text, [*CLASSES, STEMS[1], "data [blue]"]) == []


def test_scores_are_printed_with_them(capsys):
    counts = Counts.of(np.full((4, 3, 3), 0.25, np.float32), np.zeros((3, 3), np.uint8))
    print_scores(Evaluation(CLASSES, {"[/b]": counts}, "val"))
    assert all_of(capsys.readouterr().out, CLASSES[:3]) == []


@pytest.mark.parametrize("encoding", ["cp1251", "ascii", "latin-1", "gbk", "cp874"])
def test_output_into_a_file_of_any_encoding_is_written(data, tmp_path, encoding):
    save(data / "images" / "Größe Z\u0308 µ.png", noise(seed=9))
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "rescrnet", "check", str(data), "--no-estimate"]
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    text = (tmp_path / "log").read_bytes()
    assert ended.returncode == 1  # an image without a mask
    assert b"Traceback" not in text
    assert b"training would refuse it" in text


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_text_go_all_the_way(tmp_path):
    for seed, stem in enumerate((b"a", b"b\xff", b"c", b"d\xfe")):
        for kind, picture in (("images", noise((32, 32), seed=seed)), ("masks", stripes(0, 1, 2, shape=(32, 32)))):
            save(tmp_path / "data" / kind / os.fsdecode(stem + b".png"), picture)
    model = rescrnet.train(tmp_path / "data", tmp_path / "run", tiny(training__epochs=1), progress=ProgressReporter())
    assert model.card.trained.val == [r"d\xfe"]
    rescrnet.evaluate(model, tmp_path / "data", tmp_path / "scores")
    assert r"d\xfe,class 0" in (tmp_path / "scores/scores.csv").read_text(encoding="utf-8")
    assert rescrnet.report(tmp_path / "run").is_file()
    rescrnet.resume(tmp_path / "data", tmp_path / "run", epochs=2, progress=ProgressReporter())
    masks = rescrnet.predict_files(model, [tmp_path / "data/images"], tmp_path / "out")
    assert [os.fsencode(mask.name) for mask in masks] == [b"a.png", b"b\xff.png", b"c.png", b"d\xfe.png"]
