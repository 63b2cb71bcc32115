"""Libraries that only some users need: imported when a file asks for them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from rescrnet.errors import DataError


def library_for(path: Path, form: str, module: str, extra: str) -> Any:
    """The module that reads a file of a ``form``. Raises :class:`DataError` with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        found = f"is {form}, and the library that reads it is not installed"
        raise DataError(path, found, f'pip install "rescrnet[{extra}]"') from None
