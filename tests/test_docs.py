"""The pages of docs that follow from the code are up to date, and links between pages lead somewhere."""

import re
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from tests.support.configuration_page import sections_of
from tests.support.write_docs import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_follows_from_the_code_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not (DOCS / target).exists()] == []


class Chain(BaseModel):
    """Blocks."""

    architecture: Literal["chain", "dense"] = "chain"
    widths: list[int] | None = None


class Comparator(BaseModel):
    """Something to compare with."""

    architecture: Literal["unet"] = "unet"
    dropout: Annotated[float, Field(ge=0, lt=1, description="Share\nof channels.")] = 0.5


class Settings(BaseModel):
    seed: int = 0
    network: Annotated[Chain | Comparator, Field(discriminator="architecture")] = Chain()


def test_a_section_that_may_be_of_several_kinds_is_a_table_for_each():
    assert (
        "\n".join(sections_of(Settings))
        == """\
## network with architecture `chain`, `dense`

Blocks.

| key | value | default | meaning |
| --- | --- | --- | --- |
| `network.architecture` | `chain`, `dense` | `"chain"` |  |
| `network.widths` | list of whole numbers or `null` | `null` |  |

## network with architecture `unet`

Something to compare with.

| key | value | default | meaning |
| --- | --- | --- | --- |
| `network.architecture` | `unet` | `"unet"` |  |
| `network.dropout` | number from 0, below 1 | `0.5` | Share of channels. |
"""
    )
