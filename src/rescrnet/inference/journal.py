"""Folders that interrupted work is resumed in.

A journal is a folder of one piece of work. Its manifest holds the identity of that work, which is everything that
decides its result, and for every step that is done there is a small file ``<step>.done`` with an array. The work may
keep other files beside them, and parts of it have journals of their own in folders below: a prediction of files holds
one for each file, that one for each plane, that one for each phase.

**The invariant.** Where a manifest can be read, every step that is recorded is done, and all that was made by it and by
the journals below is there in full: it belongs to the work of that identity, and to no other.

A process can be killed between any two calls to the system, so it has to hold after each of them:

- *Starting.* The manifest is written atomically, into a folder that holds nothing but an invalid one. Before that
  nothing vouches for anything.
- *A step.* What it makes is written first, its ``.done`` file last, atomically. Killed before: the step is done again,
  over what it left, and writes the same.
- *Emptying*, for another identity or because the work is over. The manifest is invalidated first, by cutting it to
  nothing in place; then the rest goes, in whatever order; then the manifest. Killed before the first: nothing has
  happened. Killed later: a manifest that cannot be read is nobody's, and whoever comes next goes on emptying. That
  holds for all journals below too, for a journal is opened only through the one above it.
- *Foreign files.* A folder that holds files and no manifest is not ours, and is refused. Ours hold one, valid or not,
  from before their first file until after their last, so they are always known.

A manifest of another format, as older versions of the program wrote, is one of another identity.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rescrnet.atomic import PARTIAL, partial_path
from rescrnet.errors import DataError, OutputError

MANIFEST = "rescrnet-job.json"  # the name that all versions gave it, so that folders of older ones are known
_FORMAT = 3
_DONE = ".done"
_NOTHING = np.zeros(0)


@dataclass(frozen=True)
class Journal:
    """The journal in ``folder``. Made without :meth:`open` nothing is checked: a worker's, of one that is open already.

    Attributes:
        folder: where it is.
        identity: whose it is: what decides the result, as JSON.
    """

    folder: Path
    identity: object = None

    @classmethod
    def find(cls, folder: Path, identity: object) -> Journal | None:
        """The journal of ``identity`` that ``folder`` holds, if it does; nothing is changed."""
        try:
            stored = (folder / MANIFEST).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        return cls(folder, identity) if stored == _manifest(identity) else None

    @classmethod
    def open(cls, folder: Path, identity: object, *, foreign_files: bool = True) -> Journal:
        """Resume the work of ``identity`` in ``folder``, or start it, in place of any other that lies there.

        Args:
            folder: made where it is missing.
            identity: what decides the result, as JSON.
            foreign_files: there may be files of others, which are refused; otherwise all that lies there is ours.

        Raises:
            OutputError: the folder holds files that are not of a journal, or cannot be made.
            OSError: the disk is full or fails.
        """
        if found := cls.find(folder, identity):
            return found
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                folder, f"cannot be used as scratch folder ({error.strerror})", "choose another"
            ) from None
        if foreign_files and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise OutputError(folder, "holds other files", "choose an empty or new scratch folder")
        journal = cls(folder, identity)
        journal.clear()
        return journal

    def child(self, name: str, identity: object = None) -> Journal:
        """The journal of a part of the work, resumed or started, in the folder ``name`` below this one."""
        return Journal.open(self.folder / name, identity, foreign_files=False)

    def done(self, step: str) -> bool:
        """Whether a step is done."""
        return (self.folder / f"{step}{_DONE}").is_file()

    def steps(self) -> set[str]:
        """All steps that are done."""
        return {path.stem for path in self.folder.iterdir() if path.suffix == _DONE}

    def record(self, step: str, state: NDArray[Any] = _NOTHING) -> None:
        """Say that a step is done, and keep ``state``; all that it made must be on its place. From any process."""
        with (
            partial_path(self.folder / f"{step}{_DONE}", shared=True) as partial,
            partial.open("wb") as file,
        ):
            np.save(file, state)

    def state(self, step: str) -> NDArray[Any]:
        """What was kept of a step that is done."""
        kept: NDArray[Any] = np.load(self.folder / f"{step}{_DONE}")
        return kept

    def started(self) -> bool:
        """Whether any step is done, here or below."""
        return any(self.folder.rglob(f"*{_DONE}"))

    def clear(self) -> None:
        """Start anew."""
        self._empty()
        try:
            with partial_path(self.folder / MANIFEST) as partial:
                partial.write_text(_manifest(self.identity), encoding="utf-8")
        except BaseException:
            with contextlib.suppress(OSError):  # nothing is left that it would have to be known by
                (self.folder / MANIFEST).unlink()
            raise

    def remove(self) -> None:
        """Remove the folder and all that it holds; only a mount point stays, empty."""
        if not self.folder.is_dir():
            return
        self._empty()
        (self.folder / MANIFEST).unlink()
        with contextlib.suppress(OSError):  # it may be a mount point
            self.folder.rmdir()

    def close(self) -> None:
        """End the journal and leave what the work has made in its folder, but nothing of a process that was killed."""
        (self.folder / MANIFEST).unlink()
        for path in self.folder.iterdir():
            if path.suffix in (_DONE, PARTIAL):
                path.unlink()

    def _empty(self) -> None:
        """Remove all but the manifest, which is invalidated first."""
        (self.folder / MANIFEST).open("wb").close()
        for path in self.folder.iterdir():
            if path.name != MANIFEST:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def opened(folder: Path, identity: object, *, foreign_files: bool = True) -> Iterator[Journal]:
    """An open journal, which a failure leaves only where there is something in it to resume.

    After a :class:`DataError` there is not: the data have to change first. Arguments and errors are those of
    :meth:`Journal.open`.
    """
    journal = Journal.open(folder, identity, foreign_files=foreign_files)
    try:
        yield journal
    except BaseException as error:
        if isinstance(error, DataError) or not journal.started():
            journal.remove()
        raise


def _manifest(identity: object) -> str:
    return json.dumps({"format": _FORMAT, "identity": identity}, indent=2)
