"""Memory: of this process, of this machine, and as text."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from pathlib import Path

from rescrnet.errors import UsageError

PROGRAM = 320_000_000  # resident with everything imported and a model loaded, as a worker of a cluster too; bytes
SHARE = 0.5  # of the free memory is the default budget
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_CGROUP = Path("/sys/fs/cgroup")


def parse_bytes(text: str) -> int:
    """``"1GB"``, ``"800 MB"``, ``"1.5GiB"`` → bytes. Raises :class:`UsageError`."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise UsageError(
            f"--memory {text}", "is no amount of memory", "expected a number and a unit, such as 1GB or 800MB"
        )
    unit = _UNITS[match[2].upper()]
    if match[3]:
        unit = 1024 ** list(_UNITS).index(match[2].upper())
    return int(float(match[1]) * unit)


def format_bytes(count: int, *, up: bool = False) -> str:
    """Bytes as people write them, ``"1.2GB"``; rounded, or rounded up."""
    unit = next((u for u in "TGM" if count >= _UNITS[u]), "K")
    digits = 1 if unit in "TG" else 0
    value = count / _UNITS[unit] * 10**digits
    rounded = -(-int(value * 1000) // 1000) if up else round(value)
    return f"{rounded / 10**digits:g}{unit}B"


def resident_bytes() -> int:
    """The memory that this process has before it predicts, bytes: at least :data:`PROGRAM`, in steps of 64 MB.

    Coarse, so that the same prediction is planned alike in every process like this one.
    """
    try:
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return PROGRAM
    return PROGRAM if resident <= PROGRAM else -(-resident // 2**26) * 2**26


def give_back() -> None:
    """Hand memory that was freed back to the system, where the C library is glibc.

    What was freed before a prediction is planned is not counted, and may lie where its arrays do not fit.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def default_budget() -> int:
    """The memory that a prediction may use where nothing else is asked for, bytes."""
    return int(available_bytes() * SHARE)


def available_bytes() -> int:
    """The memory that this process can have, bytes: of the machine, or of the container that it runs in."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 4 * 10**9
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, max(0, int(limit) - used))
