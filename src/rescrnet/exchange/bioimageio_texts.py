"""The words of a bioimage.io package: what its fields allow, made of what people write."""

from __future__ import annotations

import html
import keyword
import re
from collections.abc import Sequence

from rescrnet.errors import UsageError
from rescrnet.exchange.facts import exact_halo, exportable, tiling
from rescrnet.exchange.publication import Publication
from rescrnet.model import SegmentationModel, in_micrometres
from rescrnet.wording import channels

_NAME_LENGTHS = range(5, 65)
_LONGEST = 60  # characters of a class name in a text


def as_name(name: str) -> str:
    """A name with nothing in it but letters, digits and ``_+- ()``, of 5 to 64 characters."""
    allowed = re.sub(r"[^A-Za-z0-9_+\- ()]+", "-", name).strip("- ")[: _NAME_LENGTHS[-1]].strip("- ")
    return allowed if len(allowed) in _NAME_LENGTHS else f"Res-CR-Net {allowed}".strip()


def check_authors(names: Sequence[str]) -> None:
    """Raise :class:`UsageError` where a name cannot stand in a package, or there is none."""
    if not names:
        raise UsageError("--author", "is missing", "name at least one author")
    for name in names:
        if not name.strip() or re.search(r"[/\\\x00-\x1f]", name):
            raise UsageError(
                f"--author {name!r}", "is no name", "expected a name without slashes, such as 'Ada Lovelace'"
            )


def as_license(name: str) -> str:
    """The SPDX name of a licence as SPDX writes it, or :class:`UsageError`."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        known = canonicalize_license_expression(name)
    except InvalidLicenseExpression:
        known = None
    if known is None or re.search(r"\s|LicenseRef", known):
        raise UsageError(
            f"--license {name!r}", "is not the SPDX name of a licence", "expected one such as CC-BY-4.0, CC0-1.0 or MIT"
        )
    return str(known)


def as_cited(text: str) -> dict[str, str]:
    """A text, and the DOI or the address that it must hold."""
    if found := re.search(r"\b10\.\d{4,9}/[^\s\"<>]+", text):
        return {"text": text, "doi": found[0].rstrip(".,;)")}
    if found := re.search(r"https?://[^\s\"<>]+", text):
        return {"text": text, "url": found[0].rstrip(".,;)")}
    raise UsageError(
        f"--cite {text!r}", "has neither a DOI nor an address", "expected for example 'Title, 10.1000/182'"
    )


def channel_names(classes: Sequence[str]) -> list[str]:
    """Identifiers: the classes themselves where all of them are some, else ``class_0``, ``class_1``, …"""
    plain = [name.strip().lower().replace(" ", "_") for name in classes]
    good = all(re.fullmatch(r"[a-z][a-z0-9_]{0,31}", name) and not keyword.iskeyword(name) for name in plain)
    return plain if good and len(set(plain)) == len(plain) else [f"class_{index}" for index in range(len(classes))]


def description(model: SegmentationModel) -> str:
    """A sentence for the catalogue."""
    kind = channels(model.card.in_channels)
    return f"Segments {kind} micrographs into {len(model.classes)} classes; Res-CR-Net, trained with rescrnet."


def readme(model: SegmentationModel, name: str, license_: str, dtype: str, publication: Publication) -> str:
    """The documentation of the package, Markdown."""
    card, network = model.card, exportable(model)
    rows = "\n".join(
        f"| {index} | {_shown(entry.name)} | `{entry.color}` |" for index, entry in enumerate(card.classes)
    )
    trained = card.trained
    scored = (
        f"The best epoch reached a Tanimoto index of {trained.val_tanimoto:.3f} on the validation images."
        if trained and trained.val_tanimoto is not None
        else "No score is known."
    )
    pixel = in_micrometres(card.pixel_size) if card.pixel_size else "unknown"
    smallest = "The smallest side that the package declares, 128, is for programs that test it: no good size of a tile."
    tiles = tiling(network) if exact_halo(network) is not None else f"{tiling(network)} {smallest}"
    return f"""# {_shown(name)}

Semantic segmentation with Res-CR-Net: {network.config.n} convolutional residual blocks, {network.config.m} ConvLSTM
residual blocks, full resolution throughout. Written by rescrnet.

- Images: {channels(card.in_channels)}, {dtype} as the file holds them. The package divides integers by the largest
  value of that type; the scaling of the training images is inside the network. For images of another type export it
  again with a sample of that type.
- Pixel size of the training images: {pixel}.
- Result: the probability of each class, from 0 to 1; the largest is the class.
- Licence: {license_}. By {_shown(", ".join(publication.authors), 500)}.

| index | class | colour |
| --- | --- | --- |
{rows}

## Tiles

{tiles}

## Validation

{scored} Look at results on labelled images of your own: `rescrnet evaluate` scores them. Whoever runs the test of this
package compares 512×512 pixels with what rescrnet gives, to 0.00002 in probability.

## Files

`weights.pt` and `network.py` for PyTorch, `model_torchscript.pt` for QuPath and Fiji, `model.onnx` for onnxruntime. All
give the same probabilities. `rescrnet import-bioimageio` makes a model of it again.
"""


def _shown(text: str, longest: int = _LONGEST) -> str:
    """A text of people in one line of Markdown: no markup of any kind, and not longer than fits."""
    line = " ".join(text.split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    escaped = html.escape(line, quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~:-])", r"\\\1", escaped)
