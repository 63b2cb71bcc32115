"""What a release is made of: an SBOM in CycloneDX's JSON, and the licences as a page; of what is installed here.

``python -m tests.support.write_sbom rescrnet.cdx.json docs/licences.md``
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("compare", "em", "export", "parquet", "scale", "unet")
_PAGE = """# Licences

Written by `make sbom` from what the packages say of themselves, in the versions of `constraints.txt`: everything that
`pip install 'rescrnet[compare,em,export,parquet,scale,unet]'` installs. rescrnet itself is BSD-3-Clause.

| package | licence |
| --- | --- |
"""


def needed(name: str = "rescrnet", extras: tuple[str, ...] = EXTRAS) -> dict[str, Distribution]:
    """The packages that ``name`` needs, and those that they need, by name."""
    found: dict[str, Distribution] = {}
    left = [(name, extras)]
    while left:
        current, wanted = left.pop()
        try:
            there = distribution(current)
        except PackageNotFoundError:
            continue  # of another system
        if found.get(current) and not wanted:
            continue
        found[current] = there
        left += [(other, more) for other, more in _requirements(there, wanted) if other not in found or more]
    found.pop(name)
    return dict(sorted(found.items()))


def _requirements(package: Distribution, extras: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for line in package.requires or ():
        one = Requirement(line)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            yield canonicalize_name(one.name), tuple(sorted(one.extras))


def licence(package: Distribution) -> str:
    """What a package says of its licence: an expression, its classifiers, or the first line of a text."""
    about = package.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    classified = [line.split(" :: ")[-1] for line in about.get_all("Classifier", []) if line.startswith("License :: ")]
    said = (about.get("License") or "").strip().split("\n")[0]
    return ", ".join(name for name in classified if name != "OSI Approved") or said or "not said"


def sbom(packages: dict[str, Distribution]) -> dict[str, object]:
    """The packages as CycloneDX 1.5."""
    version = distribution("rescrnet").version
    components = [
        {
            "type": "library",
            "name": name,
            "version": package.version,
            "purl": f"pkg:pypi/{name}@{package.version}",
            "licenses": [{"license": {"name": licence(package)}}],
        }
        for name, package in packages.items()
    ]
    about = {"component": {"type": "application", "name": "rescrnet", "version": version}}
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": about, "components": components}


def main() -> None:
    """Write both files."""
    packages = needed()
    Path(sys.argv[1]).write_text(json.dumps(sbom(packages), indent=2) + "\n", encoding="utf-8")
    if len(sys.argv) > 2:
        rows = [f"| {name} | {licence(package)} |" for name, package in packages.items()]
        Path(sys.argv[2]).write_text(_PAGE + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
