"""The commands ``import-keras``, ``export`` and ``import-bioimageio``: models to other programs and back."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rescrnet.commands.info import print_info
from rescrnet.commands.options import listed
from rescrnet.errors import UsageError
from rescrnet.terminal import echo

OutModel = Annotated[Path, typer.Option("--out", help="New model file.", show_default=False)]


class Format(StrEnum):
    """Kinds of files that other programs open."""

    onnx = "onnx"
    torchscript = "torchscript"
    bioimageio = "bioimageio"
    web = "web"


def import_keras(
    weights: Annotated[Path, typer.Argument(help="Weights or model of the authors' program, .h5.", show_default=False)],
    out: OutModel,
    architecture: Annotated[Path | None, typer.Option(help="The network as Keras JSON.")] = None,
    classes: Annotated[str | None, typer.Option(help="Names of the classes in order: a,b,c.")] = None,
    variant: Annotated[str | None, typer.Option(help="For weights alone: dense or very-dense.")] = None,
) -> None:
    """Turn a checkpoint of the authors' Keras program into a model."""
    from rescrnet.exchange.keras import import_keras as convert

    print_info(convert(weights, out, architecture, listed(classes) or None, variant=variant))  # type: ignore[arg-type]
    echo(out)


def export(
    model: Annotated[Path, typer.Argument(help="Run folder or model file.", show_default=False)],
    format_: Annotated[Format, typer.Option("--format", help="What to write.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="New file.", show_default=False)],
    sample: Annotated[Path | None, typer.Option(help="bioimageio: an image to test and show the model on.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="bioimageio: a name, repeatable.")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="bioimageio: such as CC-BY-4.0.")] = None,
    cite: Annotated[
        list[str] | None, typer.Option(help="bioimageio: a text with a DOI or address, repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="bioimageio: what the model is called.")] = None,
) -> None:
    """Write a model as one file for other programs: ONNX, TorchScript, a bioimage.io package, a page for browsers."""
    from rescrnet.exchange.export import check_target
    from rescrnet.exchange.export import export as write
    from rescrnet.exchange.publication import Publication
    from rescrnet.model import load

    check_target(format_.value, out)
    given = {"--sample": sample, "--author": author, "--license": license_, "--cite": cite, "--name": name}
    publication = None
    if format_ is Format.bioimageio:
        missing = [option for option, value in given.items() if not value and option != "--name"]
        if missing or sample is None:
            raise UsageError(
                ", ".join(missing),
                "missing; a bioimage.io package names its authors, licence and citation, and is tested on an image",
                "add for example --sample cell.tif --author 'Ada Lovelace' --license CC-BY-4.0 --cite 10.1000/182",
            )
        publication = Publication(sample, tuple(author or ()), license_ or "", tuple(cite or ()), name)
    elif needless := [option for option, value in given.items() if value]:
        raise UsageError(", ".join(needless), f"means nothing to --format {format_.value}", "leave it out")
    file = write(load(model), format_.value, out, publication)
    echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def import_bioimageio(
    package: Annotated[Path, typer.Argument(help="Package that rescrnet wrote, .zip.", show_default=False)],
    out: OutModel,
) -> None:
    """Turn a bioimage.io package of this program back into a model. Nothing that it holds is run."""
    from rescrnet.exchange.bioimageio_import import import_bioimageio as convert

    convert(package, out)
    echo(out)
