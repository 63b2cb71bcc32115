"""Two commands that write one place at the same time: one of them, or one after the other, never a mixture."""

from __future__ import annotations

import itertools
import shutil
import threading
from pathlib import Path

from safetensors.numpy import load_file

from tests.attack.commands import Outcome, command, forked
from tests.attack.material import OPTIONS, Material, leftovers
from tests.attack.tally import Tally

_WIDE = 15  # channels of a block of five filters and three kernels; no other part has as many


def _commands(material: Material, out: Path) -> dict[str, list[object]]:
    wide = ["--set", "network.filters=5"]
    return {
        "train": ["train", material.data, "--out", out, *OPTIONS],
        "train wide": ["train", material.data, "--out", out, *OPTIONS, *wide],
        "resume": ["train", material.data, "--out", out, "--resume", "--epochs", 5],
        "report": ["report", out],
        "predict": ["predict", material.run, material.data / "train_local/images/img", "--out", out],
        "evaluate": ["evaluate", material.run, material.data, "--out", out],
        "samples": ["samples", "em", out, "--train", 2, "--val", 1, "--size", 64, 72],
        "fix": ["check", material.data, "--fix", out, "--no-estimate"],
    }


def _mixture(out: Path) -> str:
    """What does not belong together in a folder, or is left in it."""
    if leftovers(out.parent):
        return f"leftovers {leftovers(out.parent)}"
    if not (out / "run.json").is_file():
        return ""
    wide = "filters: 5" in (out / "config.yaml").read_text(encoding="utf-8")
    for name in ("best", "last", "state"):
        shapes = [x.shape for key, x in load_file(out / f"{name}.safetensors").items() if key.endswith("bias")]
        if any(_WIDE in shape for shape in shapes) != wide:
            return f"{name} is of another network than config.yaml"
    others = {path.name for path in out.iterdir()} - {
        "config.yaml",
        "run.json",
        "history.csv",
        "best.safetensors",
        "last.safetensors",
        "state.safetensors",
        "report.html",
    }
    return f"also holds {sorted(others)}" if others else ""


def writers(material: Material, folder: Path, count: int) -> Tally:
    """Every pair of commands, as many as ``count``."""
    tally = Tally("writers")
    pairs = list(itertools.combinations_with_replacement(_commands(material, folder), 2))
    for first, second in pairs[:: max(1, len(pairs) // max(1, count))]:
        if tally.over:
            break
        folder.mkdir()
        out = folder / "o"
        if {first, second} & {"resume", "report"}:
            shutil.copytree(material.run, out)
        outcomes = _together([_commands(material, out)[name] for name in (first, second)])
        fault = next((outcome.fault for outcome in outcomes if outcome.fault), "") or (
            "mixture" if out.exists() and _mixture(out) else ""
        )
        text = _mixture(out) if fault == "mixture" else "\n".join(outcome.text for outcome in outcomes)
        tally.add(f"{first} beside {second}", fault, text, "/".join(str(outcome.code) for outcome in outcomes))
        shutil.rmtree(folder)
    return tally


def _together(calls: list[list[object]]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda call=call: outcomes.append(forked(command(*call), within=120))) for call in calls
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
