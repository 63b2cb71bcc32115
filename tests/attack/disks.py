"""Disks that run full at any write: a line, nothing half-written, and all complete once there is room."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.attack.commands import command, forked
from tests.attack.kills import _jobs
from tests.attack.material import Material, fingerprint
from tests.attack.tally import Tally


def _mounted(folder: Path, size: int) -> bool:
    folder.mkdir(exist_ok=True)
    call = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    return not subprocess.run(call, capture_output=True, check=False).returncode


def disks(material: Material, folder: Path, count: int) -> Tally:
    """About ``count`` sizes of disks, over all commands."""
    tally = Tally("disks")
    for name in list(_jobs(material, folder))[: max(2, count // 2)]:
        if not _mounted(folder, 2**28):
            tally.skipped = "mounting a memory disk needs a privileged user"
            return tally
        try:
            arguments, result = _jobs(material, folder)[name]
            whole = forked(command(*arguments), within=120)
            if whole.code:
                tally.add(name, "not done at all", whole.text)
                continue
            used = int(subprocess.run(["du", "-sk", folder], capture_output=True, check=True).stdout.split()[0])
            known = fingerprint(result)
        finally:
            subprocess.run(["umount", folder], check=True)
        steps = max(2, count // 8)
        for step in range(steps):
            if tally.over:
                break
            _one(tally, name, material, folder, known, 4096 * (1 + step * (used // 4 + 8) // steps))
    return tally


def _one(tally: Tally, name: str, material: Material, folder: Path, known: str, size: int) -> None:
    _mounted(folder, size)
    try:
        arguments, result = _jobs(material, folder)[name]
        first = forked(command(*arguments), within=120)
        fault, text = first.fault, first.text
        if not fault and first.code and name != "train" and result.exists():
            fault = "half-written"
        if not fault and first.code:
            subprocess.run(["mount", "-o", f"remount,size={2**28}", folder], check=True)
            if name == "train" and (result / "run.json").is_file():
                arguments = ["train", material.data, "--out", result, "--resume"]
            second = forked(command(*arguments), within=120)
            fault, text = second.fault or ("stuck" if second.code else ""), second.text
        if not fault and fingerprint(result) != known:
            fault = "differing result"
        tally.add(f"{name} on {size} bytes", fault, text, first.code)
    finally:
        subprocess.run(["umount", folder], check=True)
