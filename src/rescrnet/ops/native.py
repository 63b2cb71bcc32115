"""Compiled kernels, where the machine can make them.

The C files are compiled once, when they are first needed, with the compiler of the machine for the processor of the
machine, and kept in the user's cache. Where there is no compiler, or ``RESCRNET_NATIVE=0`` is set, there are none, and
the plain PyTorch path gives the same numbers more slowly.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from torch import Tensor

from rescrnet.atomic import write_atomically

_FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-funroll-loops", "-fopenmp", "-fPIC")
SOURCES = Path(__file__).parent / "c"
_log = logging.getLogger(__name__)


@cache
def kernels(name: str, *macros: str) -> ctypes.CDLL | None:
    """``c/name.c`` of this folder, compiled with these macros defined, or none. Its functions return nothing."""
    compiler = shutil.which("gcc")
    if os.environ.get("RESCRNET_NATIVE") == "0" or sys.platform != "linux" or compiler is None:
        return None
    flags = [*_FLAGS, *(f"-D{macro}" for macro in macros)]
    try:
        library = _cache_folder() / f"{name}-{_key(compiler, flags, name)}.so"
        if not library.is_file():
            _compile(compiler, flags, SOURCES / f"{name}.c", library)
        # No OpenMP is linked in: its symbols resolve to the one that PyTorch has loaded, so both share their threads.
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.CalledProcessError) as error:
        _log.info("no compiled kernels, the plain path is used: %s", error)
        return None


def required(name: str, *macros: str) -> ctypes.CDLL:
    """The kernels of a path that is taken only where :func:`kernels` has them."""
    library = kernels(name, *macros)
    if library is None:
        raise RuntimeError(f"{name}.c has not been compiled here; ask kernels() first")
    return library


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a kernel finds the elements of a contiguous tensor, which must outlive the call."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _key(compiler: str, flags: list[str], name: str) -> str:
    """A hash of everything that a library follows from: the source, all headers, the flags, the processor."""
    # What "native" means is part of it: a home folder may be shared between processors.
    target = subprocess.run([compiler, *_FLAGS, "-Q", "--help=target"], capture_output=True, check=True).stdout
    key = hashlib.sha256(repr(flags).encode() + target)
    for file in [SOURCES / f"{name}.c", *sorted(SOURCES.glob("*.h"))]:
        key.update(file.name.encode() + file.read_bytes())
    return key.hexdigest()[:16]


def _compile(compiler: str, flags: list[str], source: Path, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        compiled = Path(folder) / "kernels.o"
        command = [compiler, *flags, "-I", str(SOURCES), "-c", str(source), "-o", str(compiled)]
        subprocess.run(command, capture_output=True, check=True)
        link = [compiler, "-shared", str(compiled), "-o"]
        write_atomically(
            library, lambda partial: subprocess.run([*link, str(partial)], capture_output=True, check=True), shared=True
        )


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rescrnet"
