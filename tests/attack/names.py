"""Hostile names of files, folders and classes in every output."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from tests.attack.commands import command, forked
from tests.attack.material import OPTIONS, Material
from tests.attack.tally import Tally

NAMES = ["\x1b]0;owned\x07", "\x1b[31mred", "a\u202etxt.exe", "\u2066x\u2069", "[/bold]", "[link=x]y[/link]", "</script><script>alert(1)",  # noqa: E501
         "\" onload=\"x", "{{ 7*7 }}", "a\nb", "a\rb", "\x9b2J", "\x00", "\x85", "=1+1", "-rf", "\ufeffx", "\ud800", "&lt;", "x" * 200]  # fmt: skip  # noqa: E501  # noqa: E501
_OBEYED = {
    *map(chr, range(32)),
    *map(chr, range(127, 160)),
    *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff",
}


def obeyed(text: str, keep: str = "\n\t") -> list[str]:
    """The characters that a terminal or a browser would obey rather than show."""
    return sorted({c for c in text if c in _OBEYED and c not in keep})


def names(material: Material, folder: Path, count: int) -> Tally:
    """Each name as that of a class, a file and a folder, as many as ``count``."""
    tally = Tally("names")
    for name in NAMES[:count]:
        if tally.over:
            break
        folder.mkdir()
        on_disk = (
            name.replace("/", "_")
            .replace("\0", "_")
            .encode("utf-8", "surrogatepass")
            .decode("utf-8", "surrogateescape")
        )
        data = folder / on_disk
        shutil.copytree(material.data, data)
        for image in sorted(data.rglob("01*.png")):
            os.rename(image, image.with_name(image.name.replace("01", f"01 {on_disk}", 1)))  # noqa: PTH104
        values = json.loads((material.run / "run.json").read_text(encoding="utf-8"))["dataset"]["classes"]
        classes = [{"name": name if i == 1 else f"c{i}", "value": entry["value"]} for i, entry in enumerate(values)]
        (data / "dataset.yaml").write_text(json.dumps({"classes": classes}), encoding="utf-8")
        run, page = folder / "run", folder / "p.html"
        calls: list[list[object]] = [
            ["check", data, "--no-estimate", "--html", page, "--fix", folder / "f"],
            ["train", data, "--out", run, *OPTIONS],
            ["info", run],
            ["report", run],
            ["evaluate", run, data, "--out", folder / "e"],
            ["predict", run, data / "val_local/images/img", "--out", folder / "o", "--format", "tiff", "--overlay"],
            ["predict", run, data / "nothing", "--out", folder / "o2"],
        ]
        trained = True
        for call in calls:
            if not trained and run in call:
                continue
            outcome = forked(command(*call), within=60)
            trained = trained and not (call[0] == "train" and outcome.code)
            fault = outcome.fault or ("obeyed in the terminal" if obeyed(outcome.text) else "")
            tally.add(f"{name!r} {call[0]}", fault, outcome.text, outcome.code)
        for written in (page, run / "report.html"):
            if written.is_file():
                text = written.read_text(encoding="utf-8")
                fault = "obeyed in a page" if obeyed(text) else "" if "<script>alert" not in text else "unescaped"
                tally.add(f"{name!r} {written.name}", fault)
        for written in folder.glob("o/**/*.ome.tif"):
            fault = ""
            try:
                with tifffile.TiffFile(written) as file:
                    ElementTree.fromstring(file.ome_metadata or "")
            except ElementTree.ParseError:
                fault = "no XML"
            tally.add(f"{name!r} {written.name!r}", fault)
        shutil.rmtree(folder)
    return tally
