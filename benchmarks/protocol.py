"""The paper's protocol on em_vnc, seed by seed, beside the run that was recorded of the authors' network.

    python benchmarks/protocol.py OUT [--seeds 0 1 2] [--precision float32 bfloat16] [--recalibrate]

Each run is ``rescrnet train em_vnc --preset paper-em`` for as many epochs as the authors' network was given. The epoch
with the lowest validation loss is scored as it was saved, and again with its batch-norm running statistics recomputed
from 14 augmented training batches; the same was done with theirs (``shared/parity/em_vnc_trained``). The last epoch is
scored with its statistics recomputed. ``--recalibrate`` recomputes them before every validation, which trains the same
weights and chooses the epoch by what they are worth. A run that is already in OUT is not done again. Prints a table
and writes ``OUT/protocol.json``.

The package is imported late: a child process counts as its own the memory that its parent had.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SHARED = Path(__file__).parent.parent.parent / "shared"
DATA, RECORDED = SHARED / "data" / "em_vnc", SHARED / "parity" / "em_vnc_trained"
EPOCHS, BATCHES = 22, 14
# Their names and ours. Their Dice is of the probabilities over 0.5, and so is F1.
SCORES = {"val_tani": "tanimoto", "dice": "f1", "jaccard": "jaccard"}
STATES = ("saved", "recalibrated", "last")


def train(folder, seed, precision, batches):
    """Train into ``folder`` in a process of its own: its wall time (s) and peak memory (GB)."""
    command = [sys.executable, "-m", "rescrnet", "train", str(DATA), "--out", str(folder), "--preset", "paper-em"]
    command += ["--set", f"training.epochs={EPOCHS}", "--set", f"training.seed={seed}", "--precision", precision]
    command += ["--set", f"training.recalibrate={batches}"]
    begun = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)}: failed")
    facts = {"seconds": time.monotonic() - begun, "memory": usage.ru_maxrss / 2**20}
    (folder / "usage.json").write_text(json.dumps(facts), encoding="utf-8")


def scores(folder):
    """Of the best model as saved and recalibrated, and of the last one: Tanimoto, F1, Jaccard, IoU of each class."""
    from rescrnet.config import resolve
    from rescrnet.data.dataset import load_dataset
    from rescrnet.model import load
    from rescrnet.scoring.evaluate import evaluate
    from rescrnet.training.batches import Batches, Prepared
    from rescrnet.training.recalibrate import recalibrate

    def scored(model):
        counts = evaluate(model, DATA).counts
        pooled = counts.pooled()
        return {**{key: pooled[key] for key in SCORES.values()}, "iou": [each["iou"] for each in counts.per_class()]}

    best, last = (load(folder / f"{name}.safetensors") for name in ("best", "last"))
    batches = Batches(Prepared.of(load_dataset(DATA).train, best), resolve(file=folder / "config.yaml"))
    found = [scored(best)]
    for model in (best, last):
        recalibrate(model.network, (batches.calibration(index) for index in range(BATCHES)))
        found.append(scored(model))
    return dict(zip(STATES, found, strict=True))


def run(folder, seed, precision, batches):
    """A run and what came of it."""
    if not (folder / "usage.json").exists():
        train(folder, seed, precision, batches)
    with (folder / "history.csv").open(encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    best = min(history, key=lambda row: float(row["val_loss"]))
    return {
        "seed": seed,
        "precision": precision,
        "best_epoch": int(best["epoch"]),
        "epoch_seconds": statistics.median(float(row["seconds"]) for row in history),
        **json.loads((folder / "usage.json").read_text(encoding="utf-8")),
        **scores(folder),
    }


def recorded():
    """The same of the authors' network."""
    lines = (RECORDED / "history.jsonl").read_text(encoding="utf-8").splitlines()
    history = [json.loads(line) for line in lines][:EPOCHS]
    best = min(history, key=lambda row: row["val_loss"])
    _, recalibrated = json.loads((RECORDED / "recalibrated.json").read_text(encoding="utf-8"))
    states = [
        {**{ours: row[theirs] for theirs, ours in SCORES.items()}, "iou": row["iou"]} for row in (best, recalibrated)
    ]
    return {
        "best_epoch": best["epoch"],
        "seconds": history[-1]["seconds"],
        **dict(zip(STATES, [*states, states[1]], strict=True)),  # the best epoch is the last one
    }


def show(name, one):
    """A run as a line of the table."""
    figures = [", ".join(f"{one[state][key]:.3f}" for key in SCORES.values()) for state in STATES]
    iou = " ".join(f"{value:.3f}" for value in one["recalibrated"]["iou"])
    usage = [f"{one['seconds'] / 60:.1f} min", f"{one['memory']:.2f} GB" if "memory" in one else ""]
    print("| " + " | ".join([name, str(one["best_epoch"]), *figures, iou, *usage]) + " |")


def mean(runs):
    """The mean of the scores of several runs."""
    states = {
        state: {
            **{key: statistics.mean(one[state][key] for one in runs) for key in SCORES.values()},
            "iou": [statistics.mean(each) for each in zip(*(one[state]["iou"] for one in runs), strict=True)],
        }
        for state in STATES
    }
    usage = {key: statistics.mean(one[key] for one in runs) for key in ("seconds", "memory")}
    return {"best_epoch": "", **usage, **states}


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--recalibrate", action="store_true", help="before every validation")
    options = parser.parse_args()
    batches = BATCHES if options.recalibrate else 0
    runs = [
        run(options.out / f"{precision}-{seed}-{batches}", seed, precision, batches)
        for precision in options.precision
        for seed in options.seeds
    ]
    authors = recorded()
    names = ", ".join(SCORES.values())
    print(f"| run | best epoch | as saved: {names} | recalibrated | last epoch | IoU | time | memory |")
    show("authors' network", authors)
    for one in runs:
        show(f"{one['precision']}, seed {one['seed']}", one)
    for precision in options.precision:
        show(f"{precision}, mean", mean([one for one in runs if one["precision"] == precision]))
    report = {"epochs": EPOCHS, "authors": authors, "runs": runs}
    (options.out / "protocol.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
