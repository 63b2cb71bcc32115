"""The plan of an experiment, fixed before its first result: what is tested on what, how often, and what decides."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from rescrnet.atomic import check_free, write_atomically
from rescrnet.errors import OutputError, UsageError
from rescrnet.records import Record

PLAN = "plan.json"
Kind = Literal["crossval", "compare", "curve"]
_COMPARED = (  # what says most first; not where the dataset lies, and with which version it was begun
    *("folds", "seeds", "sizes", "methods", "settings", "updates", "seconds", "margin", "metric"),
    *("classes", "images"),
)


class PlannedImage(Record):
    """An image of the plan."""

    stem: str
    group: str
    fold: int
    """That tests it, from 1."""
    sha256: str
    """Of image and mask as they are read."""


class Plan(Record):
    """``plan.json``. Its own digest tells whether it was changed."""

    kind: Kind
    dataset: str
    """Folder."""
    classes: list[str]
    images: list[PlannedImage]
    folds: int
    seeds: list[int]
    methods: dict[str, str]
    """Name and what it is: the digest of its settings or of its source."""
    sizes: list[int] = []
    """Numbers of training images, of a learning curve."""
    seconds: float | None = None
    """Of training, each time; None trains as long as the settings say."""
    updates: int | None = None
    """Optimiser steps, each time."""
    metric: str = "mean_iou"
    """The score that decides; the others are described."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """A difference of the metric that does not matter."""
    settings: dict[str, Any] = {}
    """The resolved configuration of our own network and of the comparators."""
    rescrnet: str = ""
    sha256: str = ""

    def frozen(self) -> Self:
        """The plan with this version and its digest."""
        plan = self.model_copy(update={"rescrnet": version("rescrnet")})
        return plan.model_copy(update={"sha256": plan.digest()})

    def digest(self) -> str:
        """Of everything but the digest itself."""
        values = self.model_dump(mode="json", exclude={"sha256"})
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def fold_of(self) -> dict[str, int]:
        """The fold that tests each image."""
        return {image.stem: image.fold for image in self.images}


def fix_plan(plan: Plan, out: Path, *, resume: bool) -> Plan:
    """Write a plan into a new folder, or find it there again where work is resumed.

    Raises:
        OutputError: the folder holds something else, or results of a plan that is not to be resumed, or a plan that was
            changed since it was fixed.
        UsageError: the folder holds results of another plan.
    """
    file = out / PLAN
    if not file.is_file():
        check_free(out)
        out.mkdir(parents=True, exist_ok=True)
        frozen = plan.frozen()
        write_atomically(file, lambda partial: partial.write_text(frozen.model_dump_json(indent=1) + "\n", "utf-8"))
        return frozen
    if not resume:
        raise OutputError(out, "holds results already", "choose a new folder, or go on with --resume")
    known = read_plan(out)
    if different := _difference(known, plan):
        raise UsageError(
            out,
            f"holds results of another plan: {different}",
            "give the same arguments and data as before, or choose a new folder",
        )
    return known


def read_plan(out: Path) -> Plan:
    """The plan of a folder of results. Raises :class:`OutputError` where there is none, or it was changed."""
    file = out / PLAN
    try:
        known = Plan.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(out, f"holds no {PLAN}", "expected the folder of crossval, compare or curve") from None
    except (OSError, ValueError):
        raise OutputError(file, "is damaged", "restore it from a copy, or begin anew in another folder") from None
    if known.digest() != known.sha256:
        raise OutputError(
            file, "was changed after it was fixed", "restore it from a copy, or begin anew in another folder"
        )
    return known


def _difference(known: Plan, plan: Plan) -> str:
    """The first thing that two plans disagree about, in words; nothing where they agree."""
    before, now = (one.model_dump(mode="json") for one in (known, plan))
    if before["kind"] != now["kind"]:
        return f"it is one of {before['kind']}"
    stems = [[image["stem"] for image in one["images"]] for one in (before, now)]
    for key in _COMPARED:
        if before[key] == now[key]:
            continue
        if key == "images" and stems[0] == stems[1]:
            pairs = zip(before["images"], now["images"], strict=True)
            stem, what = next((a["stem"], next(k for k in a if a[k] != b[k])) for a, b in pairs if a != b)
            changed = "image or mask" if what == "sha256" else what
            return f"the {changed} of '{stem}' is not what it was"
        if key in ("images", "settings", "methods"):
            return f"its {key} are others"
        return f"its {key} is {before[key]}, not {now[key]}"
    return ""
