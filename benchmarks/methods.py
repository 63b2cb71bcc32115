"""The benchmark table of methods: every method on every set, at 2, 5 and 10 minutes of training.

``python benchmarks/methods.py --out DIR [--sets em_vnc,fm_nuclei] [--methods res-cr-net,forest] [--minutes 2,5]
[--seeds 0,1] [--updates N] [--set key=value] [--held-back | --swapped] [--resume]``

Runs shares of the table as they are asked for; what is in DIR already stays and is in the table too. Each cell is one
training on the set's own training images, scored on its own validation images (of sem_axons, which has none, the last
quarter by animal), and a folder ``DIR/SET/METHOD/MINUTES/seed-S``. No epoch is chosen: the last weights are scored.
Writes ``DIR/methods.json`` and ``DIR/methods.svg``, score against time for each set; ``--json`` names another file.

Settings are to be chosen with ``--held-back``: that leaves the validation images alone, and scores on some of the
training images, which are then not trained on. ``--swapped`` trains on the validation images and scores on the training
images, which tells what lies in the networks and what in that division of the images.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rescrnet.atomic import write_atomically
from rescrnet.checking.check import load_dataset
from rescrnet.config import parse_overrides, resolve
from rescrnet.errors import RescrnetError, RescrnetWarning
from rescrnet.evidence.budget import Budget
from rescrnet.evidence.folds import Labelled
from rescrnet.evidence.methods import find_methods
from rescrnet.evidence.results import BOUNDS
from rescrnet.evidence.statistics import interval
from rescrnet.evidence.units import Unit, read_result, run_unit, without_nan
from rescrnet.locks import locked

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = ("em_vnc", "fm_nuclei", "sem_axons", "phase_cells", "isbi2012")
METHODS = ("res-cr-net", "res-unet", "unet", "dynunet", "forest")
MINUTES = (2.0, 5.0, 10.0)
SETTINGS = "settings.json"
HELD_BACK = {
    "em_vnc": (2, 6),
    "fm_nuclei": (1, 4, 8),
    "sem_axons": (1,),
    "phase_cells": (1, 4, 8),
    "isbi2012": (7, 8, 9),
}
"""Which of the training images of each set choose settings."""


def main():
    """Run what is asked for, and write the table of all that is there."""
    if "GOMP_SPINCOUNT" not in os.environ:  # idle threads sleep, as in the command line; read when torch is imported
        quiet = os.environ | {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], quiet)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", type=names, default=SETS)
    parser.add_argument("--methods", type=names, default=METHODS)
    parser.add_argument("--minutes", type=lambda text: [float(part) for part in text.split(",")], default=MINUTES)
    parser.add_argument("--updates", type=int, help="steps of the optimiser instead of minutes")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0])
    parser.add_argument("--set", action="append", default=[], help="key=value over the standard preset")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of the sets")
    parted = parser.add_mutually_exclusive_group()
    parted.add_argument("--held-back", action="store_true", help="score on a part of the training images")
    parted.add_argument("--swapped", action="store_true", help="train on the validation images, score on the others")
    parser.add_argument("--resume", action="store_true", help="go on in a folder that holds results")
    parser.add_argument("--json", type=Path, help="write the table here, too")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", RescrnetWarning)
    try:
        run(asked)
    except RescrnetError as error:
        sys.exit(f"methods.py: {error}")


def names(text):
    """``a,b`` → ``["a", "b"]``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def run(asked):
    """Do the cells, those of one set and time in turns; then write the table."""
    config = resolve(overrides=parse_overrides(asked.set))
    methods = find_methods(asked.methods)
    failed = []
    with locked(asked.out):
        settle(asked, config)
        for set_name in asked.sets:
            data = load_dataset(asked.data / set_name)
            train, tested = parts(data, set_name, held_back=asked.held_back, swapped=asked.swapped)
            for seed in asked.seeds:
                for budget, label in budgets(asked):
                    for name, method in methods.items():
                        folder = asked.out / set_name / name / label / f"seed-{seed}"
                        unit = Unit(name, 1, seed, folder)
                        if unit.done:
                            continue
                        print(f"{datetime.datetime.now():%H:%M:%S} {set_name} {name} {label} seed {seed}", flush=True)
                        try:
                            result = run_unit(unit, method, train, tested, budget, config, heard=lambda share: None)
                        except RescrnetError as error:  # the others go on
                            failed.append(f"{set_name} {name} {label}: {error}")
                            print(f"    {error}", flush=True)
                            continue
                        scores = [scores.image["mean_iou"] for scores in result.scores.values()]
                        print(f"    mean IoU {np.nanmean(scores):.3f}, {result.cost['seconds']:.0f} s", flush=True)
                        write_table(asked)
        write_table(asked)
    if failed:
        raise RescrnetError("; ".join(failed))


def parts(data, set_name, *, held_back, swapped):
    """What is trained on, and the samples that are scored."""
    if swapped:
        data = replace(data, train=data.val, val=data.train)
    held = HELD_BACK[set_name] if held_back else ()
    tested = [data.train[index] for index in held] if held_back else data.val
    stems = [sample.stem for index, sample in enumerate(data.train) if index not in held]
    return Labelled(data, {}).part(stems), tested


def settle(asked, config):
    """Keep the settings of the folder, and refuse to mix two of them."""
    file = asked.out / SETTINGS
    now = {"config": config.model_dump(mode="json"), "threads": torch.get_num_threads()}
    now |= {"held_back": asked.held_back, "swapped": asked.swapped}
    if file.is_file():
        if not asked.resume:
            raise RescrnetError(asked.out, "holds results already", "give --resume, or choose a new folder")
        if json.loads(file.read_text(encoding="utf-8")) != now:
            raise RescrnetError(asked.out, "was begun with other settings or threads", "choose a new folder")
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda partial: partial.write_text(json.dumps(now, indent=1), encoding="utf-8"))


def budgets(asked):
    """What each training may take, and what its folder is called."""
    if asked.updates:
        return [(Budget(updates=asked.updates), f"{asked.updates}-updates")]
    return [(Budget(seconds=60 * minutes), f"{minutes:g}-minutes") for minutes in sorted(asked.minutes)]


def read_cells(out):
    """All cells of a folder, by set, method and budget: the scores of the seeds averaged for each image."""
    found = {}
    for file in sorted(out.glob("*/*/*/seed-*/unit.json")):
        set_name, name, label, seed = file.relative_to(out).parts[:4]
        unit = Unit(name, 1, int(seed.removeprefix("seed-")), file.parent)
        found.setdefault((set_name, name, label), []).append(read_result(unit))
    return found


def described(results):
    """What the table says of a cell."""
    keys = ("mean_iou", "mean_dice", "mean_nsd_2", "ece", "brier")
    of_images = {
        key: {stem: np.mean([r.scores[stem].image[key] for r in results]) for stem in results[0].scores} for key in keys
    }
    intervals = {key: interval(list(values.values()), bounds=BOUNDS[key]) for key, values in of_images.items()}
    costs = ("seconds", "cpu_seconds", "peak_memory", "parameters", "updates", "predict_seconds")
    return {
        "seeds": [result.unit.seed for result in results],
        "images": intervals["mean_iou"].values,
        **{key: {"mean": one.mean, "low": one.low, "high": one.high} for key, one in intervals.items()},
        "each_seed": [float(np.nanmean([s.image["mean_iou"] for s in r.scores.values()])) for r in results],
        "each_image": of_images["mean_iou"],
        **{key: float(np.mean([r.cost.get(key) or 0 for r in results])) for key in costs},
    }


def write_table(asked):
    """Write the table and the plots of all cells that are done."""
    cells = {}
    for (set_name, name, label), results in read_cells(asked.out).items():
        cells.setdefault(set_name, {}).setdefault(name, {})[label] = described(results)
    table = {
        "date": f"{datetime.date.today()}",
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "settings": json.loads((asked.out / SETTINGS).read_text(encoding="utf-8"))["config"],
        "sets": cells,
    }
    text = json.dumps(without_nan(table), indent=1) + "\n"
    for path in {asked.out / "methods.json", *([asked.json] if asked.json else [])}:
        write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    plot(asked.out / "methods.svg", cells)


def plot(path, cells):
    """Score against time, a panel for each set, a line for each method with the interval over the images."""
    from matplotlib.figure import Figure

    cells = {set_name: timed(methods) for set_name, methods in cells.items()}
    ticks = sorted({minutes for methods in cells.values() for times in methods.values() for minutes in times})
    if not ticks:
        return
    figure = Figure(figsize=(9, 2.9 * -(-len(cells) // 3)), layout="constrained")
    panels = list(figure.subplots(-(-len(cells) // 3), 3, squeeze=False).flat)
    lines = {}
    colours = {name: f"C{place}" for place, name in enumerate(METHODS)}
    for axes, (set_name, methods) in zip(panels, cells.items(), strict=False):
        for place, (name, times) in enumerate(methods.items()):
            minutes = np.array(sorted(times)) * 1.04**place  # so that the bars lie beside each other
            ious = [times[one] for one in sorted(times)]
            ends = [[iou["mean"] - iou["low"] for iou in ious], [iou["high"] - iou["mean"] for iou in ious]]
            means, colour = [iou["mean"] for iou in ious], colours.get(name)
            lines[name] = axes.errorbar(minutes, means, np.nan_to_num(ends), color=colour, marker="o", markersize=4)
        middle, span = np.mean(axes.get_ylim()), max(0.06, np.ptp(axes.get_ylim()))  # or 0.002 would look like much
        axes.set(
            title=set_name,
            ylim=(middle - span / 2, middle + span / 2),
            xscale="log",
            xlim=(ticks[0] / 1.5, ticks[-1] * 1.5),
        )
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(cells) :]:
        axes.remove()
    figure.supxlabel("minutes of training")
    figure.supylabel("mean IoU of images not trained on")
    figure.legend(lines.values(), lines, frameon=False, loc="outside upper center", ncols=len(lines))
    write_atomically(path, lambda partial: figure.savefig(partial, format="svg"), durable=False)


def timed(methods):
    """Mean IoU of each method by the minutes that it was trained for, in the order of METHODS."""
    return {
        name: {
            float(label.split("-")[0]): one["mean_iou"] for label, one in methods[name].items() if "minutes" in label
        }
        for name in dict.fromkeys([*METHODS, *methods])
        if name in methods
    }


if __name__ == "__main__":
    main()
