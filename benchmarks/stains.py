r"""Colour grey sets as a laboratory stains tissue, to see what it costs that every patient's slides look different.

    python benchmarks/stains.py --out /tmp/stained [--sets em_vnc,phase_cells,isbi2012] [--alike]
    python benchmarks/methods.py --data /tmp/stained --out OUT --held-back --methods res-cr-net --updates 990 \
        --sets em_vnc,phase_cells,isbi2012

Structures and masks stay those of real micrographs. Dark pixels take haematoxylin, bright ones eosin, by the law of
Beer and Lambert; the optical density of each stain, how strong both are, and the light vary from patient to patient.
Two neighbouring images are of one patient; those that ``methods.py --held-back`` scores are of others. With ``--alike``
all images are of one patient, to see what readiness for other stains costs where there are none.
"""

import argparse
from pathlib import Path

import numpy as np
from methods import HELD_BACK, SHARED, names
from numpy.typing import NDArray
from PIL import Image

from rescrnet.checking.check import load_dataset

HAEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)  # optical densities of red, green, blue
OTHERS = 1000  # patients of images that are scored


def stained(image: NDArray[np.float32], patient: int) -> NDArray[np.uint8]:
    """(Y, X, C), from 0 to 1 → (Y, X, 3), its mean over the channels stained as the slides of ``patient``."""
    rng = np.random.default_rng(patient)
    densities = np.array([HAEMATOXYLIN, EOSIN]) + rng.normal(0, 0.06, (2, 3))
    densities = densities.clip(0.02) / np.linalg.norm(densities, axis=1, keepdims=True)
    strengths = np.exp(rng.normal(0, 0.3, (2, 1))) * [[1.6], [0.8]]
    light = rng.uniform(0.85, 1) * np.exp(rng.normal(0, 0.03, 3))
    low, high = np.percentile(image, (0.5, 99.5))
    bright = ((image.mean(2, keepdims=True) - low) / (high - low)).clip(0, 1)
    amounts = np.concatenate([(1 - bright) ** 1.5, bright * (1 - 0.5 * bright)], axis=2)
    colours = light.clip(0, 1) * np.exp(-amounts @ (strengths * densities))
    return (255 * colours).round().astype(np.uint8)


def main() -> None:
    """Write the coloured copies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--sets", type=names, default=("em_vnc", "phase_cells", "isbi2012"))
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of the sets")
    parser.add_argument("--alike", action="store_true", help="all images of one patient")
    asked = parser.parse_args()
    for set_name in asked.sets:
        data = load_dataset(asked.data / set_name)
        for part, samples in (("train_local", data.train), ("val_local", data.val)):
            for kind in ("images", "masks"):
                (asked.out / set_name / part / kind).mkdir(parents=True)
            for index, sample in enumerate(samples):
                other = part == "val_local" or index in HELD_BACK[set_name]
                patient = 0 if asked.alike else index // 2 + OTHERS * other
                folder = asked.out / set_name / part
                Image.fromarray(stained(sample.image, patient)).save(folder / "images" / f"{sample.stem}.png")
                Image.fromarray(sample.mask).save(folder / "masks" / f"{sample.stem}.png")


if __name__ == "__main__":
    main()
