"""Bad input ends in one line that names what is wrong, a non-zero exit code, and nothing written."""

import os
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rescrnet.cli import main
from tests.support.configs import SMALLEST
from tests.support.folders import labelled, noise, save, stripes

DATA, USAGE = 1, 2
SMALLEST_OPTIONS = [word for key, value in SMALLEST.items() for word in ("--set", f"{key}={value}")]
pytestmark = pytest.mark.timeout(60)  # a bad input that is taken for good would train for minutes


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Run a command that must fail: check its exit code, its one line, and that all files are as before."""

    def run_command(*arguments, code, says):
        before = contents(tmp_path)
        monkeypatch.setattr(sys, "argv", ["rescrnet", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        lines = [line for line in shown.err.splitlines() if re.match("rescrnet: (?!warning: )", line)]
        assert caught.value.code == code, shown.err
        assert len(lines) == 1, shown.err
        assert shown.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in shown.err
        assert re.search(says, lines[0]), lines[0]
        assert contents(tmp_path) == before
        return shown.err

    return run_command


@pytest.fixture
def data(tmp_path):
    """Four labelled images of 40 × 48 pixels."""
    return labelled(tmp_path / "data", "abcd", noise((40, 48)), stripes(0, 128, 255, shape=(40, 48)))


# Each spoils the dataset in one way; the value is what the line must say.


def _unlink(name):
    return lambda data: (data / name).unlink()


def _save(name, array):
    return lambda data: save(data / name, array)


def _write(name, content):
    return lambda data: (data / name).write_bytes(content)


def _truncate(name):
    return lambda data: os.truncate(data / name, 60)


def _nan(data):
    image = noise((40, 48)).astype(np.float32)
    image[3, 4] = np.nan
    (data / "images/b.png").unlink()
    save(data / "images/b.tif", image)


def _empty(data):
    shutil.rmtree(data / "images")
    (data / "images").mkdir()


LAST_HAS_ANOTHER_CLASS = stripes(0, 64, 128, 255, shape=(40, 48))
SPOILT = {
    "missing folder": (lambda data: shutil.rmtree(data), "data: no such folder; expected a folder"),
    "no images folder": (lambda data: shutil.rmtree(data / "images"), "data/images: no such folder; expected 'images'"),
    "no masks folder": (lambda data: shutil.rmtree(data / "masks"), "data/masks: no such folder; expected 'images'"),
    "no images": (_empty, "data/images: holds no images; expected PNG, TIFF, JPEG, BMP, NumPy or Zarr"),
    "image without mask": (_unlink("masks/b.png"), r"images/b\.png: has no mask; expected .*masks/b"),
    "mask without image": (_unlink("images/b.png"), r"masks/b\.png: has no image; expected .*images/b"),
    "two images of one stem": (_save("images/b.tif", noise()), r"images/b\.png and .*b\.tif: two files of one stem"),
    "two masks of one stem": (_save("masks/b.bmp", noise()), r"masks/b\.bmp and .*b\.png: two files of one stem"),
    "sizes differ": (
        _save("masks/b.png", stripes(0, 128, 255, shape=(40, 47))),
        r"masks/b\.png: is 40×47, its image 40×48: an export rounded its size; export it anew",
    ),
    "truncated image": (_truncate("images/b.png"), r"images/b\.png: cannot be read .* cut short"),
    "truncated mask": (_truncate("masks/b.png"), r"masks/b\.png: cannot be read .* cut short"),
    "text image": (_write("images/b.png", b"no image"), r"images/b\.png: cannot be read as an image"),
    "empty image": (_write("images/b.png", b""), r"images/b\.png: is empty; copy it again"),
    "mask of one class": (
        _save("masks/b.png", stripes(128, shape=(40, 48))),
        r"masks/b\.png: holds one class only, 'grey 128'; remove the image, or",
    ),
    "NaN": (_nan, r"images/b\.tif: 1 values are NaN or infinite; expected finite"),
    "constant image": (
        _save("images/b.png", np.full((40, 48), 5, np.uint8)),
        r"images/b\.png: every pixel has the same value, 5; expected an image",
    ),
    "more classes in validation": (
        _save("masks/d.png", LAST_HAS_ANOTHER_CLASS),
        r"masks/d\.png: class 'grey 64' is in validation masks but in no training mask; split otherwise, with --val",
    ),
    "mixed channels": (
        _save("images/b.png", noise((40, 48, 3))),
        r"images/b\.png: images differ: grey \(3\), RGB \(1\); expected the same channels in all",
    ),
    "mask of many greys": (_save("masks/b.png", noise((40, 48))), r"data: the masks hold \d+ grey values"),
    "mask colours": (
        _save("masks/b.png", stripes((255, 255, 0), (0, 9, 99), shape=(40, 48))),
        r"masks/b\.png: is in colour, other masks are not; give each class one value",
    ),
    "half transparent mask": (
        _save("masks/b.png", stripes((0, 255), (255, 128), shape=(40, 48))),
        r"masks/b\.png: 960 pixels of the mask are partly transparent; expected opaque pixels",
    ),
    "bad YAML": (_write("dataset.yaml", b"classes: ["), r"dataset\.yaml: is not valid YAML"),
    "unknown key": (_write("dataset.yaml", b"names: []"), r"dataset\.yaml: .*(names|classes)"),
    "one declared class": (_write("dataset.yaml", b"classes: [{name: a}]"), r"dataset\.yaml: classes: lists 'a' alone"),
    "undeclared value": (
        _write("dataset.yaml", b"classes: [{name: a, value: 0}, {name: b, value: 128}]"),
        r"no class: 255 \(2560 pixels\); correct the masks, or list every value in .*dataset\.yaml",
    ),
    "value no mask has": (
        _write("dataset.yaml", b"classes: [{name: a, value: 0}, {name: b, value: [128, 255]}, {name: c, value: 3}]"),
        r"class 'c' is in no mask; remove it from dataset\.yaml",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILT)
def test_training_refuses_spoilt_data(refused, data, tmp_path, case):
    spoil, says = SPOILT[case]
    spoil(data)
    shown = refused("train", data, "--out", tmp_path / "run", code=DATA, says=says)
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--preset", "desktop"], "preset 'desktop' is unknown; the presets are standard, laptop, paper-em, paper-fm"),
        (["--device", "tpu"], "--device tpu: is unknown; expected auto, cpu, cuda or mps"),
        (["--precision", "float8"], "--precision float8: is unknown; expected float32"),
        (["--devices", "0"], "--devices 0 .*: expected at least one"),
        (["--set", "foo"], "--set foo: expected key=value"),
        (["--set", "=5"], "--set =5: expected key=value"),
        (["--set", "training.epochs=["], r"--set training\.epochs=\[: the value is not valid YAML"),
        (["--set", "training.foo=1"], r"key 'training\.foo' is unknown; known keys are epochs,"),
        (["--set", "foo=1"], "key 'foo' is unknown; known keys are preset, network"),
        (["--set", "training.epochs=-1"], r"training\.epochs: .*greater than 0 \(found -1\)"),
        (["--set", "training.epochs=many"], r"training\.epochs: .*integer.*\(found 'many'\)"),
        (["--set", "network.n=0"], r"network\.n: .*greater than 0 \(found 0\)"),
        (["--set", "network.kernel_sizes=[3, 4, 5]"], r"network\.kernel_sizes.*4 is even; .*use an odd size"),
        (["--set", "network.kernel_sizes=[3]"], r"kernel_sizes \[3\] and dilations \[1, 3, 5\] must be as many"),
        (["--set", "network.filters=[4, 4]"], "filters is set for 2 blocks but n is 6"),
        (["--set", "data.patch_size=0"], r"data\.patch_size: .*greater than 0"),
        (["--set", "training.loss=mse"], r"training\.loss: .*'dice_loss'.*\(found 'mse'\)"),
        (["--set", "training=5"], r"training: .*\(found 5\)"),
        (["--epochs", "0"], r"epochs: .*greater than 0 \(found 0\)"),
        (["--patience", "0"], r"patience: .*greater than 0 \(found 0\)"),
        (["--seed", "-1"], r"seed: .*greater than or equal to 0 \(found -1\)"),
        (["--resize", "0", "5"], r"resize\.0: .*greater than 0 \(found 0\)"),
        (["--network", "vgg"], r"network\.architecture: .*'res-cr-net'.*\(found 'vgg'\)"),
        (["--val", "0"], "--val 0: is no share of the images; expected a fraction between 0 and 1"),
        (["--val", "1.5"], "--val 1.5: is no share of the images; expected a fraction between 0 and 1"),
        (["--val", "a,b,c,d"], "--val a,b,c,d: names every image; leave some for training"),
        (["--val", "a,x"], "--val a,x: no image is named 'x'"),
        (["--resume", "--seed", "3"], "--resume: the run keeps its configuration"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_training_refuses_wrong_usage(refused, data, tmp_path, options, says):
    shown = refused("train", data, "--out", tmp_path / "run", *options, code=USAGE, says=says)
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"settings\.yaml: cannot be read \(No such file or directory\)"),
        ("- a\n- b\n", r"settings\.yaml: expected sections with keys"),
        ("training: {epochs: [}", r"settings\.yaml: is not valid YAML"),
        ("training: {epoch: 5}", r"settings\.yaml: key 'training\.epoch' is unknown; known keys are epochs,"),
        ("preset: desktop", "preset 'desktop' is unknown"),
        ("training: 5", r"settings\.yaml: training: .*\(found 5\)"),
    ],
)
def test_a_bad_configuration_file_is_refused(refused, data, tmp_path, content, says):
    if content is not None:
        (tmp_path / "settings.yaml").write_text(content)
    refused("train", data, "--out", tmp_path / "run", "--config", tmp_path / "settings.yaml", code=USAGE, says=says)


def test_validation_images_cannot_be_chosen_where_the_dataset_has_its_own(refused, dataset, tmp_path):
    refused("train", dataset, "--out", tmp_path / "run", "--val", "0.5", code=USAGE, says=r"--val 0\.5: .*val_local")


def test_a_single_image_cannot_be_trained_on(refused, tmp_path):
    data = labelled(tmp_path / "data", "a")
    refused("train", data, "--out", tmp_path / "run", code=DATA, says=r"images/a\.png: is the only image")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "nothing"),
        (["train"], "(?i)argument .data."),
        (["train", "data", "--out"], "--out"),
        (["train", "data", "--out", "run", "--epochs", "many"], "--epochs"),
        (["train", "data", "--out", "run", "--frobnicate"], "--frobnicate"),
        (["samples", "xray", "out"], "xray"),
        (["evaluate", "run", "data", "--out", "x", "--split", "test"], "--split"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_cannot_be_read_is_wrong_usage(refused, arguments, says):
    shown = refused(*arguments, code=USAGE, says=says)
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--size", "20", "300"], "sample size 20 × 300: is too small"),
        (["--train", "0"], "0 train .*ask for at least 1"),
        (["--seed", "-4"], "seed -4: is negative"),
    ],
)
def test_samples_that_cannot_be_drawn_are_wrong_usage(refused, tmp_path, options, says):
    refused("samples", "em", tmp_path / "out", *options, code=USAGE, says=says)


# Models


def _text(run):
    (run / "best.safetensors").write_text("not a model\n" * 50)


def _random(run):
    (run / "best.safetensors").write_bytes(np.random.default_rng(0).bytes(5000))


def _nothing(run):
    (run / "best.safetensors").write_bytes(b"")


def _cut(run):
    os.truncate(run / "best.safetensors", (run / "best.safetensors").stat().st_size // 2)


def _cut_header(run):
    os.truncate(run / "best.safetensors", 100)


def _foreign(run):
    save_file({"weight": torch.zeros(3)}, run / "best.safetensors")


def _pickle(run):
    (run / "best.safetensors").write_bytes(pickle.dumps({"weight": 1}))


def _torch_file(run):
    torch.save({"weight": torch.zeros(3)}, run / "best.safetensors")


def _card(card):
    return lambda run: save_file({"weight": torch.zeros(3)}, run / "best.safetensors", {"rescrnet": card})


DAMAGED = {
    "text": (_text, "is no model file or is damaged"),
    "random bytes": (_random, "is no model file or is damaged"),
    "empty": (_nothing, "is no model file or is damaged"),
    "truncated": (_cut, "is no model file or is damaged"),
    "truncated header": (_cut_header, "is no model file or is damaged"),
    "pickle": (_pickle, "is no model file or is damaged"),
    "torch file": (_torch_file, "is no model file or is damaged"),
    "other safetensors": (_foreign, "is not a rescrnet model"),
    "card that is no JSON": (_card("{"), "its model card is not valid"),
    "card that is a list": (_card("[]"), "has model format None"),
    "card of the future": (_card('{"format": 99}'), "has model format 99, this version reads 5; update rescrnet"),
    "card without network": (_card('{"format": 1}'), "its model card is not valid"),
    "card of another network": (
        _card(
            '{"format": 1, "network": {"n": 1}, "in_channels": 1, "classes": [{"name": "a"}, {"name": "b"}],'
            '"intensity": {"offset": [0], "scale": [1]}}'
        ),
        "its weights do not fit its configuration",
    ),
    "card without channels": (
        _card(
            '{"format": 1, "network": {"n": 1}, "in_channels": -1, "classes": [{"name": "a"}, {"name": "b"}],'
            '"intensity": {"offset": [0], "scale": [1]}}'
        ),
        "its model card is not valid",
    ),
    "card without classes": (
        _card(
            '{"format": 1, "network": {"n": 1}, "in_channels": 1, "classes": [],'
            '"intensity": {"offset": [0], "scale": [1]}}'
        ),
        "its model card is not valid",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_or_foreign_model_is_refused_by_name(refused, run, tmp_path, case):
    damage, says = DAMAGED[case]
    shutil.copytree(run, tmp_path / "run")
    damage(tmp_path / "run")
    for model in (tmp_path / "run", tmp_path / "run/best.safetensors"):
        shown = refused("info", model, code=DATA, says=rf"run/best\.safetensors: {says}")
        assert len(shown.splitlines()) == 1


def test_a_model_that_is_a_pickle_is_not_executed(refused, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    refused("info", tmp_path / "model.safetensors", code=DATA, says=r"model\.safetensors: is no model file")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [("none", "none: no such file or folder"), ("empty", r"empty: holds no trained model \(best\.safetensors\)")],
)
@pytest.mark.parametrize("verb", ["info", "predict", "evaluate", "report"])
def test_a_missing_model_is_refused_by_name(refused, dataset, tmp_path, verb, name, says):
    (tmp_path / "empty").mkdir()
    arguments = {
        "predict": [dataset / "val_local/images/img", "--out", tmp_path / "out"],
        "evaluate": [dataset, "--out", tmp_path / "out"],
    }.get(verb, [])
    says = rf"{name}: is no run folder.* run\.json" if verb == "report" else says
    shown = refused(verb, tmp_path / name, *arguments, code=DATA, says=says)
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# Prediction and evaluation


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda file: file.unlink(), r"zz\.png: no such file or folder"),
        (lambda file: os.truncate(file, 200), r"zz\.png: cannot be read as an image"),
        (lambda file: file.write_text("text"), r"zz\.png: cannot be read as an image"),
        (lambda file: save(file, noise((40, 48, 3))), r"zz\.png: has 3 channels, expected 1; convert the image"),
    ],
    ids=["missing", "truncated", "text", "channels"],
)
def test_prediction_of_a_bad_image_alone_writes_nothing_and_of_the_good_ones_beside_it_their_masks(
    refused, run, tmp_path, spoil, says
):
    files = [save(tmp_path / "in" / f"{stem}.png", noise((40, 48))) for stem in ("a", "b", "zz")]
    spoil(files[-1])
    refused("predict", run, files[-1], "--out", tmp_path / "out", code=DATA, says=says)
    assert not (tmp_path / "out").exists()
    _predict_all(run, files, tmp_path / "out", says)


def _predict_all(run, files, out, says):
    command = [sys.executable, "-m", "rescrnet", "predict", run, *files, "--out", out]
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ended.returncode == DATA
    shown = [line for line in ended.stderr.splitlines() if "warning" not in line]
    assert re.search(says, shown[0]), shown
    assert re.search(r"1 of 3 images could not be predicted, .*failed\.csv says why", shown[1]), shown
    assert len(shown) == 2
    assert {path.name for path in out.glob("*.png")} == {"a.png", "b.png"}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_empty, "data/images: holds no images"),
        (_unlink("masks/b.png"), r"images/b\.png: has no mask"),
        (_save("images/b.png", noise((40, 48, 3))), r"images/b\.png: has 3 channels, expected 1"),
        (_save("masks/d.png", LAST_HAS_ANOTHER_CLASS), r"values that belong to no class: 64 \(480 pixels\)"),
        (lambda data: None, "data: has no 'val' images, and none .* --split all"),
    ],
    ids=["no images", "no mask", "channels", "unknown class", "other images"],
)
def test_evaluation_of_bad_data_writes_nothing(refused, run, data, tmp_path, spoil, says):
    spoil(data)
    refused("evaluate", run, data, "--out", tmp_path / "out", code=DATA, says=says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_an_unknown_device_is_wrong_usage(refused, run, dataset, tmp_path, verb):
    data = dataset / "val_local/images/img" if verb == "predict" else dataset
    refused(verb, run, data, "--out", tmp_path / "out", "--device", "tpu", code=USAGE, says="--device tpu: is unknown")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_wrong_usage_and_those_that_are_are_listed(refused, run):
    refused("predict", run, run, "--out", run / "x", "--device", "cuda", code=DATA, says="holds no images")
    refused("train", run, "--out", run / "x", "--device", "cuda", code=USAGE, says="--device cuda: .*available: cpu")


def test_a_report_of_a_dataset_that_has_moved_is_refused_by_name(refused, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    text = (tmp_path / "run/run.json").read_text()
    (tmp_path / "run/run.json").write_text(re.sub(r'"folder": "[^"]*"', '"folder": "/nowhere/em"', text))
    refused("report", tmp_path / "run", code=DATA, says="/nowhere/em")
    refused("report", tmp_path / "run", "--data", tmp_path / "none", code=DATA, says="none: no such folder")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_run_is_refused_by_report_and_resume(refused, run, dataset, tmp_path, content):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/run.json").write_text(content)
    refused("report", tmp_path / "run", code=DATA, says=r"run: is no run folder|run\.json")
    refused("train", dataset, "--out", tmp_path / "run", "--resume", code=DATA, says=r"run: is no run folder|run\.json")


# Output


def _arguments(verb, run, dataset, out):
    return {
        "samples": ["samples", "em", out, "--size", 64, 64, "--train", 1, "--val", 1],
        "train": ["train", dataset, "--out", out],
        "predict": ["predict", run, dataset / "val_local/images/img", "--out", out],
        "evaluate": ["evaluate", run, dataset, "--out", out],
        "demo": ["demo", "--out", out],
    }[verb]


every_writer = pytest.mark.parametrize("verb", ["samples", "train", "predict", "evaluate", "demo"])


@every_writer
def test_a_folder_that_holds_another_run_is_refused_and_stays_as_it_is(refused, run, dataset, tmp_path, verb):
    shutil.copytree(run, tmp_path / "out")
    arguments = _arguments(verb, run, dataset, tmp_path / "out")
    shown = refused(*arguments, code=DATA, says="out: already holds files; choose a new folder, or remove it first")
    assert shown.splitlines()[-1].startswith("rescrnet: ")


@every_writer
def test_a_file_in_place_of_the_output_folder_is_refused(refused, run, dataset, tmp_path, verb):
    (tmp_path / "out").write_text("mine")
    refused(*_arguments(verb, run, dataset, tmp_path / "out"), code=DATA, says="out: is a file; expected a new folder")


@every_writer
def test_an_output_folder_below_a_file_is_refused(refused, run, dataset, tmp_path, verb):
    (tmp_path / "file").write_text("mine")
    arguments = _arguments(verb, run, dataset, tmp_path / "file/out")
    refused(*arguments, code=DATA, says="file/out.*(Not a directory)")


@pytest.mark.parametrize("verb", ["samples", "predict", "evaluate"])
def test_a_full_disk_is_one_line_and_leaves_nothing(refused, mount, run, dataset, verb):
    disk = mount("size=16k")
    save(disk / "other.tif", np.zeros((20, 512), np.uint8))  # leaves one page of memory
    arguments = _arguments(verb, run, dataset, disk / "out")
    refused(*arguments, code=DATA, says=r"disk/out.*(\(No space left on device\)| are free; make room)")


def test_a_disk_that_fills_up_while_training_is_one_line(monkeypatch, capsys, mount, dataset):
    disk = mount("size=60k")
    save(disk / "other.tif", np.zeros((80, 512), np.uint8))  # leaves room for the configuration, not for the model
    arguments = ["train", dataset, "--out", disk / "out", *SMALLEST_OPTIONS]
    monkeypatch.setattr(sys, "argv", ["rescrnet", *map(str, arguments)])
    with pytest.raises(SystemExit, match="1"):
        main()
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"^rescrnet: .*last\.safetensors: cannot be written \(.*No space left on device", last), last
    assert not list((disk / "out").glob("*.safetensors"))


@pytest.mark.parametrize("verb", ["samples", "train", "predict", "evaluate"])
def test_a_disk_that_cannot_be_written_is_one_line(refused, mount, run, dataset, verb):
    disk = mount("ro")
    refused(*_arguments(verb, run, dataset, disk / "out"), code=DATA, says="disk/out.*Read-only file system")


# A real process


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (["train", "none", "--out", "run"], DATA, "none: no such folder"),
        (["train", "none", "--out", "run", "--preset", "desktop"], USAGE, "preset 'desktop'"),
        (["predict", "none.safetensors", "image.tif", "--out", "masks"], DATA, "image.tif: no such file"),
    ],
    ids=["data", "usage", "prediction"],
)
def test_a_process_ends_with_one_line_and_the_code(tmp_path, arguments, code, names):
    command = [sys.executable, "-c", "from rescrnet.cli import main; main()", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert len(ended.stderr.splitlines()) == 1
    assert names in ended.stderr
    assert list(tmp_path.iterdir()) == []
