"""Make the weights that ``training.start: micrographs`` names: ``python pretraining/make.py [--data DIR] [--out DIR]``.

One network learns to tell the classes of all :data:`SETS` apart, each set with classes of its own, from their
training images alone. Each image is made grey, stretched by its own percentiles, and there twice, as it is and
negative, for what is dark in one kind of microscope is bright in another. Its blocks are what the package holds;
the README.md beside them has the licences of the images. Twelve minutes on one core.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import rescrnet
from rescrnet.checking.check import load_dataset
from rescrnet.classes import IGNORE
from rescrnet.training.start import PRETRAINED

ROOT = Path(__file__).resolve().parents[1]
SETS = ("phase_cells", "fm_nuclei", "sem_axons")
HELD_OUT = 200  # pixels, the side of what is cut from one image of each set to watch the training by
CONFIG = {
    "network.m": 0,  # what makes classes of features is thrown away
    "data.fit_scale": False,
    "augmentation.zoom": 0.3,
    "training.start": "none",
    "training.epochs": 40,
    "training.steps_per_epoch": 100,
}


def main():
    """Write the images, train, and put the model where the package has it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the sets")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--out", type=Path, default=PRETRAINED)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "micrographs", [asked.data / name for name in asked.sets])
        run = Path(folder) / "run"
        rescrnet.train(Path(folder) / "micrographs", run, rescrnet.configure("standard", overrides=CONFIG))
        asked.out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run / "last.safetensors", asked.out / "micrographs.safetensors")


def write_dataset(folder, sets):
    """The training images of all sets as one dataset, the classes of a set after those of the sets before."""
    names = []
    for place in sets:
        data = load_dataset(place)
        first = len(names)
        names += [f"{place.name} {entry.name}" for entry in data.classes]
        for sample in data.train:
            grey, mask = stretched(sample.image), np.asarray(sample.mask)
            mask = np.where(mask == IGNORE, IGNORE, mask + first).astype(np.uint8)
            stem = f"{place.name}-{sample.stem}".replace("/", "-")
            write(folder / "train_local", stem, grey, mask)
            write(folder / "train_local", f"{stem}-negative", 255 - grey, mask)
        corner = np.s_[:HELD_OUT, :HELD_OUT]
        write(folder / "val_local", f"{place.name}-corner", 255 - grey[corner], mask[corner])
    lines = [f"  - {{name: {name}, value: {index}}}\n" for index, name in enumerate(names)]
    (folder / "dataset.yaml").write_text(f"ignore: {IGNORE}\nclasses:\n{''.join(lines)}", encoding="utf-8")


def stretched(image):
    """(H, W) or (H, W, C) of any range → grey, uint8, its 0.5 and 99.5 percentiles 0 and 255."""
    grey = image.mean(-1) if image.ndim == 3 else image
    low, high = np.percentile(grey, (0.5, 99.5))
    return (255 * np.clip((grey - low) / max(high - low, 1e-9), 0, 1)).round().astype(np.uint8)


def write(folder, stem, image, mask):
    """An image and its mask as PNG."""
    for pixels, place in ((image, "images/img"), (mask, "masks/msk")):
        path = folder / place / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


if __name__ == "__main__":
    main()
