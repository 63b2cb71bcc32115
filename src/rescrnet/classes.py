"""A class: its name, the values that mean it in masks, its colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

IGNORE = 255  # the class index of an unlabelled pixel
PALETTE = ("#4d4d4d", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00")  # Okabe and Ito


def _is_given(value: Any) -> Any:
    if value is None:  # YAML takes an unquoted #ff0000 for a comment
        raise ValueError("is empty; expected a number, a folder's name, or a colour in quotes such as '#ff0000'")
    return value


MaskValues = Annotated[int | str | list[int | str], BeforeValidator(_is_given)]
"""Values in masks: grey values or indices, colours ``"#rrggbb"``, names of folders or layers."""


class ClassEntry(BaseModel):
    """A class: its name, the values that mean it in the masks, and the colour that shows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    value: MaskValues = Field(default_factory=list)
    """Grey values or indices, colours ``"#rrggbb"``, or the folder of binary masks; the name where left out.
    ``"background"`` is what no folder covers."""
    display: str = Field(default="", pattern="^(#[0-9a-fA-F]{6})?$")

    @property
    def values(self) -> list[int | str]:
        """The values as a list."""
        return as_list(self.value) or [self.name]


def as_list(value: MaskValues) -> list[int | str]:
    """One value or several as a list."""
    return value if isinstance(value, list) else [value]


def coloured(classes: Sequence[ClassEntry]) -> list[ClassEntry]:
    """The classes, each with a colour to be shown in."""
    return [
        entry if entry.display else entry.model_copy(update={"display": PALETTE[place % len(PALETTE)]})
        for place, entry in enumerate(classes)
    ]
