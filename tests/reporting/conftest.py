"""A run folder with its page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rescrnet.reporting.page import report


@pytest.fixture(scope="session")
def reported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the small run with its ``report.html``: read only, copy before changing."""
    copy = Path(shutil.copytree(run, tmp_path_factory.mktemp("reported") / "first"))
    report(copy)
    return copy
