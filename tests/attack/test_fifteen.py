"""The faults that the first attacks found stay mended: each of these fails on the commit that they attacked."""

import os

import pytest

from tests.attack.fifteen import FIFTEEN, Place, import_all

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    import_all()
    return Place(tmp_path_factory.mktemp("fifteen"))


@pytest.mark.parametrize("name", FIFTEEN)
def test_it_stays_mended(place, name):
    pytest.importorskip({"F10": "distributed", "F13": "h5py"}.get(name, "numpy"))
    assert list(FIFTEEN[name](place)) == []
