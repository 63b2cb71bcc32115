"""Run the program, and say how it ended: exit code, output, seconds, peak memory."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SLOW = 20.0  # seconds: what takes longer hangs
MOST = 3_000_000_000  # bytes of address space beyond what the program has, for inputs of a few kilobytes


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit code, negative for a signal; none where it had to be stopped.
        text: all that it printed.
        seconds: how long it took.
        peak: its largest resident memory, bytes; 0 where unknown.
    """

    code: int | None
    text: str
    seconds: float
    peak: int = 0

    @property
    def fault(self) -> str:
        """What the program may not do; nothing where it ended as it should."""
        if self.code is None:
            return "hang"
        if self.code < 0:
            return f"signal {signal.Signals(-self.code).name}"
        if "Traceback (most recent call last)" in self.text or "Exception ignored" in self.text:
            return "traceback"
        if re.search(r"^\S*Warning: |: \w*Warning: ", self.text, re.MULTILINE):
            return "a library's warning"
        if self.code and not re.search(r"^(rescrnet: |error )", self.text, re.MULTILINE):  # check prints its findings
            return "no line"
        if self.code and self.code not in (1, 2, 130):
            return f"exit code {self.code}"
        return ""


def forked(run: Callable[[], object], *, within: float = SLOW) -> Outcome:
    """Run a function of this process in a child of it, in which everything is imported already."""
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        child = os.fork()
        if not child:
            _in_child(run, said.fileno())
        code, peak = _wait(child, started + within)
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    return Outcome(code, text, time.monotonic() - started, peak)


def _in_child(run: Callable[[], object], output: int) -> None:
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        allowed = _field("VmSize") + MOST
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
        sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
        try:
            run()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def _field(field: str, process: int | str = "self") -> int:
    """A figure about a process from the system, bytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024


def _wait(child: int, until: float) -> tuple[int | None, int]:
    handle = os.pidfd_open(child)
    try:
        ended, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
    finally:
        os.close(handle)
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return (os.waitstatus_to_exitcode(status) if ended else None), usage.ru_maxrss * 1024


def command(*arguments: object) -> Callable[[], None]:
    """The command line with ``arguments``, for :func:`forked`."""

    def run() -> None:
        from rescrnet.cli import main

        sys.argv = ["rescrnet", *map(str, arguments)]
        main()

    return run


_MEASURED = """
import atexit, os, sys
def say():
    text = open("/proc/self/status").read()
    open(os.environ["RESCRNET_PEAK"], "w").write(text.split("VmHWM:")[1].split()[0])
atexit.register(say)
from rescrnet.cli import main
sys.argv = ["rescrnet", *sys.argv[1:]]
main()
"""


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """Start the program as a user would, in a process group of its own."""
    call = [sys.executable, "-m", "rescrnet", *map(str, arguments)]
    settings = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.Popen(call, **{**settings, **options})


def measured(*arguments: object, within: float = 600) -> Outcome:
    """Run the program as a user would, and measure its largest resident memory."""
    return _finished([sys.executable, "-c", _MEASURED, *map(str, arguments)], within)


def called(*arguments: object, within: float = 120, environment: dict[str, str] | None = None) -> Outcome:
    """Run the program as a user would."""
    return _finished([sys.executable, "-m", "rescrnet", *map(str, arguments)], within, environment)


def _finished(call: Sequence[str], within: float, environment: dict[str, str] | None = None) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        peak = Path(folder) / "peak"
        started = time.monotonic()
        process = subprocess.Popen(
            call,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "RESCRNET_PEAK": str(peak), **(environment or {})},
        )
        try:
            said, _ = process.communicate(timeout=within)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            peak.write_text(str(_field("VmHWM", process.pid) // 1024), encoding="ascii")
            os.killpg(process.pid, signal.SIGKILL)
            said, code = process.communicate()[0], None
        seconds = time.monotonic() - started
        size = int(peak.read_text(encoding="ascii")) * 1024 if peak.is_file() else 0
    return Outcome(code, said.decode("utf-8", "replace"), seconds, size)
