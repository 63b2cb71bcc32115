"""Pictures of objects: their outlines and numbers over the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rescrnet.display import hex_to_rgb, to_display

_MOST_NUMBERS = 400  # in a picture; more are not legible


def outlined(
    image: NDArray[np.float32], labels: NDArray[np.integer[Any]], colour: str, *, scale: int = 1, numbers: bool = True
) -> NDArray[np.uint8]:
    """The outlines and numbers of objects over an image.

    Args:
        image: YXC float.
        labels: YX, 0 where there is no object.
        colour: ``"#rrggbb"``.
        scale: the picture is so many times as large as the image.
        numbers: write those of the objects, unless there are too many.

    Returns:
        RGB uint8 YXC.
    """
    picture = to_display(image).repeat(scale, 0).repeat(scale, 1)
    large = labels.repeat(scale, 0).repeat(scale, 1)
    picture[edges_of(large)] = hex_to_rgb(colour)
    present = np.unique(labels)
    present = present[present > 0]
    if not numbers or len(present) > _MOST_NUMBERS:
        return picture
    drawn = Image.fromarray(picture)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(size=max(8, 5 * scale))
    rows, columns = np.nonzero(labels)
    found = labels[rows, columns].astype(np.int64)
    count = np.bincount(found)[present]
    for number, y, x in zip(
        present.tolist(),
        (np.bincount(found, rows)[present] / count + 0.5) * scale,
        (np.bincount(found, columns)[present] / count + 0.5) * scale,
        strict=True,
    ):
        pen.text((x, y), str(number), "#ffffff", font, anchor="mm", stroke_width=1, stroke_fill="#000000")
    return np.asarray(drawn)


def edges_of(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """The pixels of objects that touch something else at their sides, YX."""
    edge = np.zeros(labels.shape, bool)
    below, beside = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= below
    edge[:-1] |= below
    edge[:, 1:] |= beside
    edge[:, :-1] |= beside
    return edge & (labels > 0)
