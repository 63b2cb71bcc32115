"""What a training cost: time on the clock and of the processors, memory, parameters, updates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """What a block of work took.

    Attributes:
        seconds: on the clock.
        cpu_seconds: of all threads of this process.
        peak_memory: the most memory of this process at one time, bytes, all that it held before included; None where
            the system does not tell it apart from what came before.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int | None = None


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block; the result is filled in at its end."""
    cost = Cost()
    watched = _forget_peak()
    started, cpu = time.monotonic(), time.process_time()
    try:
        yield cost
    finally:
        cost.seconds = time.monotonic() - started
        cost.cpu_seconds = time.process_time() - cpu
        cost.peak_memory = _peak() if watched else None


def _forget_peak() -> bool:
    """Let Linux begin anew to look for the peak (man 5 proc); whether that could be done."""
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak() -> int | None:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
