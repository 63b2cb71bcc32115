"""Draw validation images of a run side by side: image, truth, prediction, differences. Makes the pictures in docs/.

python benchmarks/pictures.py RUN DATA OUT.png [--images N] [--width PIXELS] [--prediction-only]
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import rescrnet
from rescrnet.display import colourise, to_display
from rescrnet.reporting.figures import differences
from rescrnet.scoring.evaluate import chosen_samples

GAP = 4


def row(model, sample, prediction_only):
    """The pictures of one sample beside each other, RGB uint8 YXC."""
    predicted = model.predict(sample.image).argmax(0).astype(np.uint8)
    parts = [colourise(predicted, model.colours)]
    if not prediction_only:
        image = to_display(sample.image)
        wrong = differences(image, sample.mask, predicted, model.colours)
        parts = [image, colourise(sample.mask, model.colours), *parts, wrong]
    gap = np.full((len(predicted), GAP, 3), 255, np.uint8)
    return np.hstack([part for picture in parts for part in (picture, gap)][:-1])


def main():
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--prediction-only", action="store_true")
    arguments = parser.parse_args()
    model = rescrnet.load(arguments.run)
    samples = chosen_samples(model, arguments.data, "val")[: arguments.images]
    rows = [Image.fromarray(row(model, sample, arguments.prediction_only)) for sample in samples]
    rows = [r.resize((arguments.width, r.height * arguments.width // r.width), Image.Resampling.LANCZOS) for r in rows]
    sheet = Image.new("RGB", (arguments.width, sum(r.height + GAP for r in rows) - GAP), "white")
    top = 0
    for picture in rows:
        sheet.paste(picture, (0, top))
        top += picture.height + GAP
    sheet.quantize(96).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
