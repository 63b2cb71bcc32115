"""The page that shows what to label next."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from PIL import Image, ImageDraw

from rescrnet.inference.rank import REGION
from rescrnet.inference.suggest import Chosen, Suggested
from rescrnet.reporting.figures import Picture, picture
from rescrnet.reporting.render import render
from rescrnet.wording import as_text

_FRAME = "#ff2d87"


def write_page(found: Suggested, path: Path) -> None:
    """Write one file that needs no other: the images, and frames around the regions, of both choices."""
    choices = [
        (title, text, [(found.names[one.image], one, _thumbnail(found, one)) for one in found.of(choice, kind)])
        for title, text, choice, kind in (
            ("Images", "uncertain, and unlike those before them", "uncertain", "image"),
            ("Regions", "in a frame of 64 pixels, uncertain and unlike those before them", "uncertain", "region"),
            ("Images at random", "likelier the more foreground they have", "random", "image"),
            ("Regions at random", "likelier the more foreground they have", "random", "region"),
        )
    ]
    html = render(
        "suggest.html.jinja", first=found.first, images=len(found.names), choices=choices, written=datetime.now(UTC)
    )
    path.write_text(as_text(html), encoding="utf-8")


def _thumbnail(found: Suggested, one: Chosen) -> Picture:
    image = Image.fromarray(found.shown[one.image])
    (width, height), scale = image.size, 1 / found.steps[one.image]
    if one.kind == "region":
        right, lower = min(width, (one.x + REGION) * scale) - 1, min(height, (one.y + REGION) * scale) - 1
        left, upper = min(one.x * scale, right), min(one.y * scale, lower)
        ImageDraw.Draw(image).rectangle((left, upper, right, lower), outline=_FRAME, width=3)
    return picture(f"{one.rank}. {found.names[one.image]}", image, "JPEG")
