"""The result of a check in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rescrnet.checking.check import Checked
from rescrnet.checking.findings import Finding, Severity
from rescrnet.checking.tables import ImageRow, class_rows, image_rows, in_one_line
from rescrnet.wording import count, printable

_MOST_ROWS = 30
_MOST_FILES = 4
_MOST_CLASSES = 5
_STYLES = {Severity.error: "bold red", Severity.warning: "yellow", Severity.info: "cyan"}


def show(checked: Checked, console: Console) -> None:
    """Print what the dataset is, its images, its classes, and all findings, the worst first."""
    _print(console, in_one_line(checked.reading))
    rows, classes = image_rows(checked.reading), class_rows(checked.reading)
    if rows:
        console.print(_images(rows[:_MOST_ROWS], [row.name for row in classes]))
        if len(rows) > _MOST_ROWS:
            _print(console, f"… and {len(rows) - _MOST_ROWS} more; --html or --json list all of them")
    if classes:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in ("class", "value in the mask", "share", "connected parts", "in masks"):
            table.add_column(column, overflow="fold")
        for row in classes:
            table.add_row(
                Text(printable(row.name)),
                Text(printable(row.values)),
                f"{row.share:.1%}",
                str(row.parts),
                str(row.masks),
            )
        console.print(table)
    for finding in checked.findings:
        show_finding(finding, console)
    _print(console, summary(checked))


def show_finding(finding: Finding, console: Console) -> None:
    """Print a finding: how much it matters, which check it is, what was found, what to do, and in which files."""
    head = Text.assemble((finding.severity.name, _STYLES[finding.severity]), f" {finding.check.name}: {finding.reason}")
    _print(console, head)
    does = "leaves it out" if finding.check.leaves_out else "does"
    fix = f" (--fix {does})" if finding.check.fixable and finding.severity is not Severity.info else ""
    _print(console, f"    {finding.remedy}{fix}")
    for file in finding.files[:_MOST_FILES]:
        _print(console, f"    {file}", style="dim")
    if len(finding.files) > _MOST_FILES:
        _print(console, f"    … and {len(finding.files) - _MOST_FILES} more", style="dim")


def _print(console: Console, line: str | Text, style: str | None = None) -> None:
    """Print a line as it is: brackets and colons in names are no markup, and it is not broken."""
    line = printable(line) if isinstance(line, str) else line
    console.print(line, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)


def summary(checked: Checked) -> str:
    """How many findings there are, and whether training would start."""
    words = []
    for severity, name in ((Severity.error, "error"), (Severity.warning, "warning"), (Severity.info, "note")):
        number = sum(finding.severity is severity for finding in checked.findings)
        words.append(count(number, name) if number else f"no {name}s")
    return f"{'training would refuse it' if checked.errors else 'ready for training'}: {', '.join(words)}"


def _images(rows: list[ImageRow], classes: list[str]) -> Table:
    """A row an image; a column a class with its share and connected parts, where there is room for all of them."""
    known = any(row.pixel_size for row in rows)
    classes = classes if len(classes) <= _MOST_CLASSES else []
    caption = "of each class: share of pixels, and connected parts in brackets" if classes else None
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=caption, caption_justify="left")
    table.add_column("image", overflow="fold", min_width=12)
    for column in ("for", "size", "type", *(["pixel, µm"] if known else []), *classes):
        table.add_column(Text(printable(column)), overflow="fold")
    for row in rows:
        size = f"{row.size[0]}×{row.size[1]}" if row.size else "–"
        pixel = f"{row.pixel_size[0]:.3g}" if row.pixel_size else "–"
        kind = f"{row.type} ×{row.channels}" if row.channels and row.channels > 1 else row.type
        cells: list[Text | str] = [Text(printable(row.name)), row.part, size, kind, *([pixel] if known else [])]
        shares = [f"{share:.1%} ({parts})" for share, parts in zip(row.shares, row.parts, strict=True)]
        table.add_row(*cells, *(shares or ["–"] * len(classes))[: len(classes)])
    return table
