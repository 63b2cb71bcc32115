"""What cannot be exported is refused in one line, before anything is written."""

import subprocess
import sys

import pytest

from rescrnet.errors import ModelError, OutputError, UsageError
from rescrnet.exchange.export import SUFFIXES, export
from tests.exchange.models import model_of, small

FORMATS = list(SUFFIXES)


@pytest.fixture
def model():
    return model_of(small())


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_exists_is_kept(tmp_path, model, format):
    file = tmp_path / f"model{SUFFIXES[format]}"
    file.write_bytes(b"mine")
    with pytest.raises(OutputError, match=f"model{SUFFIXES[format]}: exists; choose another name"):
        export(model, format, file)
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize("format", FORMATS)
def test_a_name_of_another_kind_of_file_is_refused(tmp_path, model, format):
    with pytest.raises(UsageError, match=f"is no name for {format}; expected a file that ends in {SUFFIXES[format]}"):
        export(model, format, tmp_path / "model.tif")


@pytest.mark.parametrize("format", ["onnx", "torchscript", "web"])
def test_a_model_that_resizes_images_is_refused(tmp_path, format):
    model = model_of(small(), resize=(262, 400))
    with pytest.raises(ModelError, match=r"trained with --resize 262 400.*train without --resize"):
        export(model, format, tmp_path / f"model{SUFFIXES[format]}")
    assert not list(tmp_path.iterdir())


def test_a_comparator_is_refused(tmp_path):
    pytest.importorskip("monai")
    from rescrnet.config import UNetConfig
    from rescrnet.model import SegmentationModel

    card = model_of(small()).card.model_copy(update={"network": UNetConfig(architecture="unet")})
    with pytest.raises(ModelError, match=r"network 'unet': is a comparator.*export a Res-CR-Net"):
        export(SegmentationModel.untrained(card), "onnx", tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_refused(tmp_path, model):
    with pytest.raises(UsageError, match="--format tflite: is unknown; expected onnx, torchscript, bioimageio, web"):
        export(model, "tflite", tmp_path / "model.tflite")


def test_a_missing_library_is_named(tmp_path, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        UsageError, match=r"this export: needs onnx, which is not installed; pip install 'rescrnet\[export\]'"
    ):
        export(model, "onnx", tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def run(*arguments):
    command = [sys.executable, "-m", "rescrnet", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_asks_for_what_a_package_must_say(tmp_path, model):
    model.save(tmp_path / "model.safetensors")
    done = run(tmp_path / "model.safetensors", "--format", "bioimageio", "--out", tmp_path / "m.zip", "--author", "A")
    assert done.returncode == 2
    assert done.stderr.startswith("rescrnet: --sample, --license, --cite: missing")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "m.zip").exists()


def test_the_command_writes_a_file_and_says_how_large_it_is(tmp_path, model):
    model.save(tmp_path / "model.safetensors")
    done = run(tmp_path / "model.safetensors", "--format", "torchscript", "--out", tmp_path / "m.pt")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path / 'm.pt'}: 0.")
    assert (tmp_path / "m.pt").is_file()


def test_an_option_of_another_format_is_refused(tmp_path, model):
    model.save(tmp_path / "model.safetensors")
    done = run(tmp_path / "model.safetensors", "--format", "torchscript", "--out", tmp_path / "m.pt", "--cite", "x")
    assert done.stderr == "rescrnet: --cite: means nothing to --format torchscript; leave it out\n"
