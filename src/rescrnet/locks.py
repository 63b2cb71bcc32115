"""One writer for a folder or file: a lock that the system lets go of however its holder ends.

The lock lies on a small file beside what it protects, which says who holds it. The system's own locks are used,
``flock`` or those of ``msvcrt``, rather than the mere existence of the file: after a kill or a loss of power nobody is
locked out.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from rescrnet.errors import OutputError
from rescrnet.wording import printable

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
WITHIN = f".rescrnet{LOCK}"
"""The lock of a folder, where it lies within."""
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_BEYOND = 1 << 30  # the byte that is locked on Windows, where what is locked cannot be read: beyond what the file says


@contextlib.contextmanager
def locked(target: Path, *, wait: float = 0) -> Iterator[None]:
    """Keep other processes, and other threads, from writing ``target`` while the block runs.

    Where the file system has no locks, the block runs without one.

    Args:
        target: a folder or file, which need not be there yet; the folder that it is in is made.
        wait: how long to wait for another writer to end, seconds.

    Raises:
        OutputError: another process writes there, and the message says which one; or it cannot be written.
    """
    file = lock_file(target)
    made: list[Path] = []
    last = time.monotonic() + wait
    try:
        made += [folder for folder in file.parents if not folder.exists()]
        if made:
            made[0].mkdir(parents=True, exist_ok=True)
        handle = _acquire(file)
        while handle is None and time.monotonic() < last:
            time.sleep(0.05)
            handle = _acquire(file)
    except OSError as error:
        raise OutputError(target, f"cannot be written ({error.strerror})", "choose another folder") from None
    if handle is None:
        raise OutputError(target, f"{_holder(file)} is writing there", "wait for it to end, or choose another name")
    try:
        _sign(handle)
        yield
    finally:
        _release(handle, file)
        for folder in made:
            with contextlib.suppress(OSError):  # it is in use now
                folder.rmdir()


def remove_abandoned(target: Path) -> None:
    """Remove the lock that a killed process left beside a finished ``target``, which nobody will lock again."""
    file = lock_file(target)
    with contextlib.suppress(OSError):
        if file.is_file() and (handle := _acquire(file)) is not None:
            _release(handle, file)


def lock_file(target: Path) -> Path:
    """The file that a lock for ``target`` lies on: beside it, or within a folder beside which nothing can be made."""
    real = Path(os.path.realpath(target))
    if real.is_dir() and not (real.name and os.access(real.parent, os.W_OK)):
        return real / WITHIN
    return real.with_name(f".{real.name}{LOCK}")


def _acquire(file: Path) -> int | None:
    """The open file with the lock, or none where another process has it."""
    while True:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            if os.name == "nt":  # its former holder is just removing it
                return None
            raise
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in _HELD:
                os.close(handle)
                return None
            return handle  # a file system without locks
        if _is_still(handle, file):
            return handle
        os.close(handle)  # its former holder removed it after it was opened here


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        os.lseek(handle, _BEYOND, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_still(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))  # noqa: PTH116 - of one kind with fstat
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    """Say who holds it."""
    now = datetime.now().astimezone().replace(microsecond=0)
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now.isoformat(sep=" ")})
    with contextlib.suppress(OSError):  # a full disk keeps nobody from holding a lock
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, text.encode())


def _holder(file: Path) -> str:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return printable(f"process {said['pid']} on {said['host']}, since {said['since'][:19]},")
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # which has not signed yet


def _release(handle: int, file: Path) -> None:
    if os.name == "nt":  # no open file can be removed there
        os.close(handle)
    try:  # while it is held: whoever opened it meanwhile sees that it is gone
        with contextlib.suppress(OSError):
            os.unlink(file)  # noqa: PTH108
    finally:
        if os.name != "nt":
            os.close(handle)
