"""The command ``check``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rescrnet.commands.options import Data
from rescrnet.terminal import echo

if TYPE_CHECKING:
    from rescrnet.checking.check import Checked
    from rescrnet.training.estimate import Estimate


def check(
    data: Data,
    val: Annotated[str | None, typer.Option(help="Validation images, as in train.")] = None,
    instances: Annotated[
        str | None,
        typer.Option(help="Masks number objects: width of the boundary to make, pixels, or as 0.5um.", metavar="WIDTH"),
    ] = None,
    fix: Annotated[Path | None, typer.Option(help="New folder for a corrected copy.", show_default=False)] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures.", show_default=False)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    estimate: Annotated[bool, typer.Option(help="Measure a training step, and say what training will take.")] = True,
) -> None:
    """Look a dataset over before training: what it is, what is wrong with it, and what to do."""
    import json
    from contextlib import nullcontext

    from rich.console import Console

    from rescrnet.atomic import check_free
    from rescrnet.checking.check import check as check_dataset
    from rescrnet.checking.fix import write_corrected
    from rescrnet.checking.tables import to_dict
    from rescrnet.checking.terminal import show, summary
    from rescrnet.classes import MaskDeclaration
    from rescrnet.config import validate

    declared = {}
    if instances is not None:
        width = validate(MaskDeclaration, {"instance_boundary": instances}, "--instances").instance_boundary
        declared = {"instance_boundary": width}
    if fix:
        check_free(fix)
    messages = Console(stderr=True)
    with messages.status("looking at the images") if messages.is_terminal else nullcontext():
        checked = check_dataset(data, val, declared=declared)
        expected = _expected(checked) if estimate and not checked.errors else None
    if json_:
        typer.echo(json.dumps({**to_dict(checked), "estimate": vars(expected) if expected else None}, indent=2))
    else:
        show(checked, Console())
        if expected:
            echo(expected)
    if html:
        from rescrnet.reporting.check_page import write_page

        write_page(checked, html, str(expected or ""))
        echo(f"page in {html}", err=True)
    if fix:
        echo(f"corrected copy in {fix}: {write_corrected(checked, fix)}", err=True)
        echo(f"of the copy: {summary(check_dataset(fix))}", err=True)
    if checked.errors:
        raise typer.Exit(1)


def _expected(checked: Checked) -> Estimate | None:
    """What training with the default preset will take, where there is something to train on."""
    from rescrnet.config import resolve
    from rescrnet.training.advice import better_network
    from rescrnet.training.estimate import estimate
    from rescrnet.training.scale import fitted, masks_read

    pixels: dict[str, list[int]] = {"train": [], "val": []}
    for item, facts in checked.reading.images:
        pixels[item.part].append(facts.size[0] * facts.size[1])
    classes = len(checked.reading.class_names)
    channels = min((facts.channels for _, facts in checked.reading.images), default=0)
    if not pixels["train"] or classes < 2:
        return None
    config = fitted(resolve(), masks_read(checked.reading))
    expected = estimate(config, channels, classes, pixels["train"], pixels["val"])
    return replace(expected, rival=better_network(masks_read(checked.reading)))
