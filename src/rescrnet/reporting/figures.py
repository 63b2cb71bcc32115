"""The pictures of the report: images as data URIs, curves as SVG text, so that a page can hold them itself."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from rescrnet.classes import IGNORE
from rescrnet.datasets.dataset import Sample
from rescrnet.display import colourise, hex_to_rgb, to_display
from rescrnet.training.folder import Row
from rescrnet.wording import count

LARGEST = 900
"""Longest side of a picture, pixels."""
UNLABELLED_COLOUR = "#ffffff"
"""The colour of unlabelled pixels."""
_LOSSLESS = 512 * 512  # larger micrographs are stored as JPEG, a fifth of the size of PNG
_SMALL = 256  # pictures up to this wide are shown at least at their own size, so their pixels may stay sharp

# Matplotlib knows no style sheets: these colours stand for those that the page sets for light, dark and print.
INK, RULE, TRAINING, VALIDATION = "#010101", "#010102", "#010103", "#010104"
_STYLED = {
    INK: "currentColor",
    RULE: "var(--rule)",
    TRAINING: "var(--training)",
    VALIDATION: "var(--validation)",
}


@dataclass(frozen=True)
class Picture:
    """A picture in the page.

    Attributes:
        label: what it is, in a word or two.
        uri: the whole file as a ``data:`` URI.
        width: pixels.
        height: pixels.
    """

    label: str
    uri: str
    width: int
    height: int

    @property
    def small(self) -> bool:
        """Whether the page shows it larger than it is."""
        return self.width <= _SMALL


@dataclass(frozen=True)
class Plot:
    """A quantity over the epochs of a run.

    Attributes:
        title: for readers who cannot see it.
        quantity: at the vertical axis.
        columns: of the history, the validation's last.
        legend: the corner that the curves leave free.
    """

    title: str
    quantity: str
    columns: tuple[str, ...]
    legend: Literal["upper right", "lower right"]


PLOTS = (
    Plot("Training and validation loss", "loss", ("loss", "val_loss"), "upper right"),
    Plot("Validation Tanimoto", "Tanimoto coefficient", ("val_tanimoto",), "lower right"),
)


def pictures(
    sample: Sample, predicted: NDArray[np.uint8], colours: Sequence[str], longest: int = LARGEST
) -> list[Picture]:
    """The row of an image, as in figures 3 and 4 of the paper: micrograph, mask, prediction, and the differences.

    Args:
        sample: the image and its mask.
        predicted: class indices YX.
        colours: ``"#rrggbb"`` of every class.
        longest: images with a longer side are scaled down to this, pixels.
    """
    image = shrunk(Image.fromarray(to_display(sample.image)), longest, Image.Resampling.BOX)
    truth, prediction = (
        np.asarray(shrunk(Image.fromarray(mask), longest, Image.Resampling.NEAREST))
        for mask in (sample.mask, predicted)
    )
    return [
        picture("Image", image, "PNG" if image.width * image.height <= _LOSSLESS else "JPEG"),
        picture("True mask", _palette(truth, colours)),
        picture("Prediction", _palette(prediction, colours)),
        picture("Differences", Image.fromarray(differences(np.asarray(image), truth, prediction, colours))),
    ]


def differences(
    image: NDArray[np.uint8], truth: NDArray[np.uint8], predicted: NDArray[np.uint8], colours: Sequence[str]
) -> NDArray[np.uint8]:
    """Where a prediction is wrong: RGB uint8 YXC.

    Wrong pixels have the colour of the class that was predicted; the others, the unlabelled among them, show the image
    (RGB uint8 YXC), pale.
    """
    grey = np.asarray(Image.fromarray(image).convert("L"))
    pale = 188 + grey // 20 * 5  # a dozen light greys: class colours stand out, and PNG stays small
    wrong = ((truth != predicted) & (truth != IGNORE))[..., None]
    return np.where(wrong, colourise(predicted, colours), pale[..., None]).astype(np.uint8)


def shrunk(image: Image.Image, longest: int, resampling: Image.Resampling) -> Image.Image:
    """The image with its longest side at most ``longest`` pixels."""
    scale = longest / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), resampling)


def _palette(mask: NDArray[np.uint8], colours: Sequence[str]) -> Image.Image:
    """Class indices in the colours of the classes, and of unlabelled pixels."""
    image = Image.fromarray(mask)
    values = [value for colour in colours for value in hex_to_rgb(colour)]
    if (mask == IGNORE).any():
        values += [*hex_to_rgb(UNLABELLED_COLOUR)] * (IGNORE + 1 - len(colours))
    image.putpalette(values)
    return image


def picture(label: str, image: Image.Image, form: str = "PNG") -> Picture:
    """The image as PNG or JPEG within the page."""
    file = io.BytesIO()
    image.save(file, form, quality=88) if form == "JPEG" else image.save(file, form, optimize=True)
    content = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(label, f"data:image/{form.lower()};base64,{content}", image.width, image.height)


def curves(history: Sequence[Row], best: int, plot: Plot) -> str:
    """The columns of ``plot`` versus epochs as SVG, the epoch ``best`` marked on the last of them (paper, figure 5)."""
    figure, axes = _axes(plot.quantity)
    for column in plot.columns:
        _curve(axes, history, column)
    _mark(axes, history, plot.columns[-1], best)
    axes.legend(frameon=False, labelcolor=INK, loc=plot.legend)
    first, last = history[0][plot.columns[-1]], history[-1][plot.columns[-1]]
    epochs = count(len(history), "epoch")
    return svg(figure, f"{plot.title} over {epochs}; validation from {first:.3f} to {last:.3f}")


def _axes(quantity: str) -> tuple[Figure, Axes]:
    figure, axes = plain_axes("epoch", quantity)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    return figure, axes


def plain_axes(across: str, up: str) -> tuple[Figure, Axes]:
    """A figure in the colours of the page, with what its axes show."""
    figure = Figure(figsize=(4.6, 2.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.tick_params(color=RULE, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    return figure, axes


def _curve(axes: Axes, history: Sequence[Row], column: str) -> None:
    style: dict[str, Any] = {"label": "training", "color": TRAINING, "linestyle": "--"}
    if column.startswith("val_"):
        style = {"label": "validation", "color": VALIDATION}
    marker = "o" if len(history) <= 20 else None
    epochs, values = [row["epoch"] for row in history], [row[column] for row in history]
    axes.plot(epochs, values, linewidth=1.6, marker=marker, markersize=2.5, **style)


def _mark(axes: Axes, history: Sequence[Row], column: str, best: int) -> None:
    values = [row[column] for row in history if row["epoch"] == best]
    axes.plot(
        [best] * len(values),
        values,
        label=f"best, epoch {best}",
        linestyle="none",
        marker="o",
        markersize=8,
        color=INK,
        markerfacecolor="none",
    )


def svg(figure: Figure, description: str) -> str:
    """The figure as an ``<svg>`` element in the page's own colours and type, free of links and of shared names."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description, "font.sans-serif": "DejaVu Sans"}):
        unsaid = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=unsaid)
    text = file.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for colour, styled in _STYLED.items():
        text = text.replace(colour, styled)
    view = re.search(r'viewBox="[^"]*"', text)
    inside = text[text.index(">") + 1 :]
    return f'<svg role="img" aria-label="{description}" {view[0] if view else ""}>{inside}'
