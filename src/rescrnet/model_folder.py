"""Folders of several models that predict as one: which they are, and their temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from rescrnet.atomic import write_atomically
from rescrnet.errors import ModelError
from rescrnet.object_settings import ObjectSettings
from rescrnet.records import Record
from rescrnet.wording import one_line

MEMBERS = "members.json"
BEST = "best.safetensors"
_DEEPEST = 2  # folders between the folder and its models, as fold-1/seed-0
_PLAN = "plan.json"  # of an experiment


class MembersRecord(Record):
    """What ``members.json`` says."""

    members: Annotated[list[str], Field(min_length=1)]
    """Run folders below this one; slashes between folders."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Of the mean of their probabilities."""
    fitted_on: str = ""
    """What the temperature was fitted on; empty where it was not."""
    objects: dict[str, ObjectSettings] = {}
    """How the objects of each class that has any are told apart in that mean; empty for as the first member does."""
    finished: bool = True
    """Whether all members were trained to their end."""

    @field_validator("members")
    @classmethod
    def _are_below(cls, members: list[str]) -> list[str]:
        for name in members:
            path = PurePosixPath(name)
            if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or ":" in name:
                raise ValueError(f"'{name}' is no folder below this one")
        return members

    def write(self, folder: Path) -> None:
        """Write ``members.json``; a former one is replaced."""
        text = self.model_dump_json(indent=1) + "\n"
        write_atomically(folder / MEMBERS, lambda partial: partial.write_text(text, encoding="utf-8"))


def read_members(folder: Path) -> MembersRecord:
    """Read ``members.json``. Raises :class:`ModelError` where it is damaged."""
    file = folder / MEMBERS
    try:
        return MembersRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ModelError(
            file, f"is not valid ({one_line(said)})", "restore it from a copy, or remove it to take all models below"
        ) from None


@dataclass(frozen=True)
class ModelFolder:
    """Several models below one folder.

    Attributes:
        members: the model files, in order.
        temperature: of the mean of their probabilities.
        objects: how objects are told apart in it; empty for as the first member does.
    """

    members: Sequence[Path]
    temperature: float = 1.0
    objects: Mapping[str, ObjectSettings] = field(default_factory=dict)

    @classmethod
    def find(cls, path: Path) -> ModelFolder | None:
        """The members that ``path`` stands for, or none: it is a single model, or nothing at all.

        Raises :class:`ModelError` where it is not finished, a member is missing, or it is an experiment with several
        methods.
        """
        if not path.is_dir() or (path / BEST).is_file():
            return None
        if (path / MEMBERS).is_file():
            return cls._recorded(path)
        if (path / _PLAN).is_file():
            raise ModelError(
                path,
                "is an experiment, and its models are not one model",
                "name one of its run folders; the models of a crossval are one once it is finished, with --resume",
            )
        depths = ("/".join(["*"] * depth) for depth in range(1, _DEEPEST + 1))
        for depth in depths:
            files = [file for file in sorted(path.glob(f"{depth}/{BEST}")) if not _hidden(file.relative_to(path))]
            if files:
                return cls(files)
        return None

    @classmethod
    def _recorded(cls, path: Path) -> ModelFolder:
        record = read_members(path)
        files = [path / name / BEST for name in record.members]
        if missing := [file.parent.name for file in files if not file.is_file()]:
            raise ModelError(
                path,
                f"lacks {len(missing)} of its {len(files)} members, {', '.join(missing)}",
                "copy all of the folder, or train what is missing with --resume",
            )
        if not record.finished:
            raise ModelError(
                path,
                "its members are not all trained to their end",
                "finish it with train --resume, or name one member",
            )
        return cls(files, record.temperature, record.objects)


def _hidden(file: Path) -> bool:
    """Whether it lies in a folder of unfinished work."""
    return any(part.startswith(".") for part in file.parts)
