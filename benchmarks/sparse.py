"""Copy a dataset with a few brush strokes labelled and the rest not, to see what sparse painting costs.

    python benchmarks/sparse.py ../shared/data/em_vnc /tmp/em_vnc_sparse --share 0.05
    rescrnet train /tmp/em_vnc_sparse --out /tmp/run
    rescrnet evaluate /tmp/run ../shared/data/em_vnc --out /tmp/scores

A stroke is a short line of a brush a few pixels wide that keeps to the class it was begun on, as an annotator's does.
Training and validation masks are thinned out alike; scores are of the full masks.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageDraw

UNLABELLED = 200  # a value that the masks do not hold
LENGTH, WIDTH = 24, 5  # of a stroke, pixels


def strokes(mask: NDArray[np.uint8], share: float, rng: np.random.Generator, anywhere: bool) -> NDArray[np.uint8]:
    """The mask with ``share`` of its pixels under strokes, the rest unlabelled.

    Strokes begin in each class equally often, or ``anywhere``, in each class as often as its area has it.
    """
    painted = np.zeros(mask.shape, bool)
    classes = np.unique(mask)
    turn = 0
    while painted.mean() < share:
        begun = ~painted if anywhere else ~painted & (mask == classes[turn % len(classes)])
        turn += 1
        row, column = rng.choice(np.argwhere(begun))
        own = mask == mask[row, column]
        angle = rng.uniform(0, np.pi)
        reach = LENGTH / 2 * np.array([np.cos(angle), np.sin(angle)])
        stroke = Image.new("1", mask.shape[::-1])
        ends = [(column - reach[0], row - reach[1]), (column + reach[0], row + reach[1])]
        ImageDraw.Draw(stroke).line(ends, fill=1, width=WIDTH)
        painted |= np.asarray(stroke) & own
    return np.where(painted, mask, UNLABELLED).astype(np.uint8)


def main() -> None:
    """Write the copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="dataset of grey masks in the authors' layout")
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--share", type=float, default=0.05, help="share of pixels that stay labelled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--anywhere", action="store_true", help="begin strokes anywhere, not in each class equally often"
    )
    arguments = parser.parse_args()
    shutil.copytree(arguments.data, arguments.out)
    rng = np.random.default_rng(arguments.seed)
    for file in sorted(arguments.out.glob("*_local/masks/msk/*.png")):
        sparse = strokes(np.asarray(Image.open(file)), arguments.share, rng, arguments.anywhere)
        Image.fromarray(sparse).save(file)
        values, counts = np.unique(sparse, return_counts=True)
        print(file.name, dict(zip(values.tolist(), (counts / sparse.size).round(4).tolist(), strict=True)))
    (arguments.out / "dataset.yaml").write_text(yaml.safe_dump({"ignore": UNLABELLED}), encoding="utf-8")


if __name__ == "__main__":
    main()
