"""Whether the program can be started once more for each process that trains.

A process that is spawned imports the main script. A script that trains without asking whether it is the main one would
then train in every process: Python ends each of those, while the first one waits for them for ever. So one process is
started on trial, with nothing to do.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from pathlib import Path

from rescrnet.errors import UsageError

_TRIAL = "RESCRNET_TRIAL"  # set in the environment of the process that is started on trial


def check_main_starts_again() -> None:
    """Raise :class:`UsageError` where no other process can import the main script of this one without training."""
    remedy = "put all that the script does below  if __name__ == '__main__':  or train with devices=1"
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and not Path(script).exists():
        raise UsageError(
            "devices", f"the processes cannot import the script {script}", "save it as a file, or train with devices=1"
        )
    process = get_context("spawn").Process(target=int)
    os.environ[_TRIAL] = "1"
    try:
        process.start()
        process.join()
    finally:
        del os.environ[_TRIAL]
    if process.exitcode:
        raise UsageError("devices", "every process imports the script, which would train again in each", remedy)


def stop_if_trial() -> None:
    """End this process where it was only started to see whether it can be: it got to training, so it cannot."""
    if _TRIAL in os.environ:
        raise SystemExit(1)
