"""The compiled kernels: one library, in it the variants that are made for a kind of processor.

A wheel brings the library. A source checkout compiles that of ``kernels/`` at first use, with a compiler of the
machine, and keeps it in the checkout, which is to be trusted as much as the code itself. Which variant is called is
decided when it is first asked for, by what the processor and the system can do, so that no instruction is ever met that
the processor does not have. Where there is no library, or none of its variants can run, or ``RESCRNET_NATIVE=0`` is
set, the plain PyTorch path gives the same numbers more slowly.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rescrnet.atomic import partial_path
from rescrnet.errors import UsageError

SETTING = "RESCRNET_NATIVE"
INSTALLED = Path(__file__).parent / "compiled"
SOURCES = Path(__file__).parents[3] / "kernels"  # in a source checkout
_INDEX = "kernels.json"
VARIANTS: dict[str, dict[torch.dtype, str]] = {
    "avx2": {torch.float32: "avx2"},
    "avx512": {torch.float32: "avx512"},
    "avx512-bf16": {torch.float32: "avx512", torch.bfloat16: "avx512_bf16"},
    "neon": {torch.float32: "neon"},
    "neon-bf16": {torch.float32: "neon", torch.bfloat16: "neon_bf16"},
}
"""By what a user calls it: for the type of the images what the names of the kernels end in. The best comes last."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The variant that is used, none for the plain path, and why, for people to read."""

    variant: str | None
    why: str


def choice() -> Choice:
    """What is used now.

    Raises:
        UsageError: ``RESCRNET_NATIVE`` asks for what there is not, or cannot run here.
    """
    return _choice(os.environ.get(SETTING, ""))


def has_kernels(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this machine has the compiled kernels for images of this type."""
    variant = choice().variant
    return variant is not None and dtype in VARIANTS[variant]


def call(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call a kernel, where :func:`has_kernels` says that there are some, with as many threads as PyTorch uses or used.

    Raises:
        MemoryError: there is too little for its intermediate results.
        RuntimeError: the arguments are beyond the bounds of the kernels, which the caller should have asked for.
    """
    variant, library = choice().variant, _library()[0]
    if variant is None or library is None:
        raise RuntimeError(f"{name} has not been compiled here; ask has_kernels() first")
    function = getattr(library, f"{name}_{VARIANTS[variant][dtype]}")
    code = function(*arguments, ctypes.c_ssize_t(_threads or torch.get_num_threads()))
    if code == 1:
        raise MemoryError(f"{name}: intermediate results")
    if code:
        raise RuntimeError(f"{name}: arguments beyond the bounds of the kernels")


_threads: int | None = None  # of the kernels, where PyTorch has others


@contextmanager
def only_kernels_share() -> Iterator[None]:
    """Within it PyTorch's own operations take one thread, in this whole process, and the kernels as many as before.

    To share an operation on a small tensor takes longer than to do it.
    """
    global _threads
    before = (_threads, torch.get_num_threads())
    _threads = _threads or before[1]
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _threads, threads = before
        torch.set_num_threads(threads)


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a kernel finds the elements of a contiguous tensor, which must outlive the call."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


@cache
def _choice(asked: str) -> Choice:
    if asked == "0":
        return Choice(None, f"switched off by {SETTING}=0")
    if asked and asked not in VARIANTS:
        raise UsageError(
            SETTING, f"{asked!r} is no variant", f"expected 0 or one of {', '.join(VARIANTS)}; or unset it"
        )
    library, said = _library()
    can_run = [name for name in VARIANTS if library is not None and _runs(library, name)]
    if asked and asked not in can_run:
        reason = said if library is None else "this processor or this library does not have it"
        choose = ", ".join(["0", *can_run])
        raise UsageError(SETTING, f"{asked} cannot be used: {reason}", f"choose among {choose}, or unset it")
    if library is None:
        return Choice(None, said)
    if not can_run:
        return Choice(None, "the kernels want a processor with AVX2 and FMA, or NEON")
    if asked:
        return Choice(asked, f"asked for by {SETTING}; {said}")
    return Choice(can_run[-1], f"the best of {', '.join(can_run)} on this processor; {said}")


def _runs(library: ctypes.CDLL, variant: str) -> bool:
    codes = VARIANTS[variant].values()
    return all(library.processor_has(code.encode()) and hasattr(library, f"pixel_add_{code}") for code in codes)


class _NotThereError(Exception):
    """There is no library, and why."""


@cache
def _library() -> tuple[ctypes.CDLL | None, str]:
    """The library, if there is one, and where it comes from or why there is none."""
    try:
        if not _is_checkout():
            path, compiler = _installed()
            return ctypes.CDLL(str(path)), f"compiled with {compiler}, as installed"
        compiling = _compiling()
        try:
            path, compiler = _installed(compiling.sources_key())
        except _NotThereError as error:
            _log.info("compiling the kernels: %s", error)
            path, compiler = _compile(compiling)
        return ctypes.CDLL(str(path)), f"compiled with {compiler} from this source checkout"
    except (_NotThereError, OSError) as error:
        _log.info("no compiled kernels, the plain path is used: %s", error)
        return None, f"no compiled kernels: {error}"


def _is_checkout() -> bool:
    """Whether there is something to compile here. The index of a wheel says that it is one.

    What lies beside an installed package must not be run: anybody may have put it there.
    """
    try:
        of_a_wheel = "installed" in json.loads((INSTALLED / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        of_a_wheel = False
    return not of_a_wheel and SOURCES.parent.joinpath("src", "rescrnet") == INSTALLED.parents[1] and SOURCES.is_dir()


def _installed(sources: str | None = None) -> tuple[Path, str]:
    """The library, undamaged and, if that is asked for, made from these sources; and what compiled it."""
    try:
        index = json.loads((INSTALLED / _INDEX).read_text(encoding="utf-8"))
        if index.get("installed") == "pure":
            raise FileNotFoundError
        library = INSTALLED / Path(index["library"]).name
        if hashlib.sha256(library.read_bytes()).hexdigest() != index["sha256"]:
            raise _NotThereError(f"{library.name} is damaged; install rescrnet again")
        if sources is not None and index["sources"] != sources:
            raise _NotThereError("the sources have changed since they were compiled")
        return library, str(index["compiler"])
    except FileNotFoundError:
        raise _NotThereError("this installation has none; wheels for Linux, macOS and Windows have them") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _NotThereError(f"{INSTALLED / _INDEX} cannot be read ({error}); install rescrnet again") from None


def _compile(compiling: Any) -> tuple[Path, str]:
    """Compile the sources of a checkout; several processes may do so at the same time."""
    try:
        INSTALLED.mkdir(exist_ok=True)
        target, command = compiling.this_machine(), compiling.compiler()
        for name, content in compiling.compiled_files(target, command):
            with partial_path(INSTALLED / name, shared=True, durable=True) as partial:
                partial.write_bytes(content)
    except compiling.CompilationError as error:
        raise _NotThereError(str(error)) from None
    except OSError as error:
        raise _NotThereError(f"{INSTALLED} cannot be written ({error.strerror})") from None
    library, compiler = _installed()
    for old in INSTALLED.glob("kernels-*"):
        if old.name != library.name:
            old.unlink(missing_ok=True)
    return library, compiler


def _compiling() -> Any:
    """``kernels/compiling.py`` of the checkout; no part of the package, for an installed one compiles nothing."""
    spec = importlib.util.spec_from_file_location("rescrnet_kernels_compiling", SOURCES / "compiling.py")
    if spec is None or spec.loader is None:
        raise _NotThereError(f"{SOURCES} cannot be read")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
