"""The command line: a table, findings, exit codes, JSON, a page and a corrected copy."""

import json
import re
import sys

import pytest

from rescrnet.cli import main
from tests.support.folders import noise, save
from tests.support.micrographs import good


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command; give its exit code and what it printed."""

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["rescrnet", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        return caught.value.code or 0, shown.out, shown.err

    return run_command


def test_a_sound_dataset_is_described_and_ready(run, tmp_path):
    code, out, err = run("check", good(tmp_path / "data"), "--no-estimate")
    assert (code, err) == (0, "")
    assert "images and masks; 6 images to train on, 2 to validate, grey" in out
    assert re.search(r"a\.png +train +40×48 +uint8 +50\.0% \(\d+\) +30\.0% \(\d+\) +20\.0% \(\d+\)", out)
    assert re.search(r"grey 128 +128 +30\.0% +\d+ +8", out)
    assert "ready for training: no errors, no warnings, no notes" in out


def test_an_error_is_shown_with_file_and_remedy_and_exit_code_one(run, tmp_path):
    data = good(tmp_path / "data")
    (data / "masks/c.png").unlink()
    code, out, _ = run("check", data)
    assert code == 1
    assert re.search(
        r"error image-without-mask: has no mask\n +expected .*\(--fix leaves it out\)\n +.*images/c\.png\n", out
    )
    assert "training would refuse it: 1 error, no warnings, no notes" in out
    assert "training with" not in out


def test_json_holds_images_classes_and_findings(run, tmp_path):
    data = good(tmp_path / "data")
    (data / "masks/c.png").unlink()
    code, out, _ = run("check", data, "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["layout"], found["train"], found["val"], found["estimate"]) == ("images and masks", 5, 2, None)
    assert found["images"][0]["size"] == [40, 48]
    assert [entry["name"] for entry in found["classes"]] == ["grey 0", "grey 128", "grey 255"]
    (finding,) = found["findings"]
    assert (finding["check"], finding["severity"], finding["fixable"]) == ("image-without-mask", "error", True)


def test_the_corrected_copy_passes_the_check(run, tmp_path):
    data = good(tmp_path / "data")
    (data / "masks/c.png").unlink()
    code, _, err = run("check", data, "--fix", tmp_path / "copy")
    assert code == 1
    assert f"corrected copy in {tmp_path / 'copy'}: 7 images with masks; left out: {data}/images/c.png" in err
    assert "of the copy: ready for training: no errors" in err
    assert run("check", tmp_path / "copy", "--no-estimate")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (["{}/gone"], r"gone: no such folder; expected a folder of images and masks", 1),
        (["{}/data", "--val", "0"], "--val 0: is no share of the images; expected a fraction between 0 and 1", 2),
        (["{}/data", "--fix", "{}/data"], r"data: already holds files; choose a new folder", 1),
        (["{}/data", "--no-estimate", "--html", "{}/no/page.html"], r"page\.html: cannot be written", 1),
    ],
)
def test_what_cannot_be_done_is_one_line(run, tmp_path, arguments, says, code):
    good(tmp_path / "data")
    found, _, err = run("check", *(argument.format(tmp_path) for argument in arguments))
    assert found == code
    assert re.search(rf"^rescrnet: .*{says}", err)
    assert len(err.splitlines()) == 1


def test_training_shows_the_warnings_of_the_checks(run, tmp_path):
    data = good(tmp_path / "data")
    save(data / "images/c.png", noise((40, 48)) // 200 * 25)
    small = ["network.n=1", "network.filters=2", "data.patch_size=32", "training.steps_per_epoch=1"]
    options = [word for setting in small for word in ("--set", setting)]
    code, _, err = run("train", data, "--out", tmp_path / "run", "--epochs", 1, *options)
    assert code == 0
    assert re.search(r"note: .*images/c\.png: holds only \d different grey values; export it again", err)


def test_training_refuses_what_only_a_check_finds(run, tmp_path):
    data = good(tmp_path / "data")
    (data / "images/h.png").write_bytes((data / "images/a.png").read_bytes())
    code, _, err = run("train", data, "--out", tmp_path / "run")
    assert code == 1
    assert re.search(r"images/a\.png: is the same image, once for training and once for validation \(and 1 more\)", err)
    assert not (tmp_path / "run").exists()


def test_what_training_takes_is_measured(tmp_path):
    from rescrnet.config import resolve
    from rescrnet.training.estimate import estimate

    small = resolve("laptop", overrides={"network.n": 1, "network.filters": 2, "data.patch_size": 32})
    short = estimate(small, 1, 3, [1000] * 4, [1000])
    training = small.training.model_copy(update={"epochs": 10 * small.training.epochs})
    long = estimate(small.model_copy(update={"training": training}), 1, 3, [1000] * 4, [1000])
    assert 0 < short.step < short.seconds < long.seconds
    assert short.memory is None or short.memory > 50 << 20
    assert re.search(r"laptop preset \(25 epochs\): about 1 minute and \d+\.\d GB of memory", str(short))
