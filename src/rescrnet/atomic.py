"""Files and folders that appear under their name only when they are complete.

Both are made under a temporary name beside the one that they are to have, ``.name.partial``, and renamed at the end. A
process may be killed at any moment: what has the name is whole, and the next writer of that name replaces the rest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from rescrnet.errors import OutputError
from rescrnet.locks import WITHIN, locked, remove_abandoned
from rescrnet.wording import one_line

PARTIAL = ".partial"
_WITHIN = f".rescrnet{PARTIAL}"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_THERE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # what file systems say that cannot wait for the disk


@contextlib.contextmanager
def partial_path(path: Path, *, shared: bool = False, durable: bool = True, new: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path`` for a file or folder, which gets its name at the end of the block.

    After a failure nothing is left. Errors are those of the system; :func:`write_atomically` puts them into words.

    Args:
        path: the name to be. A file there is replaced, a folder is not.
        shared: several processes may write it at the same time, and each gets a temporary path of its own.
        durable: wait until the result is on the disk, so that it outlives a loss of power too.
        new: replace nothing; what took the name meanwhile keeps it, and :class:`FileExistsError` is raised.
    """
    partial = _partial_name(path, f".{secrets.token_hex(4)}" if shared else "")
    _discard(partial)
    try:
        yield partial
        if durable:
            sync_tree(partial)
        (_name_new if new else Path.replace)(partial, path)
        if durable:
            sync_names(path.parent)
    except BaseException:
        _discard(partial)
        raise


def write_atomically(
    path: Path,
    write: Callable[[Path], object],
    *,
    shared: bool = False,
    durable: bool = True,
    new: bool = False,
) -> None:
    """Let ``write`` make a file or folder at a temporary path beside ``path``, then give it its name.

    Args:
        path: the name to be.
        write: called with the temporary path, which has another suffix than ``path``.
        shared: several processes may write it at the same time.
        durable: it outlives a loss of power; scratch files need not.
        new: replace nothing.

    Raises:
        OutputError: it cannot be written, or exists and must be ``new``; what had the name before still has it.
    """
    try:
        with partial_path(path, shared=shared, durable=durable, new=new) as partial:
            try:
                write(partial)
            except OutputError as error:
                raise _about_the_target(error, partial, path) from None
    except OutputError:
        raise
    except FileExistsError:
        raise exists_already(path) from None
    except (OSError, SafetensorError) as error:
        raise cannot_be_written(path, error) from None


def exists_already(path: Path) -> OutputError:
    """What is to be said of a result whose name is taken."""
    return OutputError(path, "exists already", "choose another name, or remove it first")


def cannot_be_written(path: Path, error: Exception) -> OutputError:
    """What the system or a library says of a file or folder that it does not write, in our words."""
    remedy = "free space there, or choose another folder"
    if isinstance(error, OSError) and error.errno not in _FULL:
        remedy = "choose another folder"
    return OutputError(path, f"cannot be written ({getattr(error, 'strerror', None) or one_line(error)})", remedy)


def check_free(folder: Path, unfinished: str | None = None) -> None:
    """Raise :class:`OutputError` where ``folder`` exists and is not an empty folder.

    One that holds a file of the name ``unfinished`` is free for whoever finishes it.
    """
    try:
        is_folder = folder.is_dir()
        if unfinished and (folder / unfinished).is_file():
            return
        if is_folder and any(path.name not in (_WITHIN, WITHIN) for path in folder.iterdir()):
            remove_abandoned(folder)
            raise OutputError(folder, "already holds files", "choose a new folder, or remove it first")
        if not is_folder and folder.exists():
            raise OutputError(folder, "is a file", "expected a new folder; choose another name")
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(folder, f"cannot be used ({error.strerror})", "choose another folder") from None


def write_folder(
    folder: Path, write: Callable[[Path], object], *, resumable: bool = False, unfinished: str | None = None
) -> None:
    """Let ``write`` fill a new folder at a temporary path, then give it its name.

    A second process that is to write the same folder is refused while the first one does. An empty folder stays
    itself, for it may be somebody's working directory, or another disk.

    Args:
        folder: the new folder.
        write: called with the temporary path, an empty folder.
        resumable: ``write`` itself decides what becomes of unfinished work: it is handed the temporary folder as an
            interrupted call left it, and what it leaves there when it fails stays. Otherwise a failure leaves nothing.
        unfinished: a file of this name in ``folder`` says that a part of it is missing: then ``write`` is handed the
            folder itself, to which it adds files atomically.

    Raises:
        OutputError: ``folder`` holds files already or cannot be written.
    """
    check_free(folder, unfinished)
    folder = folder.absolute()  # "." has no name of its own
    partial = folder / _WITHIN if folder.exists() else _partial_name(folder)
    if unfinished and (folder / unfinished).is_file():
        partial, resumable = folder, True
    try:
        with locked(folder):
            partial.mkdir(parents=True, exist_ok=True)
            try:
                if not resumable:
                    _empty(partial)
                write(partial)
                sync_tree(partial)
                if partial != folder:
                    check_free(folder)  # still
                    _give_name(partial, folder)
                    sync_names(folder.parent)
            except BaseException:
                if not resumable:
                    _empty(partial)
                with contextlib.suppress(OSError):  # it is not empty
                    partial.rmdir()
                raise
    except OutputError as error:
        raise _about_the_target(error, partial, folder) from None
    except OSError as error:
        raise cannot_be_written(folder, error) from None


def _give_name(partial: Path, folder: Path) -> None:
    if partial.parent != folder:
        partial.replace(folder)
        return
    for result in partial.iterdir():
        result.replace(folder / result.name)
    partial.rmdir()


def _empty(folder: Path) -> None:
    """Remove what a folder holds, as far as that goes.

    Files go before folders: among them is the manifest of an interrupted prediction, which must not outlive any part of
    a folder that it vouches for (see :mod:`rescrnet.inference.journal`).
    """
    for path in sorted(folder.iterdir(), key=Path.is_dir) if folder.is_dir() else ():
        _discard(path)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _partial_name(path: Path, token: str = "") -> Path:
    return path.with_name(f".{path.name}{token}{PARTIAL}")


def _name_new(partial: Path, path: Path) -> None:
    """Rename, unless something has the name: then raise :class:`FileExistsError`."""
    if os.name == "nt" or partial.is_dir():  # neither is replaced by a rename, but for an empty folder
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        partial.rename(path)
        return
    try:
        path.hardlink_to(partial)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: the name is taken first, which but one process can do
        path.open("xb").close()
        try:
            partial.replace(path)
        except BaseException:
            path.unlink()
            raise
    else:
        partial.unlink()


def sync_tree(path: Path) -> None:
    """Wait until a file, or all that a folder holds, is on the disk."""
    if not path.is_dir():
        _sync(path)
        return
    for folder, _, files in os.walk(path):
        for file in files:
            _sync(Path(folder, file))
        sync_names(Path(folder))


def sync_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system has a call for that."""
    if os.name != "nt":
        _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    finally:
        os.close(handle)


def _about_the_target(error: OutputError, partial: Path, target: Path) -> OutputError:
    """The same error about the name that a user knows."""
    path = error.subject
    if isinstance(path, Path) and path.is_relative_to(partial):
        return error.about(target / path.relative_to(partial))
    return error
