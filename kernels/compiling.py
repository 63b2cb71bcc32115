"""Compile the C files of this folder into one library, of all variants that a kind of processor has.

Imports nothing but the standard library: the build of a wheel loads this file by itself. With ziglang, which is a
compiler for every system, the library may be one for another system.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent
INDEX = "kernels.json"
SECONDS = 120  # that one file may take; it takes two
FLAGS = ("-O3", "-funroll-loops", "-ffp-contract=fast", "-fvisibility=hidden", "-std=gnu11", "-Wall")


@dataclass(frozen=True)
class Code:
    """One of the codes that the same source is compiled to.

    Attributes:
        name: what the names of its functions end in.
        march: the processor, as GCC and Clang call it.
        zig: the processor, as zig calls it.
        files: of the sources.
        flags: further ones.
    """

    name: str
    march: str
    zig: str
    files: tuple[str, ...] = ("resblock", "pixels", "convlstm")
    flags: tuple[str, ...] = ()


_512, _PAIRS = "-mprefer-vector-width=512", "-DBFLOAT16"
CODES = {
    "x86_64": (
        Code("avx2", "x86-64-v3", "x86_64_v3"),
        Code("avx512", "x86-64-v4", "x86_64_v4", flags=(_512,)),
        Code(
            "avx512_bf16",
            "x86-64-v4",
            "x86_64_v4+avx512bf16",
            ("resblock", "pixels"),
            ("-mavx512bf16", _512, _PAIRS),
        ),
    ),
    "aarch64": (
        Code("neon", "armv8-a", "generic"),
        Code("neon_bf16", "armv8.2-a+bf16", "generic+bf16", ("resblock", "pixels"), (_PAIRS,)),
    ),
}


@dataclass(frozen=True)
class Target:
    """A system and a kind of processor.

    Attributes:
        machine: a key of :data:`CODES`.
        suffix: of a library there.
        triple: what zig calls it, with the oldest version of the system that the library shall run on; none where the
            library is for the machine at hand, which its own compiler knows.
        tag: of a wheel.
    """

    machine: str
    suffix: str
    triple: str = ""
    tag: str = ""


TARGETS = {
    "linux-x86_64": Target("x86_64", ".so", "x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
    "linux-aarch64": Target("aarch64", ".so", "aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64.manylinux2014_aarch64"),
    "macos-arm64": Target("aarch64", ".dylib", "aarch64-macos.11.0", "macosx_11_0_arm64"),
    "macos-x86_64": Target("x86_64", ".dylib", "x86_64-macos.11.0", "macosx_11_0_x86_64"),
    "windows-x86_64": Target("x86_64", ".dll", "x86_64-windows-gnu", "win_amd64"),
}
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_SUFFIXES = {"darwin": ".dylib", "win32": ".dll"}


class CompilationError(Exception):
    """There is no library, and why."""


def this_machine() -> Target:
    """The machine at hand."""
    machine = _MACHINES.get(platform.machine().lower())
    if machine is None:
        raise CompilationError(f"there are no kernels for processors of the kind {platform.machine()}")
    return Target(machine, _SUFFIXES.get(sys.platform, ".so"))


def compiler() -> list[str]:
    """The command of a C compiler of this machine."""
    found = None if sys.platform == "win32" else next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None)
    if found is not None:
        return [found]
    if importlib.util.find_spec("ziglang") is None:
        raise CompilationError("there is no C compiler (gcc, cc, clang, or the package ziglang)")
    return [sys.executable, "-m", "ziglang", "cc"]


def sources_key() -> str:
    """A hash of everything that a library follows from but the compiler: the C files, the headers and this file."""
    key = hashlib.sha256()
    for file in sorted([*SOURCES.glob("*.[ch]"), Path(__file__)]):
        key.update(file.name.encode() + b"\0" + file.read_bytes())
    return key.hexdigest()


def compile_kernels(
    target: Target, command: Sequence[str], *, flags: Sequence[str] = FLAGS, program: Path | None = None
) -> bytes:
    """The library for a target or, with the C file of a ``program``, that program with the kernels in it.

    Raises:
        CompilationError: the compiler failed, or took too long.
    """
    common = [*command, *flags, "-I", str(SOURCES), *(["-target", target.triple] if target.triple else [])]
    common += [] if "windows" in target.triple else ["-fPIC"]
    with tempfile.TemporaryDirectory(prefix="rescrnet-kernels-") as folder:

        def compile_file(file: Path, code: Code | None = None) -> Path:
            made = Path(folder) / f"{file.stem}-{code.name if code else 'any'}.o"
            _run([*common, *_processor_flags(code, zig="ziglang" in command), "-c", str(file), "-o", str(made)])
            return made

        def compile_code(code: Code) -> list[Path]:
            try:
                return [compile_file(SOURCES / f"{name}.c", code) for name in code.files]
            except CompilationError:
                # A compiler that is older than the processor leaves its variant out; one that knows none says so.
                if target.triple or program or code is CODES[target.machine][0]:
                    raise
                return []

        with ThreadPoolExecutor() as pool:
            parts = pool.map(compile_code, CODES[target.machine])
            others = [SOURCES / "pool.c", SOURCES / "processor.c", *([program] if program else [])]
            objects = [*pool.map(compile_file, others)]
            objects += [made for part in parts for made in part]
        kind = [] if program else ["-shared"]
        threads = [] if "windows" in target.triple else ["-pthread", "-lm"]
        stripped = ["-s"] if target.triple else []
        # From within the folder: a library for macOS holds the path that it was made at.
        _run([*common, *kind, *map(str, objects), "-o", "made", *threads, *stripped], within=folder)
        return Path(folder, "made").read_bytes()


def _processor_flags(code: Code | None, *, zig: bool) -> list[str]:
    if code is None:
        return ["-mcpu=baseline"] if zig else []
    own = [flag for flag in code.flags if not (zig and flag == "-mavx512bf16")]
    return [f"-mcpu={code.zig}" if zig else f"-march={code.march}", *own, f"-DVARIANT={code.name}"]


def compiled_files(target: Target, command: Sequence[str], **more: str) -> list[tuple[str, bytes]]:
    """The names and contents of a library and, last, of its index: which file, its hash, made of and with what.

    ``more`` is what else the index shall say.
    """
    library = compile_kernels(target, command)
    digest = hashlib.sha256(library).hexdigest()
    name = f"kernels-{digest[:8]}{target.suffix}"
    made_with = "zig" if "ziglang" in command else Path(command[0]).name
    index = {"library": name, "sha256": digest, "sources": sources_key(), "compiler": made_with, **more}
    return [(name, library), (INDEX, json.dumps(index, indent=1).encode() + b"\n")]


def _run(command: list[str], within: str | None = None) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, cwd=within
        )
    except subprocess.TimeoutExpired:
        raise CompilationError(f"{command[0]} took more than {SECONDS} s") from None
    except OSError as error:
        raise CompilationError(f"{command[0]} cannot be run ({error.strerror})") from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[-200:].strip())
        raise CompilationError(f"{command[0]} failed ({said or done.returncode})")
