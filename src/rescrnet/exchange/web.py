"""A model as a page that segments images in a browser: one HTML file, which asks no network for anything."""

from __future__ import annotations

import base64
import html
import json
import re
from importlib import resources

from rescrnet.errors import ModelError, UsageError
from rescrnet.exchange.facts import facts_of
from rescrnet.model import SegmentationModel

TEMPLATE = "web_template.html"  # `make web` builds it, and wheels hold it
_FACTS, _MODEL, _TITLE = "@@FACTS@@", "@@MODEL@@", "@@TITLE@@"


def page(model: SegmentationModel, onnx: bytes, title: str) -> str:
    """The page.

    Args:
        model: says what its classes are.
        onnx: the model as ONNX.
        title: of the page.

    Raises:
        UsageError: this installation lacks the template.
    """
    facts = {**facts_of(model), "title": title}
    # Within <script> no text can end the block but "</"; JSON may write each "<" as an escape.
    text = json.dumps(facts).replace("<", "\\u003c")
    filled = {_TITLE: html.escape(title), _FACTS: text, _MODEL: base64.b64encode(onnx).decode("ascii")}
    content = template()
    places = re.findall("|".join(filled), content)
    if set(places) != set(filled):
        raise ModelError(
            TEMPLATE, "is not the page that this version fills", "run `make web`, or install rescrnet again"
        )
    return re.sub("|".join(filled), lambda place: filled[place[0]], content)  # at once: a title may look like a place


def template() -> str:
    """The page without a model."""
    file = resources.files("rescrnet.exchange") / TEMPLATE
    if not file.is_file():
        raise UsageError(
            "--format web", "this installation has no page to put a model into", "run `make web`, or install a wheel"
        )
    return file.read_text(encoding="utf-8")
