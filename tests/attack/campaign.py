"""Run the campaign, or parts of it: a line for each part, and a JSON with all of it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.attack import tally
from tests.attack.disks import disks
from tests.attack.fifteen import FIFTEEN, Place
from tests.attack.inputs import inputs
from tests.attack.kills import kills
from tests.attack.limits import addresses, memory, workers
from tests.attack.material import Material
from tests.attack.names import names
from tests.attack.tally import Tally
from tests.attack.writers import writers


def _inputs(number: int, material: Material, folder: Path, count: int) -> Tally:
    """A series of mutated inputs of its own."""
    return inputs(material, count, number)


def _fifteen(material: Material, folder: Path, count: int) -> Tally:
    """The faults that were found first."""
    tally, place = Tally("fifteen"), Place(folder)
    for name in list(FIFTEEN)[:count]:
        found = list(FIFTEEN[name](place))
        tally.add(name, "is back" if found else "", "\n".join(found))
    return tally


PARTS = {
    "memory": (memory, 50),  # the longest first: two are done at a time
    **{f"inputs-{number}": (partial(_inputs, number), 1000) for number in range(10)},
    "kills": (kills, 100),
    "disks": (disks, 160),
    "writers": (writers, 36),
    "names": (names, 20),
    "fifteen": (_fifteen, 15),
    "workers": (workers, 4),
    "addresses": (addresses, 20),
}
"""What attacks material in a folder of its own so many times, and how often it does in the whole campaign."""
_AFTER = ("workers", "addresses")  # timed, while nothing else runs


def run(part: str, share: float, minutes: float) -> Tally:
    """A part of the campaign, in a process of its own."""
    memory_disk = "/dev/shm"  # where the disk is not waited for ten thousand times
    room = memory_disk if Path(memory_disk).is_dir() and part not in _AFTER else None
    with tempfile.TemporaryDirectory(prefix="attack-", dir=room) as folder:
        material = Material.make(Path(folder) / "m")
        tally.LIMIT = 60 * minutes
        attack, count = PARTS[part]
        return attack(material, Path(folder) / "w", max(1, round(count * share)))  # type: ignore[operator]


def main() -> None:
    """Parse the command line, attack, say what was found; exit code 1 where there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases of each part")
    parser.add_argument("--minutes", type=float, default=12, help="at most, for each part")
    parser.add_argument("--json", type=Path, help="a file for the results; those of other parts in it stay")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    found: list[Tally] = []
    for at_once in (False, True):
        parts = [part for part in chosen.parts if (part in _AFTER) == at_once]
        with ProcessPoolExecutor(
            1 if at_once else chosen.processes, get_context("spawn"), max_tasks_per_child=1
        ) as pool:
            for done in pool.map(run, parts, [chosen.share] * len(parts), [chosen.minutes] * len(parts)):
                print(done.line(), flush=True)
                found.append(done)
                for example in done.examples:
                    print("   ", example.replace("\n", "\n    "), flush=True)
                if chosen.json:
                    _keep(chosen.json, done)
    sys.exit(1 if any(done.faults for done in found) else 0)


def _keep(file: Path, done: Tally) -> None:
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    kept = [part for part in before if part["part"] != done.part]
    file.write_text(json.dumps([*kept, done.to_dict()], indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
