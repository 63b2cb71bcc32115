"""A bioimage.io package that this program wrote, as a model again. Nothing that it holds is run."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from rescrnet.errors import ModelError, OutputError
from rescrnet.exchange.bioimageio import RDF
from rescrnet.model import ModelCard, SegmentationModel
from rescrnet.wording import one_line

_LARGEST = 500_000_000  # bytes of a file in it; ours have less than a million
_COPY = "the package is damaged, or was changed; copy it again"


def import_bioimageio(package: str | Path, out: str | Path) -> SegmentationModel:
    """Turn a bioimage.io package of this program into a model file.

    The state dict alone is read, as tensors and nothing else; the code in the package is left where it is.

    Args:
        package: the ``.zip``.
        out: the model file to write; it must not exist.

    Raises:
        ModelError: it is missing, damaged, changed, or a package of another program.
        OutputError: ``out`` exists or cannot be written.
    """
    file, target = Path(package), Path(out)
    if target.exists():
        raise OutputError(target, "exists", "choose another name or remove it")
    try:
        with zipfile.ZipFile(file) as archive:
            model = _read(file, archive)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise ModelError(file, f"cannot be read as a package ({reason})", "expected a .zip that export wrote") from None
    model.save(target)
    return model


def _read(file: Path, archive: zipfile.ZipFile) -> SegmentationModel:
    try:
        rdf = yaml.safe_load(_content(file, archive, RDF))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(file, f"{RDF} is not valid YAML ({one_line(error)})", _COPY) from None
    card_text = _at(rdf, "config", "rescrnet", "card")
    entry = _at(rdf, "weights", "pytorch_state_dict")
    if not isinstance(card_text, str) or not isinstance(entry, dict):
        raise ModelError(
            file, "is no package that rescrnet wrote (it has no model card)", "expected one that export wrote"
        )
    try:
        model = SegmentationModel.untrained(ModelCard.model_validate_json(card_text))
    except ValidationError as error:
        raise ModelError(file, f"its model card is not valid ({str(error).splitlines()[0]})", _COPY) from None
    content = _content(file, archive, str(entry.get("source")))
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise ModelError(file, f"{entry.get('source')} is not the file that {RDF} describes", _COPY)
    _fill(file, model, _tensors(file, content))
    return model


def _fill(file: Path, model: SegmentationModel, weights: dict[str, Tensor]) -> None:
    """Copy the weights into the model; the intensity scaling beside them must be the card's."""
    scaling = model.card.intensity
    given = {"offset": torch.tensor(scaling.offset), "scale": torch.tensor(scaling.scale)}
    expected = {**given, **model.network.state_dict()}
    if {name: tensor.shape for name, tensor in weights.items()} != {name: t.shape for name, t in expected.items()}:
        raise ModelError(file, "its weights do not fit its model card", _COPY)
    if not all(torch.equal(weights[name], tensor) for name, tensor in given.items()):
        raise ModelError(file, "its intensity scaling is not that of its model card", _COPY)
    model.network.load_state_dict({name: tensor for name, tensor in weights.items() if name not in given})


def _tensors(file: Path, content: bytes) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # of damaged bytes the reader of pickles raises nearly anything
        raise ModelError(file, "its weights are not a PyTorch state dict of tensors alone", _COPY) from None
    if not isinstance(weights, dict) or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ModelError(file, "its weights are not a PyTorch state dict of tensors alone", _COPY)
    return weights


def _content(file: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise ModelError(file, f"holds no {name}", "expected a package that export wrote") from None
    if entry.file_size > _LARGEST:
        raise ModelError(
            file, f"{name} would be {entry.file_size / 1e9:.1f} GB", "expected a package that export wrote"
        )
    return archive.read(entry)


def _at(values: Any, *keys: str) -> Any:
    """The value under nested keys, or none."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values
