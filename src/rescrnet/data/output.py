"""Folders of results that appear under their name only when they are complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from rescrnet.errors import OutputError

_FACTS = ".facts.json"


def check_free(folder: Path) -> None:
    """Raise :class:`OutputError` where ``folder`` exists and is not an empty folder."""
    try:
        is_folder = folder.is_dir()
        if is_folder and any(folder.iterdir()):
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
    partial = folder.with_name(f".{folder.name}.partial")
    kept = False
    try:
        _begin(partial, facts)
        write(partial)
        (partial / _FACTS).unlink(missing_ok=True)
        if folder.exists():  # keep an empty folder itself, it may be somebody's working directory
            for result in partial.iterdir():
                result.replace(folder / result.name)
        else:
            partial.replace(folder)
    except BaseException as error:
        kept = keep(error, partial)
        if isinstance(error, OutputError):
            raise OutputError(str(error).replace(str(partial), str(folder))) from None
        if isinstance(error, OSError):
            raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
        raise
    finally:
        if not kept:
            shutil.rmtree(partial, ignore_errors=True)


def _begin(partial: Path, facts: object) -> None:
    """Make the folder, or leave the one that was begun from the same facts."""
    note = json.dumps(facts)
    if facts is not None and (partial / _FACTS).is_file() and (partial / _FACTS).read_text(encoding="utf-8") == note:
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if facts is not None:
        (partial / _FACTS).write_text(note, encoding="utf-8")
