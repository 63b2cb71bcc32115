"""The build of a wheel: with the kernels compiled for the system that RESCRNET_WHEEL names, or for this machine.

``RESCRNET_WHEEL`` is a key of TARGETS in compiling.py, for which the build needs ziglang, or ``pure``. Unset, it is a
build of somebody's own, with the compiler of the machine; where there is none, or it fails, the wheel has no kernels.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "rescrnet/ops/compiled"


class CompiledKernels(BuildHookInterface):
    """Adds the library and its index to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before the wheel is put together. An editable installation compiles at first use instead."""
        if version == "editable":
            return
        compiling = _compiling(Path(self.root) / "kernels" / "compiling.py")
        asked = os.environ.get("RESCRNET_WHEEL", "")
        if asked not in ("", "pure", *compiling.TARGETS):
            raise SystemExit(f"RESCRNET_WHEEL={asked}: expected pure or one of {', '.join(compiling.TARGETS)}")
        files = _files(compiling, asked)
        self.folder = Path(tempfile.mkdtemp(prefix="rescrnet-wheel-"))
        for name, content in files:
            (self.folder / name).write_bytes(content)
            build_data["force_include"][str(self.folder / name)] = f"{FOLDER}/{name}"
        if len(files) > 1:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{compiling.TARGETS[asked].tag if asked else platform}"
            build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled."""
        shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)


def _files(compiling: Any, asked: str) -> list[tuple[str, bytes]]:
    if asked in compiling.TARGETS:
        zig = [sys.executable, "-m", "ziglang", "cc"]
        return compiling.compiled_files(compiling.TARGETS[asked], zig, installed=asked)
    if not asked:
        try:
            return compiling.compiled_files(compiling.this_machine(), compiling.compiler(), installed="this machine")
        except compiling.CompilationError as error:
            print(f"a wheel without compiled kernels: {error}", file=sys.stderr)
    return [(compiling.INDEX, json.dumps({"installed": "pure"}).encode() + b"\n")]


def _compiling(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("rescrnet_kernels_compiling", file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} cannot be read")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
