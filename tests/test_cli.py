"""The commands as a user meets them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from rescrnet import cli, load

PARITY = Path(__file__).resolve().parents[2] / "shared" / "parity"


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["rescrnet", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def test_help_answers_without_importing_torch_or_numpy():
    code = (
        "import sys; sys.argv = ['rescrnet', '--help']\n"
        "from rescrnet.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'matplotlib', 'lightning_fabric'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in ("samples", "train", "predict", "evaluate", "report", "info", "demo"))


def test_prediction_does_not_import_lightning(run, tmp_path, image_file):
    code = (
        "import sys; sys.argv = ['rescrnet', 'predict', *sys.argv[1:]]\n"
        "from rescrnet.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'lightning_fabric', 'matplotlib', 'h5py'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code, str(run), str(image_file), "--out", str(tmp_path / "masks")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def image_file(dataset):
    return sorted((dataset / "val_local" / "images" / "img").iterdir())[0]


def test_train_prints_the_class_table_and_the_scores(dataset, tmp_path, monkeypatch, capsys):
    small = ["network.n=1", "network.filters=2", "data.patch_size=32", "training.steps_per_epoch=1"]
    options = [part for setting in small for part in ("--set", setting)]
    code, out, err = call(monkeypatch, capsys, "train", dataset, "--out", tmp_path / "run", "--epochs", 2, *options)
    assert code == 0, err
    assert "cytoplasm" in err
    assert "share of pixels" in err
    assert err.count("val Tanimoto") == 2
    assert "best epoch" in out


def test_predict_writes_indices_probabilities_and_overlay(run, image_file, tmp_path, monkeypatch, capsys):
    arguments = ("predict", run, image_file, "--out", tmp_path / "masks", "--probabilities", "--overlay")
    code, _, err = call(monkeypatch, capsys, *arguments)
    assert code == 0, err
    stem = image_file.stem
    size = np.asarray(Image.open(image_file)).shape[:2]
    mask = np.asarray(Image.open(tmp_path / "masks" / f"{stem}.png"))
    assert mask.dtype == np.uint8
    assert mask.shape == size
    probabilities = tifffile.imread(tmp_path / "masks" / f"{stem}_probabilities.tif")
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (3, *size)
    assert (probabilities.argmax(0) == mask).all()
    assert np.asarray(Image.open(tmp_path / "masks" / f"{stem}_overlay.png")).shape == (*size, 3)
    legend = json.loads((tmp_path / "masks" / "classes.json").read_text())
    assert [entry["name"] for entry in legend] == ["cytoplasm", "nucleus", "mitochondrion"]


def test_evaluate_writes_the_keys_that_are_promised(run, dataset, tmp_path, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "evaluate", run, dataset, "--out", tmp_path / "scores")
    assert code == 0, err
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert set(scores["pooled"]) == {"dice_soft", "tanimoto", "jaccard", "precision", "recall", "f1"}
    assert set(scores["per_class"]) == {"cytoplasm", "nucleus", "mitochondrion"}
    assert np.array(scores["confusion"]).sum() == 2 * 64 * 80
    assert "mitochondrion" in out
    table = (tmp_path / "scores" / "scores.csv").read_text().splitlines()
    assert table[0].startswith("image,class,iou,dice,precision,recall")
    assert len(table) == 1 + 3 * 3  # two images and all of them together, three classes each


def test_info_says_what_a_model_is(run, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "info", run / "best.safetensors")
    assert code == 0
    assert "0 cytoplasm, 1 nucleus, 2 mitochondrion" in out


@pytest.mark.parametrize(("given", "expected"), [(None, "0"), ("1000", "1000")])
def test_threads_of_pytorch_sleep_while_they_wait_unless_somebody_wants_otherwise(given, expected, monkeypatch, capsys):
    for setting in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(setting, given or "")
        if given is None:
            monkeypatch.delenv(setting)
    call(monkeypatch, capsys, "--version")
    assert os.environ["GOMP_SPINCOUNT"] == os.environ["KMP_BLOCKTIME"] == expected


def test_info_says_what_the_machine_computes_with(monkeypatch, capsys):
    monkeypatch.setenv("RESCRNET_NATIVE", "0")
    code, out, _ = call(monkeypatch, capsys, "info", "--machine")
    assert code == 0
    assert "kernels: none, the plain PyTorch path (switched off by RESCRNET_NATIVE=0)" in out
    code, out, err = call(monkeypatch, capsys, "info")
    assert (code, out) == (2, "")
    assert err.strip() == "rescrnet: info: neither a model nor --machine is given; name a model, or add --machine"


def test_an_unknown_variant_of_the_kernels_is_one_line(run, image_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESCRNET_NATIVE", "avx3")
    code, out, err = call(monkeypatch, capsys, "predict", run, image_file, "--out", tmp_path / "masks")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("rescrnet: RESCRNET_NATIVE: 'avx3' is no variant; expected 0 or one of avx2, ")
    assert not (tmp_path / "masks").exists()


@pytest.mark.skipif(not PARITY.is_dir(), reason=f"no recorded networks at {PARITY}")
def test_a_keras_checkpoint_becomes_a_model_that_predicts(image_file, tmp_path, monkeypatch, capsys):
    arguments = (PARITY / "em_paper" / "model.h5", "--out", tmp_path / "theirs.safetensors", "--classes", "a,b,c")
    code, out, err = call(monkeypatch, capsys, "import-keras", *arguments)
    assert code == 0, err
    assert "58,662 parameters" in out
    assert "imported from: model.h5" in out
    arguments = (tmp_path / "theirs.safetensors", image_file, "--out", tmp_path / "masks")
    code, _, err = call(monkeypatch, capsys, "predict", *arguments)
    assert code == 0, err
    assert (tmp_path / "masks" / f"{image_file.stem}.png").is_file()


def test_demo_does_all_of_it_and_ends_with_the_path_of_the_report(tmp_path, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "demo", "--out", tmp_path / "demo", "--epochs", 1)
    assert code == 0, err
    report = out.strip().splitlines()[-1]
    assert report == str(tmp_path / "demo" / "run" / "report.html")
    assert (tmp_path / "demo" / "run" / "report.html").is_file()


def test_ctrl_c_leaves_a_usable_model_and_says_how_to_go_on(dataset, tmp_path):
    command = [sys.executable, "-m", "rescrnet", "train", str(dataset), "--out", str(tmp_path / "run")]
    command += ["--set", "network.n=1", "--set", "data.patch_size=16", "--set", "training.bn_recalibration_batches=1"]
    training = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "history.csv").is_file():
        assert training.poll() is None
        time.sleep(0.1)
    training.send_signal(signal.SIGINT)
    _, err = training.communicate(timeout=60)
    assert training.returncode == cli.INTERRUPTED
    assert "--resume continues" in err
    assert "Traceback" not in err
    assert load(tmp_path / "run").card.trained.epoch >= 1


def out_of_memory(kind):
    if kind == "python":
        raise MemoryError
    if kind == "gpu":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    torch.empty(2**56)  # PyTorch's own error on a CPU


@pytest.mark.parametrize("kind", ["python", "gpu", "cpu"])
def test_too_little_memory_is_one_line_with_the_remedy(kind, run, image_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rescrnet.inference.folder.predict_files", lambda *_, **__: out_of_memory(kind))
    code, _, said = call(monkeypatch, capsys, "predict", run, image_file, "--out", tmp_path / "masks")
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith("rescrnet: memory: ")
    assert "smaller" in said


def test_other_runtime_errors_are_not_taken_for_a_lack_of_memory(run, image_file, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr("rescrnet.inference.folder.predict_files", fail)
    monkeypatch.setattr(sys, "argv", ["rescrnet", "predict", str(run), str(image_file), "--out", str(tmp_path / "m")])
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main()
