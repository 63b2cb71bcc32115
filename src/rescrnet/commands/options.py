"""Options that several verbs have, and what their texts mean."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rescrnet.config import Config

Data = Annotated[Path, typer.Argument(help="Folder of images and masks.", show_default=False)]
Model = Annotated[Path, typer.Argument(help="Run folder, model file, or folder of several.", show_default=False)]
Images = Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="New folder for the results.", show_default=False)]
Preset = Annotated[str | None, typer.Option(help="standard (default), laptop, paper-em or paper-fm.")]
ConfigFile = Annotated[Path | None, typer.Option(help="YAML file over the preset.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key=value over both, repeatable.")]
Rescale = Annotated[bool, typer.Option("--rescale", help="See images at the training images' pixel size.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Sub-folders, also beside images.")]
Augmentation = Annotated[
    bool, typer.Option("--test-time-augmentation", help="Average over flips and quarter turns; takes 8 times as long.")
]
Scratch = Annotated[Path | None, typer.Option(help="Folder for large images; else beside the results.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


class SplitName(StrEnum):
    """Which images of a dataset."""

    val = "val"
    train = "train"
    all = "all"


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``options`` that are not left out, which is what ``None`` means."""
    return {name: value for name, value in options.items() if value is not None}


def listed(text: str | None) -> list[str]:
    """``"a, b"`` as ``["a", "b"]``; an option that is left out or empty lists nothing."""
    return [part.strip() for part in text.split(",")] if text else []


def resolved(
    preset: str | None, config: Path | None, set_: list[str] | None, named: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of a training: a preset, a file over it, ``--set`` over both, and ``named`` over all.

    Raises :class:`~rescrnet.errors.UsageError` for what is unknown or out of range; ``named`` has the keys of settings,
    ``training.epochs``, that have options of their own.
    """
    from rescrnet.config import DEFAULT_PRESET, parse_overrides, resolve

    return resolve(preset or DEFAULT_PRESET, config, {**parse_overrides(set_ or []), **(named or {})})


def memory_budget(text: str | None) -> int:
    """Bytes that a process may use, of ``--memory``; half of what is free where it is left out."""
    from rescrnet.inference.budget import default_budget, parse_bytes

    return default_budget() if text is None else parse_bytes(text)
