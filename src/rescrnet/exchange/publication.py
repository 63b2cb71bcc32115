"""What a published model says of itself besides its network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Publication:
    """What a package says besides its model, for those who find it.

    Attributes:
        sample: an image of the kind that the model is for. Its type is the one whose pixels the package takes, and what
            the model makes of it is the package's test and cover.
        authors: their names, at least one.
        license: by its SPDX name, such as ``CC-BY-4.0``.
        cite: what to cite, each a text with a DOI or an address in it, at least one.
        name: of the model; the name of the file where left out.
    """

    sample: Path
    authors: tuple[str, ...]
    license: str
    cite: tuple[str, ...]
    name: str | None = None
