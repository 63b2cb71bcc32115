"""How far scores fall on images that are acquired otherwise than those of training.

``python benchmarks/robustness.py DIR [--data FOLDER] [--json FILE]``

Takes every network that ``benchmarks/methods.py`` trained in DIR (``SET/METHOD/MINUTES/seed-S/last.safetensors``),
predicts the images that they were scored on as they are and changed in one way at a time, and prints the mean IoU of
each. Noise has seed 0. The masks stay as they are: nothing is moved. Of fields without anything in them it prints the
share of pixels that are named otherwise than the commonest class.
"""

import argparse
import functools
import json
import warnings
from pathlib import Path

import numpy as np
from methods import SETTINGS, SHARED, parts
from scipy.ndimage import gaussian_filter

from rescrnet.atomic import write_atomically
from rescrnet.checking.check import load_dataset
from rescrnet.classes import IGNORE
from rescrnet.errors import RescrnetWarning
from rescrnet.model import load
from rescrnet.scoring.image_scores import ImageScores


def noisy(image, rng, share):
    """Normal noise, its deviation a share of the image's."""
    return image + rng.normal(0, share * image.std(), image.shape)


def blurred(image, rng, sigma):
    """Seen through a Gaussian, sigma in pixels."""
    return gaussian_filter(image, (sigma, sigma, 0))


def sharpened(image, rng, share):
    """Unsharp mask of one pixel."""
    return image + share * (image - gaussian_filter(image, (1, 1, 0)))


def flatter(image, rng, factor):
    """Less contrast about the mean."""
    return (image - image.mean()) * factor + image.mean()


def bent(image, rng, exponent):
    """Another gamma."""
    return image**exponent


def lit(image, rng, factor):
    """Light of another strength."""
    return image * factor


def shaded(image, rng, share):
    """Lit unevenly: darker on the left, brighter on the right."""
    return image * np.linspace(1 - share, 1 + share, image.shape[1])[None, :, None]


def vignetted(image, rng, share):
    """Darker the farther from the centre, most in the corners."""
    y, x = (np.linspace(-1, 1, length) for length in image.shape[:2])
    return image * (1 - share * (y[:, None] ** 2 + x**2) / 2)[..., None]


def tinted(image, rng, light):
    """Light of another colour: a factor for each of red, green and blue."""
    return image * light


def paler(image, rng, share):
    """Colours nearer to grey by a share."""
    grey = image.mean(2, keepdims=True)
    return image + share * (grey - image)


CHANGES = {
    "as they are": (flatter, 1.0),
    "noise, 0.3 of the deviation": (noisy, 0.3),
    "noise, 0.6": (noisy, 0.6),
    "blur, 0.5 pixels": (blurred, 0.5),
    "blur, 1 pixel": (blurred, 1.0),
    "sharpened": (sharpened, 0.7),
    "contrast × 0.6": (flatter, 0.6),
    "gamma 0.6": (bent, 0.6),
    "gamma 1.6": (bent, 1.6),
    "light × 0.7": (lit, 0.7),
    "light × 0.5": (lit, 0.5),
    "uneven light, 30 %": (shaded, 0.3),
    "dark corners, 30 %": (vignetted, 0.3),
}
OF_COLOURS = {
    "bluish light": (tinted, (0.8, 0.95, 1)),
    "yellowish light": (tinted, (1, 0.95, 0.75)),
    "reddish light": (tinted, (1, 0.85, 0.85)),
    "paler by half": (paler, 0.5),
}
"""What happens to colour images alone."""
EMPTY = "named in an empty field"


def main():
    """Score all models on all changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of benchmarks/methods.py")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of the sets")
    parser.add_argument("--json", type=Path, help="write the table here")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", RescrnetWarning)
    settings = json.loads((asked.out / SETTINGS).read_text(encoding="utf-8"))
    found, read = {}, functools.cache(load_dataset)
    for file in sorted(asked.out.glob("*/*/*/seed-*/last.safetensors")):
        set_name, method, label, seed = file.relative_to(asked.out).parts[:4]
        model, data = load(file), read(asked.data / set_name)
        _, tested = parts(data, set_name, held_back=settings["held_back"], swapped=settings["swapped"])
        for change, changed in (CHANGES | (OF_COLOURS if data.channels == 3 else {})).items():
            scores = [score(model, sample, *changed) for sample in tested]
            found.setdefault(f"{method}, {label}, {seed}", {}).setdefault(change, {})[set_name] = scores
            print(f"{set_name} {method} {label} {seed} {change}: {np.mean(scores):.3f}", flush=True)
        misnamed = [named_in_empty_field(model, sample) for sample in tested]
        found[f"{method}, {label}, {seed}"].setdefault(EMPTY, {})[set_name] = misnamed
    print_table(found)
    if asked.json:
        text = json.dumps(found, indent=1) + "\n"
        write_atomically(asked.json, lambda partial: partial.write_text(text, encoding="utf-8"))


def score(model, sample, function, share):
    """Mean IoU of the classes of one image, changed."""
    image = function(sample.image, np.random.default_rng(0), share).clip(0, 1).astype(np.float32)
    return ImageScores.of(model.predict_normalised(image), sample.mask).image["mean_iou"]


def named_in_empty_field(model, sample):
    """Share of pixels named otherwise than the commonest class where there is nothing but its level and noise."""
    commonest = np.bincount(sample.mask[sample.mask != IGNORE]).argmax()
    background = sample.mask == commonest
    grain = (sample.image - gaussian_filter(sample.image, (1, 1, 0)))[background].std(axis=0)
    noise = np.random.default_rng(0).normal(size=(256, 256, sample.image.shape[2]))
    field = np.median(sample.image[background], axis=0) + grain * noise
    named = model.predict_normalised(field.clip(0, 1).astype(np.float32)).argmax(0)
    return float(np.mean(named != commonest))


def print_table(found):
    """A line for each change: each model's mean over the sets, and of each set."""
    for name, changes in found.items():
        print(f"\n{name}")
        for change, sets in changes.items():
            means = {set_name: float(np.mean(scores)) for set_name, scores in sets.items()}
            each = ", ".join(f"{set_name} {mean:.3f}" for set_name, mean in means.items())
            print(f"  {change:28s} {np.mean(list(means.values())):.3f}   {each}")


if __name__ == "__main__":
    main()
