"""Folders of results that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from rescrnet.errors import OutputError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_FACTS = ".facts.json"
_WITHIN = ".rescrnet.partial"


def check_free(folder: Path) -> None:
    """Raise :class:`OutputError` where ``folder`` exists and is not an empty folder."""
    try:
        is_folder = folder.is_dir()
        if is_folder and any(path.name != _WITHIN for path in folder.iterdir()):
            raise OutputError(f"{folder}: already holds files; choose a new folder, or remove it first")
        if not is_folder and folder.exists():
            raise OutputError(f"{folder}: is a file; expected a new folder; choose another name")
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used ({error.strerror}); choose another folder") from None


def write_folder(
    folder: Path,
    write: Callable[[Path], object],
    facts: object = None,
    keep: Callable[[BaseException, Path], bool] = lambda error, partial: False,
) -> None:
    """Let ``write`` fill a new folder under a temporary name, then give it its name; on failure leave nothing.

    Args:
        folder: the new folder.
        write: called with the folder under its temporary name.
        facts: what decides the results, as JSON. If a process that wrote from the same facts left its unfinished
            folder, ``write`` gets that one, with what is in it.
        keep: whether to leave the unfinished folder after a failure.

    Raises:
        OutputError: ``folder`` holds files already or cannot be written.
    """
    check_free(folder)
    folder = folder.absolute()  # "." has no name of its own
    # An empty folder stays itself: it may be somebody's working directory, or another disk.
    partial = folder / _WITHIN if folder.exists() else folder.with_name(f".{folder.name}.partial")
    kept = False
    try:
        with _alone(partial):
            try:
                _begin(partial, facts)
                write(partial)
                check_free(folder)  # still
                (partial / _FACTS).unlink(missing_ok=True)
                if partial.parent == folder:
                    for result in partial.iterdir():
                        result.replace(folder / result.name)
                    partial.rmdir()
                else:
                    partial.replace(folder)
                kept = True  # under its name; the next of the temporary name is somebody else's
            except BaseException as error:
                kept = keep(error, partial)
                raise
            finally:
                if not kept:
                    _clear(partial)
                    shutil.rmtree(partial, ignore_errors=True)
    except OutputError as error:
        raise OutputError(str(error).replace(str(partial), str(folder))) from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None


@contextlib.contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Make the folder and keep other processes out of it; the system lets go of it however this one ends."""
    partial.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{partial}: another process is writing there; wait for it to end, or choose another folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def _begin(partial: Path, facts: object) -> None:
    """Empty the folder, or leave what was begun from the same facts."""
    note = json.dumps(facts)
    if facts is not None and (partial / _FACTS).is_file() and (partial / _FACTS).read_text(encoding="utf-8") == note:
        return
    _clear(partial)
    if facts is not None:
        (partial / _FACTS).write_text(note, encoding="utf-8")


def _clear(partial: Path) -> None:
    """Remove what the folder holds, the facts first: what is left after an interruption is gone on with by nobody."""
    (partial / _FACTS).unlink(missing_ok=True)
    for path in partial.iterdir() if partial.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file under a temporary name beside ``path``, then give it its name."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        write(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    finally:
        partial.unlink(missing_ok=True)
