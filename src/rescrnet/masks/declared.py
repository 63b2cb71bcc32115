"""What a dataset says of its own masks: ``dataset.yaml``, or nnU-Net's ``dataset.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import PositiveFloat

from rescrnet.classes import MaskDeclaration
from rescrnet.config import validate
from rescrnet.errors import DataError, UsageError
from rescrnet.wording import one_line


class DatasetFile(MaskDeclaration):
    """``dataset.yaml``, which overrides what would be inferred from the masks."""

    allow_single_class: bool = False
    """Accept masks that hold one class only."""
    groups: dict[str, list[str]] = {}
    """Images that belong together, by what they were taken from: an animal, a stack of sections, one large image.
    They train or they validate, all of them."""
    validation: list[str] = []
    """The images that validate; split off where left out."""
    pixel_size: tuple[PositiveFloat, PositiveFloat] | None = None
    """Height and width of a pixel, micrometres."""

    @classmethod
    def beside(cls, folder: Path) -> DatasetFile | None:
        """The ``dataset.yaml`` in ``folder``, or none. Raises a one-line error where it is not valid."""
        path = folder / "dataset.yaml"
        if not path.is_file():
            return None
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise DataError(path, f"is not valid YAML ({one_line(error)})", "correct it") from None
        if not isinstance(values, dict):
            raise DataError(
                path, "is no dataset.yaml", "expected keys such as 'classes:', with a name and a value for each"
            )
        try:
            return validate(cls, values, where=str(path))
        except UsageError as error:
            raise DataError(error.subject, error.found, error.remedy) from None


def declared_in(folder: Path) -> DatasetFile | None:
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
        raise DataError(path, f"is not valid JSON ({one_line(error)})", "correct it") from None
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
        return None  # something else's dataset.json
    try:
        return validate(DatasetFile, _from_nnunet(content["labels"], path), where=str(path))
    except UsageError as error:
        raise DataError(error.subject, error.found, error.remedy) from None


def _from_nnunet(labels: dict[str, Any], path: Path) -> dict[str, Any]:
    """``{"background": 0, "cell": 1}``, or of nnU-Net's first version ``{"0": "background", "1": "cell"}``."""
    if all(isinstance(name, str) and value.isdecimal() for value, name in labels.items()):
        labels = {name: int(value) for value, name in labels.items()}
    if wrong := [name for name, value in labels.items() if not isinstance(value, int)]:
        raise DataError(
            path,
            f"label '{wrong[0]}' is a region of several values, {labels[wrong[0]]}",
            "expected one value a class; name the values in dataset.yaml",
        )
    classes = [{"name": name, "value": value} for name, value in labels.items() if name != "ignore"]
    return {"classes": classes} | ({"ignore": labels["ignore"]} if "ignore" in labels else {})
