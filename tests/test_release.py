"""What a release is made of, and by."""

import re
import tomllib
from importlib.metadata import version as version_of
from pathlib import Path

import pytest
import yaml

from tests.support.write_sbom import EXTRAS, licence, needed, sbom

ROOT = Path(__file__).resolve().parents[1]


def test_actions_are_pinned_by_digest():
    for workflow in (ROOT / ".github/workflows").glob("*.yml"):
        used = re.findall(r"uses: (.+)", workflow.read_text(encoding="utf-8"))
        assert used
        assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", action)] == []


def test_every_package_that_is_installed_says_its_licence():
    packages = needed()
    assert {"torch", "numpy", "typer"} <= set(packages)
    assert [name for name, package in packages.items() if licence(package) == "not said"] == []
    assert {part["name"] for part in sbom(packages)["components"]} == set(packages)


def test_the_page_of_licences_lists_the_extras_that_users_install():
    pytest.importorskip("sklearn")
    page = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    assert f"rescrnet[{','.join(EXTRAS)}]" in page
    assert [name for name in needed() if f"| {name} |" not in page] == []


def test_the_conda_recipe_wants_what_the_package_wants():
    conda = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # by what names conda-forge has them
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"python" + project["requires-python"]}
    for line in project["dependencies"]:
        name, version = re.fullmatch(r"([\w-]+)(.*)", line).groups()
        wanted.add(conda.get(name, name) + version)
    recipe = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text(encoding="utf-8"))
    assert {line.replace(" ", "") for line in recipe["requirements"]["run"]} == wanted
    assert recipe["context"]["version"] == project.get("version", version_of("rescrnet"))
