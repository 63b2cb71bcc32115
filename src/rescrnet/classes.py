"""A class: its name, the values that mean it in masks, its colour; and what is declared about masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, StringConstraints, field_validator

from rescrnet.records import Record

IGNORE = 255  # the class index of an unlabelled pixel
PALETTE = ("#4d4d4d", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00")  # Okabe and Ito


def _is_given(value: Any) -> Any:
    if value is None:  # YAML takes an unquoted #ff0000 for a comment
        raise ValueError("is empty; expected a number, a folder's name, or a colour in quotes such as '#ff0000'")
    return value


MaskValues = Annotated[int | str | list[int | str], BeforeValidator(_is_given)]
"""Values in masks: grey values or indices, colours ``"#rrggbb"``, names of folders or layers."""


Micrometres = Annotated[str, StringConstraints(pattern=r"^\s*[0-9]*\.?[0-9]+\s*(µm|μm|um)\s*$")]
"""A length such as ``"0.5 µm"``."""


class ClassEntry(Record):
    """A class: its name, the values that mean it in the masks, and the colour that shows it."""

    RENAMED = {"display": "color"}

    name: str = Field(min_length=1)
    value: MaskValues = Field(default_factory=list)
    """Grey values or indices, colours ``"#rrggbb"``, or the folder of binary masks; the name where left out.
    ``"background"`` is what no folder covers, or what is transparent in single masks."""
    color: str = Field(default="", pattern="^(#[0-9a-fA-F]{6})?$")
    """``"#rrggbb"``, in which the class is shown; one of the palette where left out."""

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
        entry if entry.color else entry.model_copy(update={"color": PALETTE[index % len(PALETTE)]})
        for index, entry in enumerate(classes)
    ]


class MaskDeclaration(Record):
    """What is declared about masks: by a dataset, by a configuration, or by the model that was trained on them."""

    RENAMED = {"instances": "instance_boundary"}

    classes: list[ClassEntry] = Field(default=[], max_length=255)
    """The classes in the order of their indices; inferred from the masks where left out."""
    ignore: MaskValues = []
    """Values of unlabelled pixels: numbers, colours "#rrggbb", or background. Transparent pixels, NaN and -1 are
    unlabelled by themselves."""
    instance_boundary: PositiveInt | PositiveFloat | Micrometres | None = None
    """The masks number objects: make background, interior and boundary of them, the boundary this many pixels wide, or
    as wide as a length such as ``0.5 µm``."""

    @field_validator("classes")
    @classmethod
    def _are_several(cls, classes: list[ClassEntry]) -> list[ClassEntry]:
        if len(classes) == 1:
            raise ValueError(f"lists '{classes[0].name}' alone; expected at least two classes")
        return classes
