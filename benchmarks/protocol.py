"""The paper's protocol, seed by seed, on em_vnc beside the run that was recorded of the authors' network.

    python benchmarks/protocol.py OUT [--data em_vnc fm_nuclei] [--epochs 22] [--arms paper sum] [--seeds 0 1 2]
                                      [--precision float32 bfloat16] [--last]

An arm is the protocol, or the protocol with what one of the paper's claims compares it with: ``sum`` adds the branches
of a block instead of concatenating them, ``without-convlstm`` has no ConvLSTM block, ``small-batches`` takes a step on
each image instead of one on all (as many passes over the images), ``res-unet`` is the residual U-Net.

Each run is ``rescrnet train DATA --preset paper-em`` (``paper-fm`` for fm_nuclei) for 22 epochs, as many as the
authors' network was given, or as many as asked for, and keeps the model of every epoch. It is scored twice. As saved:
the epoch with the lowest validation loss. Recalibrated: the epoch that ``--set training.bn_recalibration_batches=14``
would keep, which trains the same weights, but recomputes the batch-norm running statistics from 14 augmented training
batches before every validation. The authors' run was scored in both ways (``shared/parity/em_vnc_trained``). A run that
is already in OUT is not trained again, one that was cut short goes on. Prints a table and writes ``OUT/protocol.json``,
of all that is asked for: with the validation scores of every epoch, which show when they settle.

The package is imported late: a child process counts as its own the memory that its parent had.
"""

import argparse
import csv
import itertools
import json
import multiprocessing
import resource
import shutil
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

SHARED = Path(__file__).parent.parent.parent / "shared"
RECORDED = SHARED / "parity" / "em_vnc_trained"  # on em_vnc
EPOCHS, BATCHES = 22, 14  # of that run; that recalibrate
PRESETS = {"em_vnc": "paper-em", "fm_nuclei": "paper-fm"}
# Their names and ours. Their Dice is of the probabilities over 0.5, and so is F1.
SCORES = {"val_tani": "tanimoto", "dice": "f1", "jaccard": "jaccard"}
STATES = ("saved", "recalibrated")
IMAGES, STEPS = {"em_vnc": 8, "fm_nuclei": 10}, 15  # to train on; of an epoch
ARMS = {
    "paper": {},
    "sum": {"network.merge": "sum"},
    "without-convlstm": {"network.m": 0},
    "small-batches": {"training.batch_size": 1},
    "res-unet": {"network.architecture": "res-unet"},
}


@dataclass(frozen=True)
class Run:
    """What is trained."""

    data: str
    epochs: int
    arm: str
    seed: int
    precision: str

    @property
    def path(self):
        return SHARED / "data" / self.data

    def folder(self, out):
        return out / f"{self.data}-{self.epochs}" / f"{self.arm}-{self.seed}-{self.precision}"

    def settings(self):
        changed = {"training.epochs": self.epochs, "training.seed": self.seed, **ARMS[self.arm]}
        if "training.batch_size" in changed:  # as many passes over the images
            changed["training.steps_per_epoch"] = STEPS * IMAGES[self.data]
        return changed


def train(folder, one):
    """Train into ``folder``, keep the model of every epoch, and note the wall time (s) and the peak memory (GB)."""
    from rescrnet.config import resolve
    from rescrnet.training.hardware import Hardware
    from rescrnet.training.progress import ProgressReporter
    from rescrnet.training.train import resume, train

    class Keeping(ProgressReporter):
        def epoch(self, row, best):
            shutil.copy(folder / "last.safetensors", folder / f"epoch-{row['epoch']:02}.safetensors")
            print(f"{folder.name}, epoch {row['epoch']}: {row['seconds']:.0f} s, {row['val_tanimoto']:.4f}", flush=True)

    if (folder / "state.safetensors").exists():
        resume(one.path, folder, progress=Keeping())
    else:
        config = resolve(PRESETS[one.data], overrides=one.settings())
        train(one.path, folder, config, hardware=Hardware(precision=one.precision), progress=Keeping())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with (folder / "history.csv").open(encoding="utf-8") as file:
        seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    facts = {"seconds": seconds, "memory": memory}
    (folder / "usage.json").write_text(json.dumps(facts), encoding="utf-8")


def scores(folder, data, last):
    """Of the best epoch as saved, and of the best one recalibrated; or, quicker, of the ``last`` one recalibrated."""
    import numpy as np
    import torch

    from rescrnet.checking.check import load_dataset
    from rescrnet.config import resolve
    from rescrnet.model import load
    from rescrnet.nn.losses import LOSSES
    from rescrnet.scoring.evaluate import evaluate
    from rescrnet.training.batches import BatchSampler, TrainingTensors
    from rescrnet.training.recalibrate import recalibrate

    config, dataset = resolve(file=folder / "config.yaml"), load_dataset(data)
    loss_of = LOSSES[config.training.loss]

    @torch.no_grad()
    def loss(model):
        """The mean loss over the validation images, as training computes it."""
        val = TrainingTensors.of(dataset.val, model)
        each = (
            loss_of(model.network(x[None]).softmax(1), mask[None], weight_mode=config.training.weight_mode)
            for x, mask in zip(val.images, val.masks, strict=True)
        )
        return float(np.mean([float(value) for value in each]))

    def scored(model, epoch, loss):
        counts = evaluate(model, data).counts
        return {"epoch": epoch, "loss": loss, **counts.pooled(), "iou": [each["iou"] for each in counts.per_class()]}

    with (folder / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    history = [(float(row["val_loss"]), int(row["epoch"])) for row in rows]
    least, epoch = min(history)
    saved = scored(load(folder / f"epoch-{epoch:02}.safetensors"), epoch, least)
    epochs = []
    for _, epoch in history[-1:] if last else history:
        model = load(folder / f"epoch-{epoch:02}.safetensors")
        batches = BatchSampler(TrainingTensors.of(dataset.train, model), config)
        many = BATCHES * len(dataset.train) // batches.size
        recalibrate(model.network, (batches.calibration(index) for index in range(many)))
        epochs.append(scored(model, epoch, loss(model)))
    found = {"saved": saved, "recalibrated": min(epochs, key=lambda one: one["loss"]), "epochs": epochs}
    return {**found, "val_tanimoto": [float(row["val_tanimoto"]) for row in rows]}


def result(folder, one, last):
    """What came of a run."""
    usage = json.loads((folder / "usage.json").read_text(encoding="utf-8"))
    return {**asdict(one), **usage, **scores(folder, one.path, last)}


def recorded():
    """The same of the authors' network."""
    lines = (RECORDED / "history.jsonl").read_text(encoding="utf-8").splitlines()
    history = [json.loads(line) for line in lines][:EPOCHS]
    best = min(history, key=lambda row: row["val_loss"])
    _, recalibrated = json.loads((RECORDED / "recalibrated.json").read_text(encoding="utf-8"))
    states = [
        {"epoch": best["epoch"], **{ours: row[theirs] for theirs, ours in SCORES.items()}, "iou": row["iou"]}
        for row in (best, recalibrated)
    ]
    return {"seconds": history[-1]["seconds"], **dict(zip(STATES, states, strict=True))}


def show(name, one):
    """A run as a line of the table."""
    figures = [
        part
        for state in STATES
        for part in (
            str(one[state].get("epoch", "")),
            ", ".join(f"{one[state][key]:.4f}" for key in SCORES.values()),
            ", ".join(f"{value:.3f}" for value in one[state]["iou"]),
        )
    ]
    usage = [f"{one['seconds'] / 60:.1f} min", f"{one['memory']:.2f} GB" if "memory" in one else ""]
    print("| " + " | ".join([name, *figures, *usage]) + " |")


def mean(runs):
    """The mean of the scores of several runs."""
    states = {
        state: {
            **{key: statistics.mean(one[state][key] for one in runs) for key in SCORES.values()},
            "iou": [statistics.mean(each) for each in zip(*(one[state]["iou"] for one in runs), strict=True)],
        }
        for state in STATES
    }
    return {**{key: statistics.mean(one[key] for one in runs) for key in ("seconds", "memory")}, **states}


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", choices=PRESETS, nargs="+", default=["em_vnc"])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=["paper"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--last", action="store_true", help="recalibrate the last epoch alone, which is quicker")
    options = parser.parse_args()
    wanted = [
        Run(data, options.epochs, arm, seed, precision)
        for data, arm, seed, precision in itertools.product(
            options.data, options.arms, options.seeds, options.precision
        )
    ]
    for one in wanted:
        folder = one.folder(options.out)
        if not (folder / "usage.json").exists():
            child = multiprocessing.get_context("spawn").Process(target=train, args=(folder, one))
            child.start()
            child.join()
            if child.exitcode != 0:
                raise SystemExit(f"{folder}: training failed")
    runs = [result(one.folder(options.out), one, options.last) for one in wanted]
    names = ", ".join(SCORES.values())
    print(f"| run | as saved: epoch | {names} | IoU | recalibrated: epoch | {names} | IoU | time | memory |")
    authors = recorded()
    if "em_vnc" in options.data:
        show("authors' network, em_vnc, 22 epochs", authors)
    for one in runs:
        show("{data}, {arm}, {precision}, seed {seed}".format(**one), one)
    groups = {}
    for one in runs:
        groups.setdefault("{data}, {arm}, {precision}, mean".format(**one), []).append(one)
    for name, group in groups.items():
        show(name, mean(group))
    report = {"authors": {"data": "em_vnc", "epochs": EPOCHS, **authors}, "runs": runs}
    (options.out / "protocol.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
