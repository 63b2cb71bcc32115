"""Files made to harm end in one line, in seconds, in little memory: no traceback, no wait, no half-written result."""

import json
import os
import shutil
import struct

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import rescrnet
from rescrnet.inference.budget import resident_bytes
from tests.attack.commands import command, forked
from tests.support.folders import labelled, noise, stripes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
DEEP = 5000


@pytest.fixture(scope="module", autouse=True)
def imported(run, dataset, tmp_path_factory):
    """All that the forked children need, imported once; a prediction that works."""
    import rescrnet.checking.check
    import rescrnet.exchange.keras
    import rescrnet.reporting.page

    rescrnet.predict_files(rescrnet.load(run), dataset / "val_local/images/img", tmp_path_factory.mktemp("o") / "o")


def refused(*arguments, says, within=20):
    outcome = forked(command(*arguments), within=within)
    assert not outcome.fault, f"{outcome.fault}: {outcome.text}"
    assert outcome.code in (1, 2), outcome.text
    assert says in outcome.text, outcome.text


def leaves_nothing(folder, *arguments, says):
    before = sorted(path.name for path in folder.iterdir())
    refused(*arguments, says=says)
    assert sorted(path.name for path in folder.iterdir()) == before


# --- model files


def with_card(run, target, change):
    """The model of ``run`` without a digest, its card changed by a function or replaced by a text."""
    with safe_open(run / "best.safetensors", "pt") as opened:
        card = json.loads(opened.metadata()["rescrnet"])
    text = change if isinstance(change, str) else json.dumps(change(card) or card)
    save_file(load_file(run / "best.safetensors"), target, {"rescrnet": text})
    return target


def setting(path, value):
    def change(card):
        *sections, key = path.split(".")
        place = card
        for section in sections:
            place = place[section]
        place[key] = value

    return change


CARDS = {
    "train-number": setting("provenance.train", 5),
    "train-null": setting("provenance.train", None),
    "no-channels": setting("intensity_profile.channels", []),
    "no-images": setting("intensity_profile.images", 0),
    "no-levels": lambda card: card["intensity_profile"]["channels"][0].update(levels=[]),
    "nan-levels": lambda card: card["intensity_profile"]["channels"][0].update(spread=float("nan")),
    "no-offset": setting("intensity.offset", []),
    "no-scale": setting("intensity.scale", []),
    "zero-scale": setting("intensity.scale", [0.0]),
    "nan-offset": setting("intensity.offset", [float("nan")]),
    "huge-resize": setting("resize", [10**9, 10**9]),
    "no-resize": setting("resize", [0, 0]),
    "infinite-pixels": setting("pixel_size", [float("inf"), 1]),
    "surrogate": lambda card: card["masks"]["classes"][0].update(name="\ud800"),
    "deep": "[" * 100_000,
    "deep-key": '{"format": 3, "network": ' + '{"a":' * DEEP + "1" + "}" * (DEEP + 1),
    **{f"{key}-{value:.0e}": setting(f"network.{key}", int(value)) for key in ("n", "m") for value in (1e6, 1e9, 1e30)},
    **{
        f"{key}-{value:.0e}": setting(f"network.{key}", int(value))
        for key in ("filters",)
        for value in (1e4, 1e9, 1e30)
    },
    **{f"lstm-{value:.0e}": setting("network.lstm_filters", int(value)) for value in (1e3, 1e9, 1e30)},
    **{f"channels-{value:.0e}": setting("in_channels", int(value)) for value in (2, 1e9, 1e30)},
}


@pytest.mark.parametrize("change", CARDS.values(), ids=CARDS.keys())
def test_a_model_card_that_lies_is_refused(run, dataset, tmp_path, change):
    model = with_card(run, tmp_path / "m.safetensors", change)
    image = next((dataset / "val_local/images/img").iterdir())
    leaves_nothing(tmp_path, "predict", model, image, "--out", tmp_path / "o", "--overlay", says="m.safetensors")


def test_a_class_without_a_colour_gets_one(run, dataset, tmp_path):
    model = with_card(run, tmp_path / "m.safetensors", lambda card: card["masks"]["classes"][0].update(color=""))
    image = next((dataset / "val_local/images/img").iterdir())
    outcome = forked(command("predict", model, image, "--out", tmp_path / "o", "--overlay"))
    assert (outcome.code, outcome.fault) == (0, "")


@pytest.mark.parametrize("there", [True, False])
def test_the_size_of_a_network_is_compared_with_its_weights_before_it_is_built(run, tmp_path, there):
    model = with_card(run, tmp_path / "m.safetensors", setting("network.lstm_filters", 1000))
    outcome = forked(command("info", model))
    assert "its weights do not fit its configuration" in outcome.text
    assert outcome.seconds < 5


def test_no_setting_takes_all_memory(dataset, tmp_path):
    for setting_ in ("data.patch_size=1000000000", "network.n=1000000000", "data.validation_size=1000000000000"):
        outcome = forked(command("train", dataset, "--out", tmp_path / "r", "--set", setting_, "--epochs", 1,
                                 "--set", "training.steps_per_epoch=1", "--set", "network.filters=2", "--max-time", 0))  # fmt: skip  # noqa: E501  # noqa: E501
        assert not outcome.fault, f"{setting_}: {outcome.fault} {outcome.text}"
        shutil.rmtree(tmp_path / "r", ignore_errors=True)


# --- images


def zarr_with(folder, change, name="zarr.json", format_=3):
    group = zarr.open_group(folder, mode="w", zarr_format=format_)
    array = group.create_array("0", shape=(48, 48), chunks=(16, 16), dtype="u1")
    array[:] = 7
    multiscales = [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}]
    group.attrs.update(
        {"ome": {"version": "0.5", "multiscales": multiscales}} if format_ == 3 else {"multiscales": multiscales}
    )
    file = folder / name
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(change(content)))
    return folder


def replaced(*path_and_value):
    *path, value = path_and_value

    def change(content):
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return content

    return change


ZARRS = {
    "ome-null": (replaced("attributes", "ome", None), "zarr.json", 3),
    "ome-list": (replaced("attributes", "ome", [1]), "zarr.json", 3),
    "attributes-text": (replaced("attributes", "x"), "zarr.json", 3),
    "multiscales-number": (replaced("attributes", "ome", "multiscales", 3), "zarr.json", 3),
    "attrs-list": (lambda content: [], ".zattrs", 2),
    "chunks-zero": (replaced("chunk_grid", "configuration", "chunk_shape", [16, 0]), "0/zarr.json", 3),
    "chunks-negative": (replaced("chunk_grid", "configuration", "chunk_shape", [16, -4]), "0/zarr.json", 3),
    "shape-huge": (replaced("shape", [10**9, 10**9]), "0/zarr.json", 3),
    "shape-beyond": (replaced("shape", [48, 10**30]), "0/zarr.json", 3),
    "shape-planes": (replaced("shape", [10**9, 48, 48]), "0/zarr.json", 3),
    "v2-chunks-zero": (replaced("chunks", [16, 0]), "0/.zarray", 2),
    "v2-shape-beyond": (replaced("shape", [48, 10**30]), "0/.zarray", 2),
    "scale-text": (
        replaced("attributes", "ome", "multiscales", 0, "datasets", 0, "coordinateTransformations", [{"type": "scale", "scale": "x"}]),  # noqa: E501
        "zarr.json",
        3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ZARRS.values(), ids=ZARRS.keys())
def test_zarr_metadata_that_lies_is_refused(run, tmp_path, case):
    image = zarr_with(tmp_path / "z.zarr", case[0], case[1], case[2])
    leaves_nothing(tmp_path, "predict", run, image, "--out", tmp_path / "o", says="z.zarr")


def tag(path, code, value, of=3):
    """Set a tag of a TIFF, of type SHORT or LONG."""
    with tifffile.TiffFile(path, mode="r+") as file:
        entry = file.pages[0].tags.get(code)
        if entry is None:
            pytest.skip(f"the file has no tag {code}")
        file.filehandle.seek(entry.offset + 2)
        file.filehandle.write(struct.pack("<HII", of, 1, value))


TIFF_TAGS = (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 322, 323, 338, 339)


@pytest.mark.parametrize("code", TIFF_TAGS)
def test_tiff_tags_that_lie_end_in_a_line_or_a_mask(run, tmp_path, code):
    for kind, options in (("strips", {"rowsperstrip": 16}), ("tiles", {"tile": (16, 16)})):
        for value in (0, 7, 255, 65535, 2**31):
            path = tmp_path / f"{kind}.tif"
            tifffile.imwrite(path, noise((48, 64)), compression="zlib", photometric="minisblack", **options)
            with tifffile.TiffFile(path) as file:
                if file.pages[0].tags.get(code) is None:
                    continue
            tag(path, code, value, of=4 if value > 65535 else 3)
            outcome = forked(command("predict", run, path, "--out", tmp_path / "o"))
            assert not outcome.fault, f"{kind} {value}: {outcome.fault} {outcome.text}"
            left = {path.name for path in tmp_path.iterdir()}
            assert left <= ({"strips.tif", "tiles.tif"} | ({"o"} if outcome.code == 0 else set())), left
            shutil.rmtree(tmp_path / "o", ignore_errors=True)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize(("pages", "back_to"), [(1, 0), (3, 1), (150, 120)])
def test_pages_that_lead_back_to_earlier_ones_are_refused(run, tmp_path, name, pages, back_to):
    with tifffile.TiffWriter(tmp_path / name) as writer:
        for _ in range(pages):
            writer.write(noise((16, 16)), metadata=None)
    with tifffile.TiffFile(tmp_path / name) as file:
        offsets = [page.offset for page in file.pages]
    with (tmp_path / name).open("r+b") as file:
        file.seek(offsets[-1])
        (count,) = struct.unpack("<H", file.read(2))
        file.seek(offsets[-1] + 2 + 12 * count)
        file.write(struct.pack("<I", offsets[back_to]))
    leaves_nothing(tmp_path, "predict", run, tmp_path / name, "--out", tmp_path / "o", says="leads back")


def test_what_a_decoder_warns_of_is_not_printed_beside_the_line(run, tmp_path):
    strips = b"II*\0\x08\0\0\0\x01\0"  # its directory ends before its first entry
    (tmp_path / "a.tif").write_bytes(b"\0" + strips)
    (tmp_path / "b.tif").write_bytes(strips[:8] + b"\0" + strips[8:9])
    for name in ("a.tif", "b.tif"):
        refused("predict", run, tmp_path / name, "--out", tmp_path / "o", says=name)


def test_a_tiff_of_no_size_that_can_be_written_is_predicted_without_it(run, tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((64, 80)), imagej=True, resolution=(4e9, 4e9), metadata={"unit": "um"})
    for value in ((4294967295, 1), (1, 4294967295), (1, 1)):
        with tifffile.TiffFile(path, mode="r+") as file:
            for code in (282, 283):
                file.pages[0].tags[code].overwrite(value)
        outcome = forked(command("predict", run, path, "--out", tmp_path / "o", "--format", "tiff"))
        assert (outcome.code, outcome.fault) == (0, ""), outcome.text
        shutil.rmtree(tmp_path / "o")


@pytest.mark.parametrize(
    "change", [(b"}", b" "), (b"{", b" "), (b"(", b"["), (b"'", b'"'), (b"True", b"oops"), (b"64,", b"6e9")]
)
def test_a_numpy_header_that_is_no_python_is_refused(run, tmp_path, change):
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(noise((64, 80))))
    path.write_bytes(path.read_bytes().replace(*change, 1))
    outcome = forked(command("predict", run, path, "--out", tmp_path / "o"))
    assert not outcome.fault, outcome.text


@pytest.mark.parametrize(
    "name", ["a.tif", "a.png", "a.npy", "a.zarr/zarr.json", "a.zarr/0/zarr.json", "m.safetensors", "a.yaml"]
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_no_file(run, dataset, tmp_path, name, kind):
    path = tmp_path / name
    image = tmp_path / name.split("/")[0]
    if "/0/" in name:
        zarr_with(image, lambda content: content)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    if name.endswith("safetensors"):
        refused("info", path, says=str(path))
    elif name.endswith("yaml"):
        refused("train", dataset, "--out", tmp_path / "r", "--config", path, says=str(path))
    else:
        refused("predict", run, image, "--out", tmp_path / "o", says=name.split("/")[0])


def test_floats_beyond_all_measure_print_no_warning_of_numpy(run, tmp_path):
    for number, value in enumerate((1e38, 1e300, np.nan, np.inf, -np.inf)):
        image = noise((64, 80)).astype(np.float64)
        image[3:9] = value
        np.save(tmp_path / f"{number}.npy", image)
    np.save(tmp_path / "all.npy", np.full((64, 80), 1e38, np.float32))
    for name in ("0", "1", "2", "3", "4", "all"):
        outcome = forked(command("predict", run, tmp_path / f"{name}.npy", "--out", tmp_path / f"o{name}"))
        assert not outcome.fault, outcome.text


def test_floats_beyond_all_measure_are_checked_without_a_warning_of_numpy(tmp_path):
    data = labelled(tmp_path / "d", "abcd", noise((40, 48)), stripes(0, 128, 255, shape=(40, 48)))
    for name, value in zip("abcd", (1e38, 3e38, np.nan, np.inf), strict=True):
        image = noise((40, 48)).astype(np.float32)
        image[:9] = value
        (data / f"images/{name}.png").unlink()
        tifffile.imwrite(data / f"images/{name}.tif", image)
    outcome = forked(command("check", data, "--html", tmp_path / "p.html"), within=60)
    assert not outcome.fault, outcome.text


# --- texts

DEEP_TEXTS = {
    "brackets": "[" * DEEP,
    "braces": "{a: " * DEEP,
    "dashes": "- " * DEEP + "a",
    "closed": "[" * DEEP + "]" * DEEP,
}


@pytest.mark.parametrize("text", DEEP_TEXTS.values(), ids=DEEP_TEXTS.keys())
def test_texts_that_are_nested_deeply_are_refused(tmp_path, text):
    data = labelled(tmp_path / "d", "abcd", noise((40, 48)), stripes(0, 128, 255, shape=(40, 48)))
    (tmp_path / "c.yaml").write_text(text)
    refused("train", data, "--out", tmp_path / "r", "--config", tmp_path / "c.yaml", says="c.yaml")
    refused("train", data, "--out", tmp_path / "r", "--set", f"a={text}", says="--set")
    for name in ("dataset.yaml", "dataset.json"):
        (data / name).write_text(text)
        refused("check", data, says=name)
        (data / name).unlink()


CLASSES = ["[{name: a, value: '#xyzxyz'}, {name: b, value: 1}]", "[{name: a, value: '#ff'}, {name: b, value: 1}]", "{? [a] : 1}",  # noqa: E501
           "{1: {2: {3: 4}}}", "[{name: a, value: [[1]]}, {name: b}]", "[{name: a, value: 1e999}, {name: b}]", "[[a], [b]]", "{~: ~}"]  # fmt: skip  # noqa: E501  # noqa: E501


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("key", ["classes", "ignore", "groups", "validation", "pixel_size"])
def test_a_description_that_makes_no_sense_is_refused(tmp_path, classes, key):
    data = labelled(tmp_path / "d", "abcd", noise((40, 48)), stripes(0, 128, 255, shape=(40, 48)))
    (data / "dataset.yaml").write_text(f"{key}: {classes}")
    outcome = forked(command("check", data, "--no-estimate"))
    assert not outcome.fault, outcome.text


@pytest.mark.parametrize("splits", [["val", "test"], ["test"], ["val"], [""], ["train", "test"]])
def test_a_table_without_images_of_one_kind_is_one_line(tmp_path, splits):
    data = labelled(tmp_path / "d", "abcd", noise((40, 48)), stripes(0, 128, 255, shape=(40, 48)))
    rows = [f"images/{name}.png,masks/{name}.png,{splits[i % len(splits)]}" for i, name in enumerate("abcd")]
    (data / "table.csv").write_text("\n".join(["image,mask,split", *rows]))
    for arguments in (("check", data), ("train", data, "--out", tmp_path / "r", "--max-time", 0)):
        outcome = forked(command(*arguments), within=60)
        assert not outcome.fault, outcome.text


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "a/b", "..", "", ".", os.fsdecode(b"\xff")])
def test_a_label_that_is_no_name_is_refused_and_leaves_nothing(run, tmp_path, name):
    image = zarr_with(tmp_path / "z.zarr", lambda content: content)
    before = sorted(path.name for path in image.iterdir())
    refused("predict", run, image, "--out", tmp_path / "o", "--label", name, says="rescrnet: ")
    assert sorted(path.name for path in image.iterdir()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["z.zarr"]


# --- run folders


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    from tests.support.configs import SMALLEST

    folder = tmp_path_factory.mktemp("t") / "run"
    rescrnet.train(dataset, folder, rescrnet.configure("laptop", overrides={**SMALLEST, "training.epochs": 2}))
    return folder


def record(change):
    def spoil(run):
        content = json.loads((run / "run.json").read_text())
        change(content)
        (run / "run.json").write_text(json.dumps(content))

    return spoil


def text(name, content):
    return lambda run: (run / name).write_text(content)


def state(change, header="2"):
    def spoil(run):
        tensors = load_file(run / "state.safetensors")
        change(tensors)
        save_file(tensors, run / "state.safetensors", {} if header is None else {"epoch": header})

    return spoil


def flipped(run):
    content = bytearray((run / "state.safetensors").read_bytes())
    content[-100] ^= 4
    (run / "state.safetensors").write_bytes(content)


HEAD = "epoch,loss,val_loss,val_tanimoto,seconds\n"
RUNS = {
    "started": record(lambda r: r["environment"].update(started="yesterday")),
    "command": record(lambda r: r["environment"].update(command=5)),
    "no-train": record(lambda r: r["dataset"].pop("train")),
    "folder-number": record(lambda r: r["dataset"].update(folder=5)),
    "folder-null-byte": record(lambda r: r["dataset"].update(folder="/a\0b")),
    "deep": text("run.json", "[" * 100_000),
    "history-text": text("history.csv", "hello"),
    "history-words": text("history.csv", HEAD + "a,b,c,d,e\n"),
    "history-short": text("history.csv", HEAD + "1,0.5\n"),
    "history-long": text("history.csv", HEAD + "1,0.5,0.5,0.5,1,7,8\n2,0.5,0.5,0.5,1,7,8\n3\n"),
    "history-huge": text("history.csv", HEAD + "1,1e308,1e308,1e308,1e308\n2,-1e308,1e308,1e308,1e308\n"),
    "history-infinite": text("history.csv", HEAD + "1,inf,nan,1,1\n2,1,1,1,1\n"),
    "history-numbers": text("history.csv", HEAD + "7,1,1,1,1\n9,1,1,1,1\n"),
    "history-bytes": lambda run: (run / "history.csv").write_bytes(b"\xff\xfe\0" * 50),
}
RESUMED = {
    "history-empty": text("history.csv", HEAD),
    "state-flipped": flipped,
    "state-word": state(lambda tensors: None, "two"),
    "state-none": state(lambda tensors: None, None),
    "state-negative": state(lambda tensors: None, "-1"),
    "state-renamed": state(lambda tensors: tensors.update(x=tensors.pop(next(n for n in tensors if n.startswith("network.") and n.endswith("weight"))))),  # noqa: E501
    "state-optimizer": state(lambda tensors: tensors.pop(next(name for name in tensors if "exp_avg_sq" in name))),
    "state-shape": state(lambda tensors: tensors.update({k: torch.zeros(3, 3) for k in tensors if k.endswith("bias")})),
    "config-other": text("config.yaml", "network: {n: 4, filters: 3}\ntraining: {epochs: 3}\n"),
    "config-deep": text("config.yaml", "[" * DEEP),
}  # fmt: skip


@pytest.mark.parametrize("spoil", [*RUNS.values(), *RESUMED.values()], ids=[*RUNS, *RESUMED])
def test_a_run_folder_that_was_tampered_with_is_not_resumed(trained, dataset, tmp_path, spoil):
    run = shutil.copytree(trained, tmp_path / "run")
    spoil(run)
    outcome = forked(command("train", dataset, "--out", run, "--resume", "--epochs", 3), within=60)
    assert not outcome.fault, outcome.text


@pytest.mark.parametrize("spoil", RESUMED.values(), ids=RESUMED)
def test_what_does_not_belong_together_is_refused(trained, dataset, tmp_path, spoil):
    run = shutil.copytree(trained, tmp_path / "run")
    spoil(run)
    refused("train", dataset, "--out", run, "--resume", "--epochs", 3, says=str(run))


@pytest.mark.parametrize("spoil", RUNS.values(), ids=RUNS)
def test_a_run_folder_that_was_tampered_with_is_reported_in_one_line(trained, tmp_path, spoil):
    run = shutil.copytree(trained, tmp_path / "run")
    spoil(run)
    outcome = forked(command("report", run), within=60)
    assert not outcome.fault, outcome.text


# --- Keras files


def test_an_architecture_that_is_no_text_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    for value in (b"\xff\xfe", b"[" * 100_000, b"{}", 5, np.zeros(3)):
        with h5py.File(tmp_path / "k.h5", "w") as file:
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = [b"a"]
            layer = group.create_group("a")
            layer.attrs["weight_names"] = [b"a/kernel:0"]
            layer["a/kernel:0"] = np.full((3, 3), np.nan, np.float32)
            file.attrs["model_config"] = np.void(value) if isinstance(value, bytes) and b"\xff" in value else value
        refused("import-keras", tmp_path / "k.h5", "--out", tmp_path / "m.safetensors", says="k.h5")
        assert not (tmp_path / "m.safetensors").exists()


def test_a_picture_that_claims_more_than_it_can_hold_is_refused(run, tmp_path):
    Image.fromarray(noise((64, 80))).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    start = content.index(b"\xff\xc0") + 5
    (tmp_path / "a.jpg").write_bytes(content[:start] + struct.pack(">HH", 65500, 65500) + content[start + 4 :])
    refused("predict", run, tmp_path / "a.jpg", "--out", tmp_path / "o", says="a.jpg")


def test_a_refusal_for_want_of_scratch_space_leaves_nothing(run, tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", noise((3500, 3400)))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 0, 10**6))
    memory = f"{resident_bytes() // 10**6 + 300}MB"  # the tests before this one may have left much in this process
    call = ("predict", run, tmp_path / "a.npy", "--out", tmp_path / "o", "--memory", memory)
    leaves_nothing(tmp_path, *call, says="of scratch space are needed")
    leaves_nothing(tmp_path, *call, "--scratch", tmp_path, says="scratch")
