"""The test program of the kernels on every kind of processor that can be had here: ``make test-kernels``.

Natively with the sanitizers of the machine's compiler; emulated by qemu as an arm64, as an older x86-64 and as one from
before AVX2; under Wine as a Windows program. What is missing is installed where that can be done, else left out with a
reason. Ends with 1 where any of them failed.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "kernels"))

import compiling  # noqa: E402

compiling.SECONDS = 900  # zig compiles its C library, too, the first time
ZIG = [sys.executable, "-m", "ziglang", "cc"]
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ARM, INTEL = (compiling.Target(kind, "", f"{kind}-linux-musl") for kind in ("aarch64", "x86_64"))
WINDOWS = compiling.TARGETS["windows-x86_64"]
RUNS = [
    ("this processor, sanitized", compiling.this_machine(), SANITIZED, [], 2000, None),
    ("arm64 with bfloat16", ARM, compiling.FLAGS, ["qemu-aarch64", "-cpu", "max"], 300, "neon_bf16"),
    ("arm64 without", ARM, compiling.FLAGS, ["qemu-aarch64", "-cpu", "cortex-a53"], 300, "neon"),
    ("Haswell", INTEL, compiling.FLAGS, ["qemu-x86_64", "-cpu", "Haswell"], 300, "avx2"),
    ("Nehalem", INTEL, compiling.FLAGS, ["qemu-x86_64", "-cpu", "Nehalem"], 300, "none of the variants can run here"),
    ("Windows", WINDOWS, compiling.FLAGS, ["wine"], 300, None),
]
PACKAGES = {"qemu-aarch64": "qemu-user", "qemu-x86_64": "qemu-user", "wine": "wine64"}


def emulator(command):
    """The command with its path, installed if need be; none where it is not to be had."""
    if not command:
        return command
    if shutil.which(command[0]) is None and shutil.which("apt-get") and getattr(os, "geteuid", int)() == 0:
        for step in (["update"], ["install", "--yes", "--no-install-recommends", PACKAGES[command[0]]]):
            subprocess.run(["apt-get", "--quiet", "--quiet", *step], check=False, stdout=subprocess.DEVNULL)
    found = shutil.which(command[0]) or shutil.which(f"/usr/lib/wine/{command[0]}64")
    return [found, *command[1:]] if found else None


def run(name, target, flags, command, rounds, expected, programs):
    """What there is to say of a run, and whether it failed."""
    if target.triple and importlib.util.find_spec("ziglang") is None:
        return "left out: no ziglang", False
    command = emulator(command)
    if command is None:
        return "left out: no emulator", False
    program = Path(programs) / f"{target.triple or 'native'}.exe"
    try:
        if not program.exists():
            compiler = ZIG if target.triple else compiling.compiler()
            program.write_bytes(compiling.compile_kernels(target, compiler, flags=flags, program=HERE / "program.c"))
            program.chmod(0o755)
    except compiling.CompilationError as error:
        return f"does not compile: {error}", True
    environment = {**os.environ, "WINEDEBUG": "-all", "WINEPREFIX": str(Path(programs) / "wine")}
    started = time.monotonic()
    done = subprocess.run(
        [*command, str(program), str(rounds)], capture_output=True, text=True, timeout=900, env=environment, check=False
    )
    ran = expected is None or (f"{expected}:" in done.stdout and f"{expected}: not" not in done.stdout)
    failed = done.returncode != 0 or not ran
    said = done.stdout.strip() if not failed else f"{done.stdout}{done.stderr[-3000:]}\nended with {done.returncode}"
    return f"{said}\n{time.monotonic() - started:.0f} s", failed


def main():
    """All runs, or those whose name holds a word of the command line."""
    failures = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as programs:
        for name, *rest in RUNS:
            if sys.argv[1:] and not any(word.lower() in name.lower() for word in sys.argv[1:]):
                continue
            said, failed = run(name, *rest, programs)
            failures += failed
            print(f"{name}{' FAILED' if failed else ''}\n  " + said.strip().replace("\n", "\n  "), flush=True)
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
