"""A hundred thousand touching objects in an image of 8192×8192 pixels: time and peak memory of ``rescrnet objects``.

    python -m benchmarks.many_objects OUT [--memory 1GB]

Draws the cells of a jittered grid with a line of two pixels between them, as the probabilities that a model with
a boundary class would give, writes them as a prediction lies there, and runs the command in a process of its own.
Prints a line and writes ``OUT/many_objects.json``.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

SIDE, ALONG = 8192, 324  # pixels; cells along a side, 104,976 in all
JITTER, AROUND = 6, 80  # of a cell's middle; pixels around a block that decide whose its pixels are
CLASSES = ("interior", "boundary", "background")


def cells():
    """The number of the cell that each pixel belongs to, (SIDE, SIDE) int32."""
    rng, step = np.random.default_rng(0), SIDE / ALONG
    middles = (np.mgrid[:ALONG, :ALONG] + 0.5) * step + rng.uniform(-JITTER, JITTER, (2, ALONG, ALONG))
    y, x = middles.reshape(2, -1).astype(int)
    numbers = np.empty((SIDE, SIDE), np.int32)
    for top in range(0, SIDE, 1024):
        for left in range(0, SIDE, 1024):
            y0, x0 = max(0, top - AROUND), max(0, left - AROUND)
            seeds = np.zeros((min(SIDE, top + 1024 + AROUND) - y0, min(SIDE, left + 1024 + AROUND) - x0), np.int32)
            near = (y >= y0) & (y < y0 + seeds.shape[0]) & (x >= x0) & (x < x0 + seeds.shape[1])
            seeds[y[near] - y0, x[near] - x0] = np.flatnonzero(near) + 1
            nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
            part = seeds[tuple(nearest)][top - y0 :, left - x0 :]
            numbers[top : top + 1024, left : left + 1024] = part[:1024, :1024]
    return numbers


def write_prediction(folder):
    """The prediction of an image of such cells: mask, probabilities, classes."""
    numbers, between = cells(), np.zeros((SIDE, SIDE), bool)
    for axis in (0, 1):
        differs = np.diff(numbers, axis=axis) != 0
        for cut in (slice(None, -1), slice(1, None)):
            between[(cut, slice(None)) if axis == 0 else (slice(None), cut)] |= differs
    interior, boundary = np.where(between, np.float32([[[0.25]], [[0.7]]]), np.float32([[[0.85]], [[0.1]]]))
    probabilities = np.stack([interior, boundary, 1 - interior - boundary])
    folder.mkdir(parents=True)
    tiled = {"tile": (512, 512), "compression": "zlib", "ome": True, "photometric": "minisblack"}
    tifffile.imwrite(folder / "cells_probabilities.ome.tif", probabilities, metadata={"axes": "CYX"}, **tiled)
    tifffile.imwrite(folder / "cells.ome.tif", probabilities.argmax(0).astype(np.uint8), **tiled)
    classes = [{"index": index, "name": name} for index, name in enumerate(CLASSES)]
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")


def main():
    """Draw, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--memory", default="1GB")
    asked = parser.parse_args()
    prediction, result = asked.out / "prediction", asked.out / "objects"
    if not prediction.exists():  # by a process of its own: a child counts as its own the memory that its parent had
        drawing = multiprocessing.get_context("spawn").Process(target=write_prediction, args=(prediction,))
        drawing.start()
        drawing.join()
    call = [sys.executable, "-m", "rescrnet", "objects", prediction, "--out", result, "--class", "interior"]
    begun = time.monotonic()
    process = subprocess.Popen([*call, "--memory", asked.memory])
    _, status, usage = os.wait4(process.pid, 0)
    seconds, peak = time.monotonic() - begun, usage.ru_maxrss * 1024
    if status:
        sys.exit("rescrnet objects failed")
    found = sum(1 for _ in (result / "objects.csv").open(encoding="utf-8")) - 1
    report = {
        "pixels": [SIDE, SIDE],
        "drawn": ALONG**2,
        "found": found,
        "memory": asked.memory,
        "peak_bytes": peak,
        "seconds": round(seconds, 1),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    print(f"{found} objects of {ALONG**2} in {seconds:.0f} s, peak {peak / 1e6:.0f} MB of {asked.memory}")
    (asked.out / "many_objects.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
