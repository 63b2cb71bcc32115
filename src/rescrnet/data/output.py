"""Folders of results that appear under their name only when they are complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from rescrnet.errors import OutputError


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


def write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a new folder under a temporary name, then give it its name; on failure leave nothing.

    Raises :class:`OutputError` where ``folder`` holds files already or cannot be written.
    """
    check_free(folder)
    folder = folder.absolute()  # "." has no name of its own
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        if folder.exists():  # keep an empty folder itself, it may be somebody's working directory
            for result in partial.iterdir():
                result.replace(folder / result.name)
        else:
            partial.replace(folder)
    except OutputError as error:
        raise OutputError(str(error).replace(str(partial), str(folder))) from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
