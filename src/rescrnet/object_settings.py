"""How the objects of a class are told apart: what is fitted on a training set, kept in a model, and overridden."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from rescrnet.records import Record

Split = Literal["parts", "watershed", "distance"]

_BOUNDARY = re.compile(
    r"bound|border|outline|contour|edge|rim|membran|laminin|sarcolemma|septum|cell.?wall|separat", re.IGNORECASE
)
_GROUND = re.compile(
    r"^(back.?ground|bg|ground|hintergrund|void|empty|nothing|none|other|outside|gaps?|medium|resin)$", re.IGNORECASE
)


class ObjectSettings(Record):
    """How the objects of one class are found in class probabilities; lengths in pixels, areas in pixels²."""

    boundary: str | None = None
    """The class that lies between touching objects; None where there is none."""
    with_boundary: bool = False
    """Objects include the boundary around them: masks of numbered objects are made so."""
    split: Split = "parts"
    """``parts``: connected parts. ``watershed``: the area is flooded from where interior outweighs boundary.
    ``distance``: from the places that lie deepest inside."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Pixels with a larger probability belong to objects."""
    seed_threshold: Annotated[float, Field(ge=-1, lt=1)] = 0.0
    """For ``watershed``: where interior outweighs boundary by more than this, an object is surely one."""
    smoothing: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Sigma of a Gaussian over the probabilities."""
    radius: Annotated[PositiveInt, Field(le=1000)] = 8
    """For ``distance``: of about the smallest object."""
    smallest: NonNegativeInt = 0
    """Smaller objects are dropped."""
    fill_holes: NonNegativeInt = 0
    """Holes up to this size are filled."""
    drop_edge: bool = False
    """Objects that the border of the image cuts are dropped."""

    @property
    def connectivity(self) -> int:
        """1: pixels of an object share sides; 2: or corners. Lines that part objects may be one pixel thin."""
        return 2 if self.boundary is None else 1


def boundary_among(classes: Sequence[str]) -> str | None:
    """The class that by its name lies between objects."""
    return next((name for name in classes if _BOUNDARY.search(name)), None)


def names_no_background(classes: Sequence[str]) -> bool:
    """Whether no name tells what is background or boundary, so that the first class is taken for the background."""
    return boundary_among(classes) is None and not any(_GROUND.match(name) for name in classes)


def object_classes(classes: Sequence[str]) -> list[str]:
    """The classes that by their names have objects: all but a boundary and the background, which otherwise is the
    first."""
    boundary = boundary_among(classes)
    grounds = {classes[0]} if names_no_background(classes) else {name for name in classes if _GROUND.match(name)}
    return [name for name in classes if name != boundary and name not in grounds]


def default_settings(classes: Sequence[str], *, numbered: bool = False) -> dict[str, ObjectSettings]:
    """How the objects of each class that has any are told apart, before anything was fitted.

    Args:
        classes: names in the order of their indices.
        numbered: whether the classes were made of numbered objects, whose boundary is a part of them.
    """
    boundary = boundary_among(classes)
    settings = ObjectSettings(boundary=boundary, with_boundary=numbered, split="watershed" if boundary else "parts")
    return dict.fromkeys(object_classes(classes), settings)
