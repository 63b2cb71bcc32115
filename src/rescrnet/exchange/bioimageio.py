"""A model as a bioimage.io package: weights with the code that reads them, TorchScript, ONNX, a description, a test."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from rescrnet.display import overlay, to_display
from rescrnet.errors import DataError
from rescrnet.exchange import standalone
from rescrnet.exchange.bioimageio_texts import (
    as_cited,
    as_license,
    as_name,
    channel_names,
    check_authors,
    description,
    readme,
)
from rescrnet.exchange.facts import DESCRIPTION, exportable, facts_of, metadata_of
from rescrnet.exchange.onnx_graph import OPSET, require_onnx
from rescrnet.exchange.onnx_network import onnx_bytes
from rescrnet.exchange.publication import Publication
from rescrnet.exchange.torchscript import settings_of, torchscript_bytes, weights_of
from rescrnet.images.whole import read_pixels
from rescrnet.intensity import match_channels, normalise
from rescrnet.model import ModelCard, SegmentationModel, TrainedOn

FORMAT_VERSION = "0.5.4"  # the newest that both bioimageio.core 0.10 (ilastik) and 0.11 read
SIDE = 512  # of the test image
SMALLEST = 128  # side of an image; the network takes any
TOLERANCE = 2e-5  # of the probabilities, in absolute numbers
WEIGHTS, CODE, SCRIPT, ONNX = "weights.pt", "network.py", "model_torchscript.pt", "model.onnx"
RDF = "rdf.yaml"
_COVER = (640, 320)  # the catalogue asks for 2:1 and less than 500 kB


class _Plain(yaml.SafeDumper):
    """YAML without references, which not every reader follows."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def package(model: SegmentationModel, publication: Publication, name: str) -> bytes:
    """The package, a zip archive. See :func:`rescrnet.exchange.export.export`.

    The names of the training images are not in it.
    """
    exportable(model)
    require_onnx()
    check_authors(publication.authors)
    license_, cited = as_license(publication.license), [as_cited(text) for text in publication.cite]
    stored, image = _sample(model, publication.sample)
    files = {**_weights(model), **_test(model, stored)}
    files["cover.jpg"] = _cover(model, image)
    files["README.md"] = readme(model, name, license_, str(stored.dtype), publication).encode("utf-8")
    rdf = {
        "format_version": FORMAT_VERSION,
        "type": "model",
        "name": as_name(name),
        "description": description(model),
        "authors": [{"name": author} for author in publication.authors],
        "cite": cited,
        "license": license_,
        "documentation": "README.md",
        "covers": ["cover.jpg"],
        "tags": ["semantic-segmentation", "res-cr-net", "2d", "pytorch"],
        "inputs": [_input(model, stored.dtype, files)],
        "outputs": [_output(model, files)],
        "weights": _weights_entries(model, files),
        "config": _config(model),
    }
    files[RDF] = yaml.dump(rdf, Dumper=_Plain, sort_keys=False, width=1000).encode("ascii")
    return _zipped(files)


def _sample(model: SegmentationModel, path: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The sample as stored, YXC with the model's channels, and normalised."""
    stored = read_pixels(path).colours
    if stored.dtype not in (np.uint8, np.uint16, np.float32):
        raise DataError(path, f"has pixels of type {stored.dtype}", "expected 8 or 16 bit, or 32-bit float; convert it")
    image = match_channels(normalise(stored), model.card.in_channels, path)
    return stored[..., : image.shape[-1]], image


def _weights(model: SegmentationModel) -> dict[str, bytes]:
    network, intensity = exportable(model), model.card.intensity
    state = io.BytesIO()
    torch.save(weights_of(network, intensity), state)
    return {
        WEIGHTS: state.getvalue(),
        CODE: Path(standalone.__file__).read_bytes(),
        SCRIPT: torchscript_bytes(network, intensity, metadata_of(model)),
        ONNX: onnx_bytes(network, intensity, metadata_of(model), DESCRIPTION),
    }


def _test(model: SegmentationModel, stored: NDArray[Any]) -> dict[str, bytes]:
    """The middle of the sample, mirrored where it is smaller than that, and what we make of it."""
    for axis in (0, 1):
        cut = max(0, stored.shape[axis] - SIDE) // 2
        stored = np.take(stored, range(cut, min(cut + SIDE, stored.shape[axis])), axis)
    missing = [(0, SIDE - length) for length in stored.shape[:2]]
    stored = np.pad(stored, [*missing, (0, 0)], mode="symmetric")
    return {
        "test_input.npy": _npy(stored.transpose(2, 0, 1)[None]),
        "test_output.npy": _npy(model.predict_normalised(normalise(stored))[None]),
    }


def _cover(model: SegmentationModel, image: NDArray[np.float32]) -> bytes:
    """The middle of the sample, and beside it its classes."""
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = image[top : top + side, left : left + side]
    mask = model.predict_normalised(square).argmax(0).astype(np.uint8)
    both = np.concatenate([to_display(square), overlay(square, mask, model.colours)], axis=1)
    file = io.BytesIO()
    Image.fromarray(both).resize(_COVER, Image.Resampling.BILINEAR).save(file, "JPEG", quality=90)
    return file.getvalue()


def _input(model: SegmentationModel, dtype: np.dtype[Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The image tensor; integers are normalised by their type, all other scaling is in the network."""
    channels = [f"channel_{index}" for index in range(model.card.in_channels)]
    as_float: dict[str, Any] = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
    scaling = [as_float]
    if dtype.kind == "u":
        # Float again, for bioimageio.core would end with the type of the stored image.
        scaling += [{"id": "scale_linear", "kwargs": {"gain": 1 / np.iinfo(dtype).max, "offset": 0.0}}, as_float]
    space = [
        {"type": "space", "id": letter, "size": {"min": SMALLEST, "step": 1}, **_step(model, index)}
        for index, letter in enumerate("yx")
    ]
    return {
        "id": "image",
        "description": "Micrograph as its file holds it.",
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": channels}, *space],
        "test_tensor": _file("test_input.npy", files),
        "data": {"type": str(dtype)},
        "preprocessing": scaling,
    }


def _output(model: SegmentationModel, files: Mapping[str, bytes]) -> dict[str, Any]:
    space = [
        {"type": "space", "id": letter, "size": {"tensor_id": "image", "axis_id": letter}, **_step(model, index)}
        for index, letter in enumerate("yx")
    ]
    return {
        "id": "probabilities",
        "description": "Probability of each class; the largest is the class of a pixel.",
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": channel_names(model.classes)}, *space],
        "test_tensor": _file("test_output.npy", files),
        "data": {"type": "float32", "range": [0.0, 1.0]},
    }


def _step(model: SegmentationModel, axis: int) -> dict[str, Any]:
    return {"unit": "micrometer", "scale": model.card.pixel_size[axis]} if model.card.pixel_size else {}


def _weights_entries(model: SegmentationModel, files: Mapping[str, bytes]) -> dict[str, Any]:
    torch_version = torch.__version__.partition("+")[0]
    architecture = {**_file(CODE, files), "callable": "ResCRNet", "kwargs": settings_of(exportable(model))}
    return {
        "pytorch_state_dict": {
            **_file(WEIGHTS, files),
            "architecture": architecture,
            "pytorch_version": torch_version,
        },
        "torchscript": {
            **_file(SCRIPT, files),
            "parent": "pytorch_state_dict",
            "pytorch_version": torch_version,
            "comment": "Scripted; loads in PyTorch 1.13 and later.",
        },
        "onnx": {**_file(ONNX, files), "parent": "pytorch_state_dict", "opset_version": OPSET},
    }


def _config(model: SegmentationModel) -> dict[str, Any]:
    tolerance = {"relative_tolerance": 0.0, "absolute_tolerance": TOLERANCE, "mismatched_elements_per_million": 0}
    return {
        "bioimageio": {"reproducibility_tolerance": [tolerance]},
        "rescrnet": {
            "card": json.dumps(_published(model.card).model_dump(mode="json")),
            "facts": json.dumps(facts_of(model)),
        },
    }


def _published(card: ModelCard) -> ModelCard:
    """The card without the names of training images, which may be those of patients."""
    if not isinstance(card.provenance, TrainedOn):
        return card
    nameless = card.provenance.model_copy(update={"train": [], "val": [], "dataset": "not published"})
    return card.model_copy(update={"provenance": nameless})


def _file(name: str, files: Mapping[str, bytes]) -> dict[str, str]:
    return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array))
    return file.getvalue()


def _zipped(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # of one date: same model, same bytes
    return archive.getvalue()
