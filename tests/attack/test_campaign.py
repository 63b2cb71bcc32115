"""A small share of each quick part of the campaign; ``make attack`` does all of it."""

import os

import pytest

from tests.attack.disks import disks
from tests.attack.inputs import inputs
from tests.attack.kills import kills
from tests.attack.material import Material
from tests.attack.names import names

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return Material.make(tmp_path_factory.mktemp("attack") / "m")


@pytest.mark.parametrize(("part", "count"), [(inputs, 36), (kills, 3), (disks, 4), (names, 1)])
def test_it_holds(material, tmp_path, part, count):
    tally = part(material, count) if part is inputs else part(material, tmp_path / "w", count)
    if tally.skipped:
        pytest.skip(tally.skipped)
    assert tally.cases
    assert not tally.faults, "\n".join(tally.examples)
