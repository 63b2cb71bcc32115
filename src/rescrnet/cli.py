"""The command line: its verbs in the order of ``--help``, and how what goes wrong is said."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from rescrnet import __version__
from rescrnet.commands.check import check
from rescrnet.commands.demo import demo, samples
from rescrnet.commands.evaluate import evaluate, report
from rescrnet.commands.evidence import compare, crossval, curve
from rescrnet.commands.exchange import export, import_bioimageio, import_keras
from rescrnet.commands.info import info
from rescrnet.commands.objects import objects
from rescrnet.commands.predict import predict
from rescrnet.commands.suggest import suggest
from rescrnet.commands.train import train
from rescrnet.errors import RescrnetError, RescrnetWarning, UsageError
from rescrnet.terminal import INTERRUPTED
from rescrnet.wording import one_line, printable

app = typer.Typer(
    help="Segment micrographs with Res-CR-Net, trained on about ten labelled images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    samples,
    check,
    train,
    predict,
    objects,
    suggest,
    evaluate,
    report,
    info,
    import_keras,
    export,
    import_bioimageio,
    crossval,
    compare,
    curve,
    demo,
):
    app.command()(verb)
_CommandLineError: Any = typer.BadParameter.__base__  # Click's UsageError, which newer typers carry themselves


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


_DECODERS = r"(PIL|tifffile|imagecodecs|zarr|numcodecs|h5py|mrcfile|nionswift)\b"


def main() -> None:
    """Run the command line. What a user can fix ends in one line on standard error and a non-zero exit code."""
    # PyTorch's threads, read when it is imported: those that wait sleep, for the kernels have threads of their own.
    for setting in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        os.environ.setdefault(setting, "0")
    for stream in (sys.stdout, sys.stderr):  # a redirected console may have an encoding that lacks ×, or a name
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", RescrnetWarning)  # the same of another file is news
    warnings.filterwarnings("ignore", module=_DECODERS)  # whether a file can be read is for us to say
    _check_current_folder()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()  # while what is wrong with it can be said
        raise SystemExit(code)
    except RescrnetError as error:
        _fail(error)
    except _CommandLineError as error:
        _fail(UsageError(error.format_message().rstrip("."), remedy="see rescrnet --help"))
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
    except MemoryError:
        _fail(RescrnetError("memory", "this machine has too little for that", "use smaller images or patches"))
    except RuntimeError as error:
        # PyTorch's, known by name and text: it is not imported here.
        if type(error).__name__ != "OutOfMemoryError" and "can't allocate memory" not in str(error):
            raise
        _fail(
            RescrnetError(
                "memory",
                "the device has too little for that",
                "train on smaller patches or batches, predict with a smaller --memory, or use --device cpu",
            )
        )
    except BrokenPipeError:  # whoever read the output has enough, as head does
        _drop_output()
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        from rescrnet.atomic import cannot_be_written

        _drop_output()
        _fail(cannot_be_written(Path(error.filename or "output"), error))


def _check_current_folder() -> None:
    """Refuse to start in a folder that was removed: libraries end the process there without a word of ours."""
    try:
        Path.cwd()
    except OSError:
        _fail(UsageError("the current folder", "is no longer there", "change to another one first"))


def _drop_output() -> None:
    """Throw away what could not be printed, or Python tries again when it ends, and complains."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings as one line; those of libraries as Python shows them."""
    if issubclass(category, RescrnetWarning):
        print(f"rescrnet: warning: {printable(one_line(str(message)))}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _fail(error: RescrnetError) -> None:
    print(f"rescrnet: {printable(one_line(error))}", file=sys.stderr)
    raise SystemExit(error.exit_code) from None
