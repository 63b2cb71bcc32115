"""All wheels of a release, made on one machine: ``make wheels``. Needs hatchling and ziglang.

One for each system, with kernels, and one without any, so that pip always finds something.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import compiling

ROOT = Path(__file__).parents[1]


def build(target, folder):
    """Build one wheel; its path."""
    before = set(folder.glob("*.whl"))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        env={**os.environ, "RESCRNET_WHEEL": target},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (made,) = set(folder.glob("*.whl")) - before
    return made


def main():
    """Build what is named, or everything, and list it."""
    folder = ROOT / "dist"
    folder.mkdir(exist_ok=True)
    wanted = sys.argv[1:] or ["pure", *compiling.TARGETS]
    for old in folder.glob("*.whl"):
        old.unlink()
    for target in wanted:
        wheel = build(target, folder)
        with zipfile.ZipFile(wheel) as archive:
            sizes = [info.file_size for info in archive.infolist() if "/compiled/kernels-" in info.filename]
        kernels = f"kernels of {sizes[0] / 1024:.0f} kB" if sizes else "no kernels"
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()[:12]
        print(f"{wheel.name:80} {wheel.stat().st_size / 1024:5.0f} kB  {kernels:22} sha256 {digest}…", flush=True)


if __name__ == "__main__":
    main()
