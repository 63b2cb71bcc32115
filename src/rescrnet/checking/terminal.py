"""The result of a check in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rescrnet.checking.findings import Finding, Severity
from rescrnet.checking.rows import ImageRow, class_rows, image_rows, in_one_line
from rescrnet.checking.run import Checked

_MOST_ROWS = 30
_MOST_FILES = 4
_STYLES = {Severity.error: "bold red", Severity.warning: "yellow", Severity.info: "cyan"}


def show(checked: Checked, console: Console) -> None:
    """Print what the dataset is, its images, its classes, and all findings, the worst first."""
    console.print(in_one_line(checked.survey), highlight=False, markup=False, soft_wrap=True)
    rows = image_rows(checked.survey)
    if rows:
        console.print(_images(rows[:_MOST_ROWS]))
        if len(rows) > _MOST_ROWS:
            console.print(f"… and {len(rows) - _MOST_ROWS} more; --html or --json list all of them")
    if classes := class_rows(checked.survey):
        table = Table("class", "value in the mask", "share", "connected parts", "in masks")
        for row in classes:
            table.add_row(escape(row.name), row.values, f"{row.share:.1%}", str(row.parts), str(row.masks))
        console.print(table)
    for finding in checked.findings:
        show_finding(finding, console)
    console.print(summary(checked), highlight=False)


def show_finding(finding: Finding, console: Console) -> None:
    """Print a finding: how much it matters, which check it is, what was found, what to do, and in which files."""
    style = _STYLES[finding.severity]
    head = f"[{style}]{finding.severity.name}[/] {finding.check.name}: {escape(finding.reason)}"
    console.print(head, highlight=False, soft_wrap=True)
    fix = " (--fix does)" if finding.check.mended and finding.severity is not Severity.info else ""
    console.print(f"    {escape(finding.remedy)}{fix}", highlight=False, soft_wrap=True)
    for file in finding.files[:_MOST_FILES]:
        console.print(f"    {escape(file)}", style="dim", highlight=False, soft_wrap=True)
    if len(finding.files) > _MOST_FILES:
        console.print(f"    … and {len(finding.files) - _MOST_FILES} more", style="dim", highlight=False)


def summary(checked: Checked) -> str:
    """How many findings there are, and whether training would start."""
    numbers = [sum(finding.severity is severity for finding in checked.findings) for severity in reversed(Severity)]
    words = [
        f"{n} {severity.name if severity is not Severity.info else 'note'}{'s' * (n != 1)}"
        for n, severity in zip(numbers, reversed(Severity), strict=True)
    ]
    return f"{', '.join(words)}: " + ("training would refuse this dataset" if numbers[0] else "ready for training")


def _images(rows: list[ImageRow]) -> Table:
    table = Table("image", "for", "size", "type", "channels", "pixel, µm", "mask", "classes: share (parts)")
    for row in rows:
        size = f"{row.size[0]}×{row.size[1]}" if row.size else "–"
        pixel = f"{row.pixel_size[0]:.3g}" if row.pixel_size else "–"
        classes = ", ".join(f"{share:.1%} ({parts})" for share, parts in zip(row.shares, row.parts, strict=True))
        channels = str(row.channels or "–")
        table.add_row(escape(row.name), row.part, size, row.type, channels, pixel, row.mask, classes or "–")
    return table
