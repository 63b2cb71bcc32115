"""All rows of the benchmark side by side: ``python benchmarks/bench.py [--only WORD …] [--repeats N]``.

Every measurement is a process of its own; ours and theirs take turns, so that a slow minute of the machine meets both.
The authors' network wants an environment with tensorflow-cpu, tf_keras and pillow: its Python is ``--authors`` or
``.venv-authors/bin/python``, which ``make bench-authors`` makes; without it those columns stay empty. Prints a table
and writes ``benchmarks/results/<date>.json``.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image

import rescrnet

HERE = Path(__file__).parent
PARITY = HERE.parent.parent / "shared" / "parity"
RESCRNET = [sys.executable, "-m", "rescrnet"]
PEERS = ("unet", "residual-unet")  # of ours.py
STREAMED = ((8192, 8192), (16384, 16384), (50000, 64), (64, 50000))


@dataclass(frozen=True)
class Row:
    """One comparison: what is run on either side, which of its figures counts, and the ratio that is asked for."""

    name: str
    ours: list[str]
    theirs: list[str] | None
    figure: str  # first, seconds, wall or memory
    least: float | None = None
    aim: float | None = None
    per: float = 1.0  # ours is divided by it
    against: str | None = None  # which figure of theirs counts, if it is another one


def ours(*arguments):
    return [sys.executable, str(HERE / "ours.py"), *map(str, arguments)]


def authors(*arguments):
    return ["AUTHORS", str(HERE / "authors.py"), arguments[0], str(PARITY), *map(str, arguments[1:])]


def rows(folder):
    """The rows; ``folder`` holds the files that they read."""
    train, paper, square = (
        ours("train", "paper", 5),
        ours("infer", "paper", "paper", 20),
        ours("infer", "paper", 1024, 6),
    )
    slow_train, slow_paper = authors("train", 4), authors("infer", "paper", 12)
    predict = [*RESCRNET, "predict", str(folder / "model.safetensors"), str(folder / "images"), "--out", "NEW"]
    yield Row("training step, steady", train, slow_train, "seconds", 5, 10)
    yield Row("training, first step from a cold process", train, slow_train, "first", 3, 5)
    yield Row("training, peak memory", train, slow_train, "memory", 4, 6)
    yield Row("inference 262×400", paper, slow_paper, "seconds", 4, 6)
    yield Row("inference 262×400, peak memory", paper, slow_paper, "memory", 2)
    yield Row("inference 1024×1024", square, authors("infer", 1024, 4), "seconds", 4, 6)
    yield Row("predict 20 files, whole process", predict, authors("predict", folder / "images", "NEW"), "wall", 3, 5)
    yield Row(
        "bfloat16 training step, against float32", ours("train", "paper", 5, "bfloat16"), train, "seconds", 1.3, 2
    )
    for peer in PEERS:
        yield Row(f"training step, against {peer}", train, ours("train", peer, 5), "seconds")
        yield Row(f"inference 1024×1024, against {peer}", square, ours("infer", peer, 1024, 6), "seconds")
    yield from scaling()
    yield from streaming(folder)


def scaling():
    """Part of the work against all of it: what is linear takes a ratio of two."""
    all_of_it, half = ours("train", "paper", 5), ours("train", "paper", 5, "float32", 4)
    yield Row("training, half the batch against the whole", half, all_of_it, "seconds")
    yield Row("training, half the width too", ours("train", "paper", 5, "float32", 4, 262, 200), half, "seconds")
    few, many = ours("infer", '{"n": 3}', 512, 8), ours("infer", '{"n": 6}', 512, 8)
    yield Row("inference, n = 3 against n = 6", few, many, "seconds")
    for side in (256, 1024):
        with_it, without = ours("infer", "paper", side, 8), ours("infer", '{"m": 0}', side, 8)
        yield Row(f"inference {side}×{side}, without ConvLSTM against with", without, with_it, "seconds")


def streaming(folder):
    """Prediction in one gigabyte, as a whole process, per pixel against that of an image of 1024×1024 in memory."""
    whole = ours("infer", "paper", 1024, 6)
    for height, width in STREAMED:
        image = folder / f"{height}×{width}.tif"
        command = [
            *RESCRNET,
            "predict",
            str(folder / "model.safetensors"),
            str(image),
            "--out",
            "NEW",
            "--memory",
            "1GB",
        ]
        name, share = f"predict {height}×{width} in 1 GB", height * width / 1024**2
        # As a ratio like the others: at most 1.4 times the time is at least 0.71 times the speed.
        least = 1 / 1.4 if height == width else None
        yield Row(f"{name}, per pixel against 1024×1024", command, whole, "wall", least, per=share, against="seconds")
        yield Row(f"{name}, peak memory", command, None, "memory")


def prepare(folder, wanted):
    """Make the files that rows read."""
    subprocess.run(ours("make_model", folder / "model.safetensors"), check=True, stdout=subprocess.DEVNULL)
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for index in range(20):
        image = rng.integers(0, 256, (262, 400), dtype=np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index:02}.png")
    for height, width in STREAMED:
        if any(f"{height}×{width}" in row.name for row in wanted):
            square = rng.integers(0, 256, (1024, 1024), dtype=np.uint8)
            image = np.tile(square, (-(-height // 1024), -(-width // 1024)))[:height, :width]
            tifffile.imwrite(folder / f"{height}×{width}.tif", image, tile=(256, 256), compression="zlib")


def run(command, python, folder):
    """Run a process; its figures, with user and system time and peak memory (GB)."""
    out = folder / f"out-{time.monotonic_ns()}"
    words = [python if word == "AUTHORS" else str(out) if word == "NEW" else word for word in command]
    begun = time.perf_counter()
    environment = {**os.environ, "BENCHMARK_START": str(time.time()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if not set(PEERS) & set(command):  # PyTorch's waiting threads sleep, as the command line lets them
        environment |= {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: ended with {process.returncode}")
    last = printed.strip().splitlines()[-1] if printed.strip() else ""
    told = json.loads(last) if last.startswith("{") else {}
    return {
        "wall": time.perf_counter() - begun,
        "user": usage.ru_utime,
        "system": usage.ru_stime,
        "memory": usage.ru_maxrss / 2**20,
        "first": told.get("first"),
        "seconds": statistics.median(told["seconds"]) if told.get("seconds") else None,
        "parameters": told.get("parameters"),
    }


def measured(wanted, python, folder, repeats):
    """All runs of all commands, taking turns: {command: [figures, …]}."""
    runs = {}
    for _ in range(repeats):
        for row in wanted:
            for command in (row.ours, row.theirs):
                # One command may serve several rows, and is run once a round.
                if command is not None and (python or "AUTHORS" not in command):
                    runs.setdefault(tuple(command), [])
        for command, found in runs.items():
            found.append(run(list(command), python, folder))
            print(f"  {' '.join(Path(word).name for word in command)}: {found[-1]['wall']:.1f} s", file=sys.stderr)
    return runs


def machine():
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kept = {"processor": model or platform.processor(), "cores": os.cpu_count(), "memory_gb": round(memory, 1)}
    return {**kept, "system": platform.platform(), "python": platform.python_version(), "torch": torch.__version__}


def result(row, runs):
    """A row's figures: every run, the medians, and the ratio of each pair."""
    own = runs[tuple(row.ours)]
    other = runs.get(tuple(row.theirs or ()), [])
    values = [one[row.figure] / row.per for one in own]
    against = [one[row.against or row.figure] for one in other]
    ratios = [theirs / mine for mine, theirs in zip(values, against, strict=False)]
    return {
        "row": row.name,
        "figure": row.figure,
        "ours": statistics.median(values),
        "theirs": statistics.median(against) if against else None,
        "ratio": statistics.median(ratios) if ratios else None,
        "spread": [min(ratios), max(ratios)] if ratios else None,
        "least": row.least,
        "aim": row.aim,
        "runs": {"ours": own, "theirs": other},
    }


def show(found):
    """A row as a line of the table."""
    unit = "GB" if found["figure"] == "memory" else "s"
    theirs = "" if found["theirs"] is None else f"{found['theirs']:8.2f} {unit}"
    ratio = (
        ""
        if found["ratio"] is None
        else f"{found['ratio']:6.2f}× ({found['spread'][0]:.2f} to {found['spread'][1]:.2f})"
    )
    asked = "" if found["least"] is None else f"at least {found['least']:.2g}"
    asked += f", aim {found['aim']:g}" if found["aim"] else ""
    own = found["runs"]["ours"]
    user, system, memory = (statistics.median(one[key] for one in own) for key in ("user", "system", "memory"))
    print(f"{found['row']:62} {found['ours']:8.3f} {unit:2} {theirs:>11}  {ratio:26} {asked:24}", end=" ")
    print(f"user {user:.0f} s, system {system:.0f} s, {memory:.2f} GB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose names hold one of these words")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--authors", default=str(HERE.parent / ".venv-authors" / "bin" / "python"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{datetime.date.today()}.json")
    options = parser.parse_args()
    python = options.authors if Path(options.authors).exists() and PARITY.exists() else None
    if python is None:
        print("no environment for the authors' network: see make bench-authors", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = [row for row in rows(folder) if any(word in row.name for word in options.only)]
        prepare(folder, wanted)
        runs = measured(wanted, python, folder, options.repeats)
        found = [result(row, runs) for row in wanted]
    print(json.dumps(machine()))
    for one in found:
        show(one)
    options.out.parent.mkdir(exist_ok=True)
    report = {"version": rescrnet.__version__, "machine": machine(), "repeats": options.repeats, "rows": found}
    options.out.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
