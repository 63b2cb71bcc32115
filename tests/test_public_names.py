"""The public names stand in one table; each can be had, and type checkers see the same."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import rescrnet


def names_for_type_checkers():
    """Public name → module and name there, as the imports say that only type checkers follow."""
    tree = ast.parse(Path(rescrnet.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    homes, public = {}, {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            homes.update({alias.name: (node.module, alias.name) for alias in node.names})
            public.update({alias.name: alias.name for alias in node.names if alias.asname == alias.name})
        else:
            public[node.targets[0].id] = node.value.id
    return {name: homes[original] for name, original in public.items()}


def test_type_checkers_see_the_same_names():
    assert set(names_for_type_checkers()) == set(rescrnet.__all__)
    for name, (module, original) in names_for_type_checkers().items():
        assert getattr(rescrnet, name) is getattr(import_module(module), original), name


@pytest.mark.parametrize("name", rescrnet.__all__)
def test_a_public_name_is_explained(name):
    assert getattr(rescrnet, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'rescrnet' has no attribute 'trian'"):
        rescrnet.trian  # noqa: B018


def test_names_are_listed_before_anything_is_imported():
    code = "import rescrnet, sys; print(*dir(rescrnet)); assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {*rescrnet.__all__, "__version__"} <= set(done.stdout.split())
