"""The command ``suggest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rescrnet.commands.models import load_model
from rescrnet.commands.options import Augmentation, Device, Images, Model, Recursive
from rescrnet.terminal import echo
from rescrnet.wording import count


def suggest(
    model: Model,
    inputs: Images,
    out: Annotated[Path, typer.Option("--out", help="New folder for suggest.csv and the page.", show_default=False)],
    number: Annotated[int, typer.Option("--count", min=1, help="Images, and regions of 64 pixels, to name.")] = 8,
    recursive: Recursive = False,
    test_time_augmentation: Augmentation = False,
    device: Device = "auto",
) -> None:
    """Say which images and regions to label next: uncertain ones unlike each other, beside a random choice."""
    from rescrnet.atomic import check_free, write_folder
    from rescrnet.inference.inputs import find_inputs, join_channels
    from rescrnet.inference.progress import progress
    from rescrnet.inference.suggest import look_at, write_table
    from rescrnet.reporting.suggest_page import write_page

    check_free(out)
    found = find_inputs(inputs, recursive=recursive)
    loaded = load_model(model, device, test_time_augmentation=test_time_augmentation)
    images = join_channels(found.images, loaded.card.in_channels)
    with progress(len(images)) as advance:
        suggested = look_at(loaded, images, number, advance)

    def write(folder: Path) -> None:
        write_table(suggested, folder / "suggest.csv")
        write_page(suggested, folder / "report.html")

    write_folder(out, write)
    echo(f"{count(len(images), 'image')} looked at; first to label: {suggested.first}")
    echo(out / "report.html")
