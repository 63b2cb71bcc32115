"""The code is built as docs/architecture.md says: rooms of a sensible size and no circles of imports."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src/rescrnet"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
LARGEST = 0.15  # of all lines


@pytest.fixture(scope="module")
def imports():
    """Which module imports which, in functions and for type checkers too."""
    grimp = pytest.importorskip("grimp")
    return grimp.build_graph("rescrnet", cache_dir=None)


def lines_of(folder):
    files = (file for file in folder.rglob("*") if file.suffix in (".py", ".c", ".h"))
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def in_circles(graph):
    """The modules whose imports lead back to them."""
    leads_back = {
        module
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(importer=imported, imported=module)
    }
    return sorted(leads_back)


def test_no_room_holds_more_than_its_share_of_the_lines():
    total = lines_of(PACKAGE)
    shares = {folder.name: lines_of(folder) / total for folder in PACKAGE.iterdir() if folder.is_dir()}
    assert len(shares) > 5
    assert {name: f"{share:.0%}" for name, share in shares.items() if share > LARGEST} == {}


@pytest.mark.xfail(reason="nn.blocks and nn.fused import each other", raises=AssertionError, strict=True)
def test_no_module_imports_itself_by_way_of_others(imports):
    assert in_circles(imports) == []


def test_a_circle_would_be_found():
    grimp = pytest.importorskip("grimp")
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")):
        graph.add_module(importer)
        graph.add_import(importer=importer, imported=imported)
    assert in_circles(graph) == ["b", "c"]


def test_the_page_of_a_check_needs_no_inference(imports):
    chains = imports.find_shortest_chains("rescrnet.reporting.check_page", "rescrnet.inference", as_packages=True)
    assert chains == set()


def test_the_floors_that_are_drawn_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    level = {name: number for number, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    drawing = PAGE.split("```")[1].splitlines()
    floors = [re.findall(r"\w+", line[:60]) for line in drawing if re.search(r"\w", line)]
    assert sorted(name for floor in floors for name in floor) == sorted(level)
    for upper, lower in pairwise(floors):
        assert max(level[name] for name in upper) < min(level[name] for name in lower)


def test_the_files_that_are_named_are_there():
    named = re.findall(r"`([\w./-]+\.(?:py|md|jinja))`", PAGE)
    assert len(named) > 20
    places = (ROOT, PACKAGE.parent, PACKAGE, PACKAGE / "reporting")
    assert [name for name in named if not any((place / name).is_file() for place in places)] == []
