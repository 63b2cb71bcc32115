"""A model as one file for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rescrnet.atomic import write_atomically
from rescrnet.errors import OutputError, UsageError
from rescrnet.exchange.facts import DESCRIPTION, exportable, metadata_of
from rescrnet.exchange.publication import Publication
from rescrnet.model import SegmentationModel
from rescrnet.wording import as_text

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "bioimageio": ".zip", "web": ".html"}
"""The formats, and how the files of each end."""


def export(model: SegmentationModel, format: str, out: str | Path, publication: Publication | None = None) -> Path:
    """Write a model as one file that another program opens.

    ``onnx`` and ``torchscript`` take (N, C, H, W) float32 normalised to [0, 1] and give class probabilities
    (N, classes, H, W); ``bioimageio`` is a package with both and the weights, for Fiji, QuPath and ilastik; ``web`` is
    a page that segments images in a browser.

    Args:
        model: a Res-CR-Net, trained without ``--resize``.
        format: ``onnx``, ``torchscript``, ``bioimageio`` or ``web``.
        out: the file to write; it must not exist.
        publication: for ``bioimageio``.

    Raises:
        ModelError: the model cannot be expressed in other programs.
        OutputError: ``out`` exists or cannot be written.
        UsageError: the format is unknown, does not fit the suffix of ``out``, or lacks a library or a fact.
    """
    file = Path(out)
    check_target(format, file)
    content: bytes = _WRITERS[format](model, publication, as_text(file.stem))
    write_atomically(file, lambda partial: partial.write_bytes(content))
    return file


def check_target(format: str, file: Path) -> None:
    """Raise where a file cannot become that of a format, before anything is computed for it."""
    if format not in SUFFIXES:
        raise UsageError(f"--format {format}", "is unknown", f"expected {', '.join(SUFFIXES)}")
    if file.suffix.lower() != SUFFIXES[format]:
        raise UsageError(
            f"--out {file}", f"is no name for {format}", f"expected a file that ends in {SUFFIXES[format]}"
        )
    if file.exists():
        raise OutputError(file, "exists", "choose another name or remove it")


def _onnx(model: SegmentationModel, publication: Publication | None, name: str) -> bytes:
    from rescrnet.exchange.onnx_graph import require_onnx
    from rescrnet.exchange.onnx_network import onnx_bytes

    network = exportable(model)
    require_onnx()
    return onnx_bytes(network, model.card.intensity, metadata_of(model), DESCRIPTION)


def _torchscript(model: SegmentationModel, publication: Publication | None, name: str) -> bytes:
    from rescrnet.exchange.torchscript import torchscript_bytes

    return torchscript_bytes(exportable(model), model.card.intensity, metadata_of(model))


def _web(model: SegmentationModel, publication: Publication | None, name: str) -> bytes:
    from rescrnet.exchange.web import page

    return page(model, _onnx(model, publication, name), name).encode("utf-8")


def _bioimageio(model: SegmentationModel, publication: Publication | None, name: str) -> bytes:
    from rescrnet.exchange.bioimageio import package

    if publication is None:
        raise UsageError(
            "publication", "is missing", "a package names its authors, licence, citation and a sample image"
        )
    return package(model, publication, publication.name or name)


_WRITERS: dict[str, Callable[[SegmentationModel, Publication | None, str], bytes]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "bioimageio": _bioimageio,
    "web": _web,
}
