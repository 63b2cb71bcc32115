"""The command ``info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescrnet.errors import UsageError
from rescrnet.terminal import echo
from rescrnet.wording import count

if TYPE_CHECKING:
    from rescrnet.model import SegmentationModel
    from rescrnet.object_settings import ObjectSettings


def info(
    model: Annotated[Path | None, typer.Argument(help="Run folder or model file.", show_default=False)] = None,
    machine: Annotated[bool, typer.Option("--machine", help="Say which compiled kernels this machine uses.")] = False,
) -> None:
    """Say what a model is and where it comes from, or what this machine computes with."""
    if model is None and not machine:
        raise UsageError("info", "neither a model nor --machine is given", "name a model, or add --machine")
    if machine:
        _print_machine()
    if model is not None:
        from rescrnet.ensemble import load

        print_info(load(model))


def print_info(model: SegmentationModel) -> None:
    """Print what a model is, a line for each of its traits."""
    from rescrnet.ensemble import Ensemble
    from rescrnet.model import in_micrometres

    card = model.card
    parameters = sum(p.numel() for p in model.network.parameters() if p.requires_grad)
    blocks = [f"{key} = {getattr(card.network, key)}" for key in ("n", "m") if hasattr(card.network, key)]
    trained, imported = card.trained, getattr(card.provenance, "imported_from", None)
    rows = {
        "network": ", ".join([card.network.architecture, *blocks, f"{parameters:,} parameters"]),
        **({"ensemble": model.described} if isinstance(model, Ensemble) else {}),
        "image channels": card.in_channels,
        "intensity scaling": card.intensity.method,
        "pixel size": in_micrometres(card.pixel_size) if card.pixel_size else "unknown",
        "image size": f"resized to {card.resize[0]}×{card.resize[1]}" if card.resize else "any",
        "classes": ", ".join(f"{index} {name}" for index, name in enumerate(model.classes)),
        "trained on": f"{trained.dataset}, {count(len(trained.train), 'image')}" if trained else "–",
        "epoch": (trained.epoch if trained else None) or "–",
        "validation Tanimoto": (trained.val_tanimoto if trained else None) or "–",
        **({"imported from": imported} if imported else {}),
        **_describe_objects(card.object_settings),
    }
    for key, value in rows.items():
        echo(f"{key}: {value}")


def _describe_objects(settings: dict[str, ObjectSettings]) -> dict[str, str]:
    """How the objects of each class are told apart, in a line each."""
    described = {}
    for name, one in settings.items():
        shown = {key: value for key, value in one.model_dump(exclude_defaults=True).items() if key != "split"}
        parts = [one.split, *(f"{key} {value}" for key, value in shown.items())]
        described[f"objects of {name}"] = ", ".join(parts)
    return described


def _print_machine() -> None:
    import platform

    import torch

    from rescrnet.ops.native import choice, has_kernels

    chosen = choice()
    rows = {
        "machine": f"{platform.system()}, {platform.machine()}",
        "kernels": f"{chosen.variant or 'none, the plain PyTorch path'} ({chosen.why})",
        "bfloat16": "in the kernels" if has_kernels(torch.bfloat16) else "computed in float32",
        "threads": torch.get_num_threads(),
        "PyTorch": torch.__version__,
    }
    for key, value in rows.items():
        echo(f"{key}: {value}")
