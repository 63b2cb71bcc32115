"""A bioimage.io package: what it says, that its files are its own, and the way back."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from rescrnet.errors import DataError, ModelError, OutputError, UsageError
from rescrnet.exchange.bioimageio_import import import_bioimageio
from rescrnet.exchange.bioimageio_texts import as_cited, as_license, as_name, channel_names
from rescrnet.exchange.export import export
from rescrnet.exchange.publication import Publication
from rescrnet.intensity import normalise
from rescrnet.model import load
from tests.exchange.models import image_of, model_of, small, standard_model
from tests.support.folders import noise, save

pytest.importorskip("onnx")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def published(folder, sample, **changes):
    given = {"authors": ("Ada Lovelace",), "license": "cc-by-4.0", "cite": ("A title, 10.1000/182.",)}
    return Publication(save(folder / "sample.tif", sample), **{**given, **changes})


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    model = model_of(small(classes=5))
    return model, export(model, "bioimageio", folder / "cells.zip", published(folder, noise((70, 90), np.uint16)))


@pytest.fixture
def files(packed):
    with zipfile.ZipFile(packed[1]) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def rdf(files):
    return yaml.safe_load(files["rdf.yaml"])


def test_every_file_that_is_named_is_there_and_is_the_one_that_is_meant(rdf, files):
    def entries(value):
        if isinstance(value, dict):
            if "source" in value:
                yield value
            for inner in value.values():
                yield from entries(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from entries(inner)

    found = list(entries(rdf))
    assert {entry["source"] for entry in found} == set(files) - {"rdf.yaml", "README.md", "cover.jpg"}
    assert all(hashlib.sha256(files[entry["source"]]).hexdigest() == entry["sha256"] for entry in found)
    assert (rdf["documentation"], rdf["covers"]) == ("README.md", ["cover.jpg"])


def test_the_test_is_what_we_predict_of_the_sample(packed, files):
    stored, expected = (np.load(io.BytesIO(files[f"test_{name}.npy"])) for name in ("input", "output"))
    assert (stored.dtype, stored.shape, expected.shape) == (np.uint16, (1, 1, 512, 512), (1, 5, 512, 512))
    np.testing.assert_array_equal(stored[0, 0, :70, :90], noise((70, 90), np.uint16))
    ours = packed[0].predict_normalised(normalise(stored[0].transpose(1, 2, 0)))
    np.testing.assert_array_equal(ours, expected[0])


def test_integers_are_divided_by_the_largest_of_their_type_and_end_as_floats(rdf):
    steps = rdf["inputs"][0]["preprocessing"]
    assert [step["id"] for step in steps] == ["ensure_dtype", "scale_linear", "ensure_dtype"]
    assert steps[1]["kwargs"]["gain"] * 65535 == pytest.approx(1)


def test_floats_are_taken_as_they_are(tmp_path):
    model = model_of(small())
    publication = published(tmp_path, noise((70, 90)).astype(np.float32) / 255)
    with zipfile.ZipFile(export(model, "bioimageio", tmp_path / "a.zip", publication)) as archive:
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
    assert [step["id"] for step in rdf["inputs"][0]["preprocessing"]] == ["ensure_dtype"]


def test_hostile_class_names_stay_texts(packed, rdf, files):
    readme = files["README.md"].decode()
    assert "<script" not in readme
    assert max(map(len, readme.splitlines())) < 400
    facts = json.loads(rdf["config"]["rescrnet"]["facts"])
    assert [entry["name"] for entry in facts["classes"]] == packed[0].classes
    assert rdf["outputs"][0]["axes"][1]["channel_names"] == [f"class_{index}" for index in range(5)]


def test_the_way_back_gives_the_same_model(packed, tmp_path):
    model, file = packed
    import_bioimageio(file, tmp_path / "back.safetensors")
    back = load(tmp_path / "back.safetensors")
    assert back.card == model.card
    image = image_of(model, 30, 40)
    np.testing.assert_array_equal(back.predict(image), model.predict(image))


def changed(tmp_path, files, **contents):
    file = tmp_path / "changed.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**files, **contents}.items():
            if content is not None:
                archive.writestr(name, content)
    return file


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the package was run",))


def test_what_is_changed_or_foreign_is_refused_and_nothing_is_run(tmp_path, files, rdf):
    def with_weights(content):
        rdf["weights"]["pytorch_state_dict"]["sha256"] = hashlib.sha256(content).hexdigest()
        return changed(tmp_path, files, **{"weights.pt": content, "rdf.yaml": yaml.safe_dump(rdf)})

    def saved(value):
        file = io.BytesIO()
        torch.save(value, file)
        return file.getvalue()

    cases = [
        (changed(tmp_path, files, **{"weights.pt": b"x"}), "weights.pt is not the file that rdf.yaml describes"),
    ]
    for file, message in cases:
        with pytest.raises(ModelError, match=message):
            import_bioimageio(file, tmp_path / "out.safetensors")
    for content, message in (
        (pickle.dumps(Bomb()), "state dict of tensors alone"),
        (saved({"a": Bomb()}), "state dict of tensors alone"),
        (saved({"a": torch.zeros(1)}), "do not fit its model card"),
        (saved([1, 2]), "state dict of tensors alone"),
    ):
        with pytest.raises(ModelError, match=message):
            import_bioimageio(with_weights(content), tmp_path / "out.safetensors")
    for name, content, message in (
        ("rdf.yaml", None, "holds no rdf.yaml"),
        ("rdf.yaml", b"a: [", "is not valid YAML"),
        ("rdf.yaml", b"- 1", "is no package that rescrnet wrote"),
        ("rdf.yaml", b"!!python/object/apply:os.system ['true']", "is not valid YAML"),
    ):
        with pytest.raises(ModelError, match=message):
            import_bioimageio(changed(tmp_path, files, **{name: content}), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut"])
def test_what_is_no_archive_is_one_line(tmp_path, content):
    file = tmp_path / "a.zip"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as a package"):
        import_bioimageio(file, tmp_path / "out.safetensors")


def test_a_damaged_archive_is_one_line(packed, tmp_path):
    content = bytearray(packed[1].read_bytes())
    for place in range(100, len(content) - 3000, 5000):
        content[place] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.zip: "):
        import_bioimageio(tmp_path / "a.zip", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_model_that_exists_is_kept(packed, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        import_bioimageio(packed[1], tmp_path / "mine.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"license": "my own"}, r"--license 'my own': is not the SPDX name"),
        ({"license": ""}, r"--license '': is not the SPDX name"),
        ({"cite": ("a paper",)}, "--cite 'a paper': has neither a DOI nor an address"),
        ({"authors": ()}, "--author: is missing"),
        ({"authors": ("a/b",)}, "--author 'a/b': is no name"),
    ],
)
def test_what_a_package_cannot_say_is_refused(tmp_path, changes, message):
    publication = published(tmp_path, noise((20, 20)), **changes)
    with pytest.raises(UsageError, match=message):
        export(model_of(small()), "bioimageio", tmp_path / "a.zip", publication)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    ("sample", "message"),
    [(noise((20, 20, 3)), "has 3 channels, expected 1"), (noise((20, 20)).astype(np.int32), "pixels of type int32")],
)
def test_a_sample_of_another_kind_is_refused(tmp_path, sample, message):
    with pytest.raises(DataError, match=message):
        export(model_of(small()), "bioimageio", tmp_path / "a.zip", published(tmp_path, sample))


@pytest.mark.parametrize("version", ["0.10", "0.11"])
@pytest.mark.parametrize("preset", ["paper-em", "standard"])
def test_the_test_of_the_catalogue_passes_for_all_weights(packed, version, preset, tmp_path):
    if not os.environ.get("RESCRNET_EXCHANGE"):
        pytest.skip("`make exchange` runs this")
    program = Path(__file__).resolve().parents[2] / f".venv-bioimageio-{version}/bin/bioimageio"
    if not program.is_file():
        pytest.skip(f"there is no {program.parts[-3]}")
    package = packed[1]
    if preset == "standard":
        publication = published(tmp_path, noise((70, 90)))
        package = export(standard_model(tmp_path, trained=False), "bioimageio", tmp_path / "cells.zip", publication)
    done = subprocess.run([program, "test", package], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    for weights in ("onnx", "pytorch_state_dict", "torchscript"):
        assert f"Reproduce test outputs from test inputs ({weights})" in " ".join(done.stdout.split())
    assert "❌" not in done.stdout


def test_names_become_what_fields_allow():
    assert as_name("em <vnc> </script>") == "em -vnc- -script"
    assert as_name("é") == "Res-CR-Net"
    assert len(as_name("x" * 500)) == 64
    assert channel_names(["Cell wall", "outside"]) == ["cell_wall", "outside"]
    assert channel_names(["class", "outside"]) == ["class_0", "class_1"]
    assert channel_names(["a", "A"]) == ["class_0", "class_1"]
    assert as_license("mit") == "MIT"
    assert as_cited("Title, https://example.org/x.") == {
        "text": "Title, https://example.org/x.",
        "url": "https://example.org/x",
    }
