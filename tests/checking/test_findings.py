"""Names of files are shown so that they can be printed, and a finding is one line."""

import os

import pytest

from rescrnet.checking.check import CHECKS
from rescrnet.checking.findings import Finding
from rescrnet.datasets.faults import Fault
from rescrnet.wording import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Präparat 1.tif", "Präparat 1.tif"),
        (os.fsdecode(b"c\xff.png"), r"c\xff.png"),
        ("a\nb\x1b[31m.png", r"a\nb\x1b[31m.png"),
    ],
)
def test_names_are_shown_as_printable_text(name, shown):
    assert printable(name) == shown
    assert printable(name).encode()


def test_a_finding_is_one_line_with_file_reason_and_remedy():
    finding = Finding(CHECKS["saturated"], Fault("saturated", ("a.png", "b.png"), "is too bright", "expose shorter"))
    assert str(finding) == "a.png: is too bright (and 1 more); expose shorter"
    assert finding.to_dict() == {
        "check": "saturated",
        "severity": "warning",
        "files": ["a.png", "b.png"],
        "reason": "is too bright",
        "remedy": "expose shorter",
        "fixable": False,
    }
