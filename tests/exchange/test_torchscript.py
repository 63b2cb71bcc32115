"""A model as TorchScript, and as the one file of plain PyTorch that it is scripted from."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rescrnet.exchange import standalone
from rescrnet.exchange.export import export
from rescrnet.no_data import NO_DATA
from tests.exchange.models import image_of, large_case, model_of, nchw, small
from tests.exchange.test_onnx import NETWORKS

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


@pytest.fixture(scope="module", params=NETWORKS)
def exported(request, tmp_path_factory):
    model = model_of(small(**NETWORKS[request.param]))
    file = export(model, "torchscript", tmp_path_factory.mktemp("torchscript") / "model.pt")
    return model, torch.jit.load(file)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (23, 1), (21, 34)], ids=str)
def test_probabilities_are_ours(exported, size):
    model, scripted = exported
    image = image_of(model, *size)
    found = scripted(torch.from_numpy(nchw(image)))
    assert not found.requires_grad
    np.testing.assert_allclose(found[0], model.predict(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [1, 2])
def test_a_large_image_has_its_statistics_from_windows_as_ours_has(side, tmp_path):
    model, image, expected = large_case(side)
    scripted = torch.jit.load(export(model, "torchscript", tmp_path / "model.pt"))
    other = np.ascontiguousarray(image[::-1, ::-1] * 0.5)
    found = scripted(torch.from_numpy(np.concatenate([nchw(image), nchw(other)])))
    np.testing.assert_allclose(found[0], expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(found[1], scripted(torch.from_numpy(nchw(other)))[0], atol=1e-5, rtol=0)


def test_pixels_without_data_are_zero_to_the_network(exported):
    model, scripted = exported
    image = image_of(model, 12, 15)
    image[3:5, 6:9] = NO_DATA
    found = scripted(torch.from_numpy(nchw(image)))[0]
    np.testing.assert_allclose(found, model.predict_normalised(image), atol=1e-5, rtol=0)


def test_the_file_says_what_it_holds(tmp_path):
    model = model_of(small(classes=5))
    texts = dict.fromkeys(("classes", "normalisation", "pixel_size_um"), "")
    torch.jit.load(export(model, "torchscript", tmp_path / "model.pt"), _extra_files=texts)
    assert [entry["name"] for entry in json.loads(texts["classes"])] == model.classes
    assert json.loads(texts["pixel_size_um"]) == [0.2, 0.1]
    assert b"255" in texts["normalisation"]


def test_the_plain_network_needs_nothing_but_pytorch():
    tree = ast.parse(Path(standalone.__file__).read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} == {"torch", "typing"}
    assert standalone.NO_DATA == NO_DATA
