"""What the tiles of other programs do to a model: agreement with the exact prediction of the whole image, *emulated*.

    python -m benchmarks.hosts MODEL IMAGE…

The programs themselves are not run. Each emulator cuts as its program documents it: QuPath tiles of 512 pixels with a
margin that it throws away; deepImageJ the whole image up to 50 million pixels; ilastik blocks of 512, reflected at the
edge of the image.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rescrnet.exchange.facts import exact_halo, exportable
from rescrnet.images.whole import read_image
from rescrnet.model import SegmentationModel, load

SIDE = 512
Floats = NDArray[np.float32]


def tiled(model: SegmentationModel, image: Floats, side: int, margin: int, mode: str) -> Floats:
    """Probabilities (classes, Y, X) of tiles of ``side`` pixels, each seen with a ``margin`` that is thrown away."""
    height, width = image.shape[:2]
    step = side - 2 * margin
    beyond = [(margin, margin + -length % step) for length in (height, width)]
    padded = np.pad(image, [*beyond, (0, 0)], mode=mode)  # type: ignore[call-overload]
    result = np.zeros((len(model.classes), *(length - 2 * margin for length in padded.shape[:2])), np.float32)
    for top in range(0, result.shape[1], step):
        for left in range(0, result.shape[2], step):
            found = model.predict_normalised(padded[top : top + side, left : left + side])
            kept = found[:, margin : margin + step, margin : margin + step]
            result[:, top : top + step, left : left + step] = kept
    return result[:, :height, :width]


def exactly_tiled(model: SegmentationModel, image: Floats, side: int, halo: int) -> Floats:
    """Probabilities of tiles that see ``halo`` pixels to each side, but nothing beyond the image."""
    height, width = image.shape[:2]
    result = np.zeros((len(model.classes), height, width), np.float32)
    for top in range(0, height, side):
        for left in range(0, width, side):
            above, before = min(top, halo), min(left, halo)
            seen = image[top - above : top + side + halo, left - before : left + side + halo]
            kept = model.predict_normalised(seen)[:, above : above + side, before : before + side]
            result[:, top : top + side, left : left + side] = kept
    return result


HOSTS = {
    "QuPath: 512, margin 32": lambda model, image: tiled(model, image, SIDE, 32, "symmetric"),
    "QuPath: 512, margin 128": lambda model, image: tiled(model, image, SIDE, 128, "symmetric"),
    "deepImageJ: whole": lambda model, image: model.predict_normalised(image),
    "ilastik: 512, margin 0": lambda model, image: tiled(model, image, SIDE, 0, "reflect"),
}


def main(arguments: list[str]) -> None:
    """Print a line of a Markdown table for each program."""
    model = load(arguments[0])
    hosts = dict(HOSTS)
    if (halo := exact_halo(exportable(model))) is not None:
        hosts[f"any: 512, halo {halo}"] = lambda model, image: exactly_tiled(model, image, SIDE, halo)
    images = [read_image(Path(name)) for name in arguments[1:]]
    exact = [model.predict_normalised(image).argmax(0) for image in images]
    print("| program | pixels of the same class |\n| --- | --- |")
    for name, run in hosts.items():
        same = sum(int((run(model, i).argmax(0) == e).sum()) for i, e in zip(images, exact, strict=True))
        print(f"| {name} | {100 * same / sum(e.size for e in exact):.2f} % |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
