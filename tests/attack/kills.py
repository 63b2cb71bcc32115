"""Kills, at operations on files and at random moments: the same command ends with the same result."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.attack.commands import command, forked
from tests.attack.material import OPTIONS, Material, fingerprint, leftovers
from tests.attack.tally import Tally

_OPERATIONS = ("replace", "unlink", "mkdir", "open", "fsync", "rename", "rmdir", "link", "truncate")


def kill_after(count: int) -> None:
    """Kill this process at its ``count``-th operation on files from here on."""
    left = [count]

    def counting(do: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **how: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return do(*arguments, **how)

        return counted

    for name in _OPERATIONS:
        setattr(os, name, counting(getattr(os, name)))


def kill_in(seconds: float) -> None:
    """Kill this process some time from here on."""

    def kill() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


def _jobs(material: Material, folder: Path) -> dict[str, tuple[list[object], Path]]:
    """Commands that resume, and where their results lie."""
    images = material.data / "train_local/images/img"
    small = ["--memory", "480MB"]
    return {
        "train": (["train", material.data, "--out", folder / "run", *OPTIONS], folder / "run"),
        "predict": (["predict", material.run, images, "--out", folder / "o", "--overlay"], folder / "o"),
        "predict tiff": (
            ["predict", material.run, images, "--out", folder / "o", "--format", "tiff", "--probabilities"],
            folder / "o",
        ),
        "predict streamed": (
            ["predict", material.run, material.folder / "large.npy", "--out", folder / "o", *small],
            folder / "o",
        ),
        "predict zarr": (
            ["predict", material.run, images, "--out", folder / "o", "--format", "ome-zarr"],
            folder / "o",
        ),
        "evaluate": (["evaluate", material.run, material.data, "--out", folder / "o"], folder / "o"),
        "samples": (["samples", "em", folder / "s", "--train", 2, "--val", 1, "--size", 64, 72], folder / "s"),
        "fix": (["check", material.data, "--fix", folder / "f", "--no-estimate"], folder / "f"),
    }


def kills(material: Material, folder: Path, count: int, seed: int = 0) -> Tally:
    """``count`` kills, over all commands by turns."""
    tally, rng = Tally("kills"), random.Random(seed)
    expected: dict[str, tuple[str, float]] = {}
    for number in range(count):
        if tally.over:
            break
        folder.mkdir(exist_ok=True)
        names = list(_jobs(material, folder))
        name = names[number % len(names)]
        arguments, result = _jobs(material, folder)[name]
        if name not in expected:
            whole = forked(command(*arguments), within=120)
            if whole.code:
                tally.add(name, "not done at all", whole.text)
                continue
            expected[name] = fingerprint(result), whole.seconds
            shutil.rmtree(folder)
            folder.mkdir()
        known, seconds = expected[name]
        at = rng.randrange(150) if number % 2 else rng.uniform(0, seconds)

        def killed(at: float = at, arguments: list[object] = arguments) -> None:
            kill_after(at) if isinstance(at, int) else kill_in(at)
            command(*arguments)()

        first = forked(killed, within=120)
        fault, text = "", ""
        if first.code == -signal.SIGKILL:
            again = [*arguments]
            if name == "train" and (result / "run.json").is_file():
                again = ["train", material.data, "--out", result, "--resume"]
            second = forked(command(*again), within=120)
            fault, text = second.fault, second.text
            if not fault and second.code and not ("already holds files" in text and fingerprint(result) == known):
                fault = "stuck"
        elif first.fault:
            fault, text = first.fault, first.text
        if not fault and fingerprint(result) != known:
            fault = "differing result"
        if not fault and leftovers(folder):
            fault, text = "leftovers", str(leftovers(folder))
        tally.add(f"{name} killed at {at}", fault, text, first.code)
        shutil.rmtree(folder)
    return tally
