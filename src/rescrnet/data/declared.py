"""What a dataset says of its own masks: ``dataset.yaml``, or nnU-Net's ``dataset.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rescrnet.config import validate
from rescrnet.data.masks import DatasetFile
from rescrnet.errors import DataError, UsageError


def declared(folder: Path) -> DatasetFile | None:
    """What is declared in ``folder``, or nothing. ``dataset.yaml`` wins over ``dataset.json``.

    Raises :class:`DataError` where the file is not valid.
    """
    found = DatasetFile.beside(folder)
    path = folder / "dataset.json"
    if found or not path.is_file():
        return found
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not valid JSON ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        return None  # something else's dataset.json
    try:
        return validate(DatasetFile, _from_nnunet(content["labels"], path), where=str(path))
    except UsageError as error:
        raise DataError(str(error)) from None


def _from_nnunet(labels: dict[str, Any], path: Path) -> dict[str, Any]:
    """``{"background": 0, "cell": 1}``, or of nnU-Net's first version ``{"0": "background", "1": "cell"}``."""
    if all(isinstance(name, str) and value.isdecimal() for value, name in labels.items()):
        labels = {name: int(value) for value, name in labels.items()}
    if wrong := [name for name, value in labels.items() if not isinstance(value, int)]:
        raise DataError(
            f"{path}: label '{wrong[0]}' is a region of several values, {labels[wrong[0]]}; expected one value a "
            "class; name the values in dataset.yaml"
        )
    classes = [{"name": name, "value": value} for name, value in labels.items() if name != "ignore"]
    return {"classes": classes} | ({"ignore": labels["ignore"]} if "ignore" in labels else {})
