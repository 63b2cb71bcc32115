"""How long a dataset takes from the command to the first training step, and to be checked; whole processes.

    python benchmarks/dataset.py FOLDER [--images 200] [--side 1024] [--repeats 3] [--beside OTHER_CHECKOUT]

The dataset is drawn into FOLDER where it is not there yet. With another checkout of the project both are measured in
turn, in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"

CHECK = """
import time; started = time.perf_counter()
from rescrnet.cli import main
import sys; sys.argv = ["rescrnet", "check", sys.argv[1], "--no-estimate"]
try:
    main()
except SystemExit as end:
    assert end.code in (0, 1, None), end.code
"""
TRAIN = """
import time; started = time.perf_counter()
import inspect, sys, rescrnet
class Stop(Exception): pass
class Reporter:
    def __getattr__(self, name): return lambda *_: None
    def begin(self, *_): raise Stop
name = "progress" if "progress" in inspect.signature(rescrnet.train).parameters else "display"  # of older checkouts
try:
    rescrnet.train(sys.argv[1], sys.argv[2], rescrnet.configure("laptop"), **{name: Reporter()})
except Stop: pass
"""
END = """
import json, pathlib
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print("MEASURED", json.dumps({"seconds": time.perf_counter() - started, "peak_MB": peak / 1024}))
"""


def measure(source: Path, program: str, *arguments: str) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", program + END, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("MEASURED"))
    return json.loads(line.removeprefix("MEASURED"))


def draw(folder: Path, images: int, side: int) -> None:
    """Four images are drawn, since that takes seconds each; the others are these, shifted, with noise of their own."""
    sys.path.insert(0, str(SRC))
    import numpy as np
    from PIL import Image

    from rescrnet.datasets.synthetic import write_dataset

    write_dataset("em", folder / "drawn", train=3, val=1, size=(side, side))
    rng = np.random.default_rng(0)
    drawn = sorted((folder / "drawn").glob("*/images/img/*.png"))
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(images):
        file = drawn[number % len(drawn)]
        mask = file.parents[2] / "masks/msk" / file.name
        shift = tuple(rng.integers(0, side, 2))
        pixels = np.roll(np.asarray(Image.open(file)), shift, (0, 1)) + rng.normal(0, 8, (side, side))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"images/{number:03}.png")
        Image.fromarray(np.roll(np.asarray(Image.open(mask)), shift, (0, 1))).save(folder / f"masks/{number:03}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside", type=Path)
    asked = parser.parse_args()
    if not asked.folder.exists():
        draw(asked.folder, asked.images, asked.side)
    sources = {"here": SRC} | ({"beside": asked.beside / "src"} if asked.beside else {})
    figures: dict[str, list[dict[str, float]]] = {}
    for repeat in range(asked.repeats):
        for name, source in sources.items():
            for what, program in (("check", CHECK), ("train to its first step", TRAIN)):
                out = asked.folder.parent / f"run-{name}-{repeat}-{os.getpid()}"
                figures.setdefault(f"{what}, {name}", []).append(measure(source, program, str(asked.folder), str(out)))
    for what, found in figures.items():
        for key in ("seconds", "peak_MB"):
            values = [one[key] for one in found]
            print(f"{what}: {key} {statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
