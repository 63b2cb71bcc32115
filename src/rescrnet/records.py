"""Records: what is written into files and read back, also by the names that its keys once had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Record(BaseModel):
    """Typed, fixed once made, and strict: a key that it does not have is an error.

    A key that was renamed keeps its old name as a second one. ``RENAMED`` maps the old name to the new one, with dots
    where the key now is in a section of its own: ``{"ignore": "masks.ignore"}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    RENAMED: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def current_keys(cls, values: Any) -> Any:
        """``values`` by the names of today; what is no mapping as it is.

        Raises :class:`ValueError` where a key is given by both of its names.
        """
        if not isinstance(values, Mapping):
            return values
        current = {key: value for key, value in values.items() if key not in cls.RENAMED}
        for old, new in cls.RENAMED.items():
            if old in values:
                _put(current, old, new, values[old])
        return current

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, values: Any) -> Any:
        return cls.current_keys(values)


def _put(current: dict[str, Any], old: str, new: str, value: Any) -> None:
    *sections, key = new.split(".")
    place = current
    for section in sections:
        inner = place.get(section, {})
        if not isinstance(inner, Mapping):
            raise ValueError(f"'{old}' is now '{new}', but '{section}' holds no keys; expected keys such as '{key}'")
        place[section] = dict(inner)  # a copy: the caller's stays as it is
        place = place[section]
    if key in place:
        raise ValueError(f"'{old}' is the old name of '{new}', and both are given; give one of them")
    place[key] = value
