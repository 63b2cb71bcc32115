"""The paper's protocol on em_vnc, seed by seed, beside the run that was recorded of the authors' network.

    python benchmarks/protocol.py OUT [--seeds 0 1 2] [--precision float32 bfloat16] [--recalibrate]

Each run is ``rescrnet train em_vnc --preset paper-em`` for as many epochs as the authors' network was given. The epoch
with the lowest validation loss is scored as it was saved, and again with its batch-norm running statistics recomputed
from 14 augmented training batches; the same was done with theirs (``shared/parity/em_vnc_trained``). ``--recalibrate``
does that before every validation, which trains the same weights and chooses the epoch by what they are worth. A run
that is already in OUT is not done again. Prints a table and writes ``OUT/protocol.json``.
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
SCORES = {
    "val_tani": "tanimoto",
    "dice": "f1",
    "jaccard": "jaccard",
}  # their names and ours; the Dice of classes, not soft


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
    """Of the best model as saved and recalibrated: Tanimoto, Dice, Jaccard and the IoU of each class."""
    from rescrnet.data.dataset import load_dataset
    from rescrnet.model import load
    from rescrnet.scoring.evaluate import evaluate
    from rescrnet.training.batches import Batches, Prepared
    from rescrnet.training.recalibrate import recalibrate

    model = load(folder / "best.safetensors")
    found = [evaluate(model, DATA)]
    batches = Batches(Prepared.of(load_dataset(DATA).train, model), _config(folder))
    recalibrate(model.network, (batches.calibration(index) for index in range(BATCHES)))
    found.append(evaluate(model, DATA))
    return [
        {**{k: one.counts.pooled()[k] for k in SCORES.values()}, "iou": [c["iou"] for c in one.counts.per_class()]}
        for one in found
    ]


def _config(folder):
    from rescrnet.config import resolve

    return resolve(file=folder / "config.yaml")


def run(folder, seed, precision, batches):
    """A run and what came of it."""
    if not (folder / "usage.json").exists():
        train(folder, seed, precision, batches)
    with (folder / "history.csv").open(encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    best = min(history, key=lambda row: float(row["val_loss"]))
    saved, recalibrated = scores(folder)
    return {
        "seed": seed,
        "precision": precision,
        "best_epoch": int(best["epoch"]),
        "epoch_seconds": statistics.median(float(row["seconds"]) for row in history),
        **json.loads((folder / "usage.json").read_text(encoding="utf-8")),
        "saved": saved,
        "recalibrated": recalibrated,
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
        "saved": states[0],
        "recalibrated": states[1],
    }


def show(name, one):
    """A run as a line of the table."""
    figures = [f"{one[state][key]:.3f}" for state in ("saved", "recalibrated") for key in SCORES.values()]
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
        for state in ("saved", "recalibrated")
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
    print(f"| run | best epoch | as saved: {', '.join(SCORES.values())} | | | recalibrated | | | IoU | time | memory |")
    show("authors' network", authors)
    for one in runs:
        show(f"{one['precision']}, seed {one['seed']}", one)
    for precision in options.precision:
        show(f"{precision}, mean", mean([one for one in runs if one["precision"] == precision]))
    report = {"epochs": EPOCHS, "authors": authors, "runs": runs}
    (options.out / "protocol.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
