"""What a dataset says of its own masks: ``dataset.yaml``, or nnU-Net's ``dataset.json``."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field

from rescrnet.classes import MaskDeclaration
from rescrnet.config import validate
from rescrnet.errors import DataError, UsageError
from rescrnet.images.axes import parse_axes
from rescrnet.wording import one_line

Axes = Annotated[str, AfterValidator(lambda text: text and parse_axes(text))]
_CLASSES_TOO = ("names", "labels", "class_names", "classnames", "label_names")  # what others call classes
_UNQUOTED = re.compile(r"""^\s*(?:-\s*)?(?:\w+|['"][^'"]*['"]):\s+(#[0-9a-fA-F]{6})\b""")
_Micrometres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_TEXT, _BOOL, _NULL = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "bool", "null"))


class DatasetFile(MaskDeclaration):
    """``dataset.yaml``, which overrides what would be inferred from the masks."""

    allow_single_class: bool = False
    """Accept masks that hold one class only."""
    groups: dict[str, list[str]] = {}
    """Images that belong together, by what they were taken from: an animal, a stack of sections, one large image.
    They train or they validate, all of them."""
    validation: list[str] = []
    """The images that validate; split off where left out."""
    pixel_size: tuple[_Micrometres, _Micrometres] | None = None
    """Height and width of a pixel, micrometres."""
    axes: Axes = ""
    """Of images whose files do not say theirs, one letter each: CYX, YXC, NCYX; C channels, N images, Z, T."""

    @classmethod
    def beside(cls, folder: Path) -> DatasetFile | None:
        """The ``dataset.yaml`` in ``folder``, or none. Raises a one-line error where it is not valid."""
        found = [path for name in ("dataset.yaml", "dataset.yml") if (path := folder / name).is_file()]
        if not found:
            return None
        path = found[0]
        if len(found) > 1:
            raise DataError(found[1], "lies beside a dataset.yaml", "keep one of them")
        text = ""
        try:
            text = path.read_text(encoding="utf-8-sig")
            values = _load(text)
        except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
            _explain_tabs(text, path)
            raise DataError(path, f"is not valid YAML ({one_line(error)})", "correct it") from None
        if not isinstance(values, dict):
            raise DataError(
                path, "is no dataset.yaml", "expected keys such as 'classes:', with a name and a value for each"
            )
        _explain(values, text, path)
        try:
            return validate(cls, _in_full(values), where=str(path))
        except UsageError as error:
            raise DataError(error.subject, error.found, error.remedy) from None


def _explain_tabs(text: str, path: Path) -> None:
    """Say which line begins with a tab, and how it should."""
    for number, line in enumerate(text.splitlines(), start=1):
        if "\t" in (start := line[: len(line) - len(line.lstrip())]):
            meant = start.replace("\t", "  ") + line.strip()
            raise DataError(path, f"line {number} begins with a tab, which YAML does not allow", f"write '{meant}'")


def _explain(values: dict[Any, Any], text: str, path: Path) -> None:
    """Show the line to write where a key is nearly right, or a colour lacks its quotes."""
    for key, value in values.items():
        name, known = str(key).strip().lower(), {*DatasetFile.model_fields, *DatasetFile.RENAMED}
        if key not in known and name in known:
            raise DataError(path, f"key '{key}' is unknown", f"write '{name}:' in small letters")
        if key not in known and name in _CLASSES_TOO and isinstance(value, list | dict):
            entries = value.items() if isinstance(value, dict) else zip(value, range(len(value)), strict=True)
            pairs = [(a, b) if isinstance(b, int) else (b, a) for a, b in entries]
            line = ", ".join(f"{{name: {class_name}, value: {place}}}" for class_name, place in pairs[:8])
            remedy = f"write 'classes: [{line}]' with the values that the masks hold"
            raise DataError(path, f"key '{key}' is unknown", remedy)
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _UNQUOTED.search(line):
            reason = f"line {number} has a colour without quotes, which YAML takes for a comment"
            quoted = f"{line[: found.start(1)]}'{found[1]}'{line[found.end(1) :]}"
            raise DataError(path, reason, f"write {quoted.strip()}")


def _load(text: str) -> Any:
    """YAML of a ``dataset.yaml``; names keep their text, whatever YAML takes ``004`` or ``no`` for."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if isinstance(root, yaml.MappingNode):
            for key, value in root.value:
                _keep_names(key.value, value)
        return None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _keep_names(key: str, node: yaml.Node) -> None:
    if key in ("groups", "validation"):
        _as_text(node)
    elif key == "classes" and isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            _as_text(name)
            if isinstance(value, yaml.ScalarNode) and value.tag == _BOOL:
                _as_text(value)
    elif key == "classes" and isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            for name, value in entry.value if isinstance(entry, yaml.MappingNode) else ():
                if name.value == "name":
                    _as_text(value)


def _as_text(node: yaml.Node) -> None:
    """Have a scalar, or all below a node, read as the text that stands there."""
    if isinstance(node, yaml.ScalarNode):
        node.tag = node.tag if node.tag == _NULL else _TEXT
    elif isinstance(node, yaml.SequenceNode):
        for inner in node.value:
            _as_text(inner)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _as_text(key)
            _as_text(value)


def _in_full(values: dict[Any, Any]) -> dict[Any, Any]:
    """A ``dataset.yaml`` with what people write shorter in full: a mapping of classes, one name, RGB triples."""
    full = dict(values)
    if isinstance(full.get("validation"), str):
        full["validation"] = [full["validation"]]
    if isinstance(groups := full.get("groups"), dict):
        full["groups"] = {name: [one] if isinstance(one, str) else one for name, one in groups.items()}
    classes = full.get("classes")
    if isinstance(classes, dict):
        if all(str(name).isdecimal() and isinstance(value, str) for name, value in classes.items()):
            classes = {value: int(name) for name, value in classes.items()}  # 0: background
        classes = [
            {"name": name, **value} if isinstance(value, dict) else {"name": name, "value": value}
            for name, value in classes.items()
        ]
    if isinstance(classes, list) and _are_rgb(classes):
        classes = [entry | {"value": "#{:02x}{:02x}{:02x}".format(*entry["value"])} for entry in classes]
    return full if classes is None else full | {"classes": classes}


def _are_rgb(classes: list[Any]) -> bool:
    """Whether the values of all classes are red, green and blue: as grey values they would be declared twice."""
    values = [entry.get("value") for entry in classes if isinstance(entry, dict)]
    triples = [value for value in values if isinstance(value, list) and len(value) == 3]
    if not triples or len(triples) < len(classes):
        return False
    bytes_only = all(type(part) is int and 0 <= part <= 255 for value in triples for part in value)
    return bytes_only and max(Counter(part for value in triples for part in value).values()) > 1


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
        raise DataError(path, f"is not valid JSON ({one_line(error)})", "correct it, or remove it") from None
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
