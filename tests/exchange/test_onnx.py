"""A model as ONNX gives our own probabilities, for images of any size and number."""

import json

import numpy as np
import pytest

from rescrnet.exchange.export import export
from rescrnet.no_data import NO_DATA
from tests.exchange.models import HOSTILE, image_of, large_case, model_of, nchw, small

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
NETWORKS = {
    "chain": {},
    "dense": {"architecture": "dense", "n": 4},
    "very dense": {"architecture": "very-dense", "n": 4},
    "sum": {"merge": "sum"},
    "no ConvLSTM": {"m": 0},
    "two ConvLSTMs of two filters": {"m": 2, "lstm_filters": 2},
    "RGB, even number of classes": {"channels": 3, "classes": 4},
    "squares of pixels": {"channels": 3, "space_to_depth": 2},
    "statistics of the image": {"image_statistics": True, "space_to_depth": 2, "merge": "sum"},
    "half of them": {"image_statistics": 0.5, "space_to_depth": 2},
    "all in the stem": {"image_statistics": 0.5, "stem_statistics": 1, "space_to_depth": 2},
    "none in the stem": {"image_statistics": 0.5, "stem_statistics": 0, "n": 3},
    "blocks of their own": {"filters": [2, 4], "kernel_sizes": [[3], [5, 7]], "dilations": [[2], [1, 3]]},
}


def session(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=NETWORKS)
def exported(request, tmp_path_factory):
    model = model_of(small(**NETWORKS[request.param]))
    file = export(model, "onnx", tmp_path_factory.mktemp("onnx") / "model.onnx")
    return model, session(file)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (23, 1), (21, 34), (64, 48)], ids=str)
def test_probabilities_are_ours(exported, size):
    model, running = exported
    image = image_of(model, *size)
    (found,) = running.run(None, {"image": nchw(image)})
    assert found.dtype == np.float32
    assert found.sum(1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(found[0], model.predict(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [1, 2])
def test_a_large_image_has_its_statistics_from_windows_as_ours_has(side, tmp_path):
    model, image, expected = large_case(side)
    running = session(export(model, "onnx", tmp_path / "model.onnx"))
    other = np.ascontiguousarray(image[::-1, ::-1] * 0.5)
    found = running.run(None, {"image": np.concatenate([nchw(image), nchw(other)])})[0]
    np.testing.assert_allclose(found[0], expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(found[1], running.run(None, {"image": nchw(other)})[0][0], atol=1e-5, rtol=0)


def test_images_of_a_batch_do_not_know_each_other(exported):
    model, running = exported
    images = [image_of(model, 12, 15, seed) for seed in range(3)]
    (found,) = running.run(None, {"image": np.concatenate([nchw(image) for image in images])})
    for image, probabilities in zip(images, found, strict=True):
        np.testing.assert_allclose(probabilities, model.predict(image), atol=1e-5, rtol=0)


def test_pixels_without_data_are_zero_to_the_network(exported):
    model, running = exported
    image = image_of(model, 12, 15)
    image[3:5, 6:9] = NO_DATA
    (found,) = running.run(None, {"image": nchw(image)})
    np.testing.assert_allclose(found[0], model.predict_normalised(image), atol=1e-5, rtol=0)


def test_the_file_says_what_it_holds(tmp_path):
    model = model_of(small(classes=5), pixel_size=(0.25, 0.125))
    file = export(model, "onnx", tmp_path / "model.onnx")
    read = onnx.load(file)
    assert (read.ir_version, [opset.version for opset in read.opset_import]) == (8, [17])
    facts = {entry.key: entry.value for entry in read.metadata_props}
    classes = json.loads(facts["classes"])
    assert [entry["name"] for entry in classes] == list(HOSTILE[:5])
    assert [entry["color"] for entry in classes] == model.colours
    assert json.loads(facts["pixel_size_um"]) == [0.25, 0.125]
    assert "255" in facts["normalisation"]
    assert json.loads(facts["tiling"])["exact"] is False
    assert session(file).get_modelmeta().custom_metadata_map == facts


def test_a_network_without_convlstm_says_with_what_halo_its_tiles_are_exact(tmp_path):
    model = model_of(small(m=0, n=2))
    file = export(model, "onnx", tmp_path / "model.onnx")
    tiling = json.loads(session(file).get_modelmeta().custom_metadata_map["tiling"])
    assert tiling["exact"]
    halo = tiling["halo"]
    image = image_of(model, 2 * halo + 40, 50)
    whole = model.predict(image)
    (tile,) = session(file).run(None, {"image": nchw(image[20 : 20 + 2 * halo + 5])})
    np.testing.assert_allclose(tile[0][:, halo : halo + 5], whole[:, 20 + halo : 25 + halo], atol=1e-6, rtol=0)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = model_of(small())
    first, second = (export(model, "onnx", tmp_path / f"{name}.onnx") for name in "ab")
    assert first.read_bytes() == second.read_bytes()
