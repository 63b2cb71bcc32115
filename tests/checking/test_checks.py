"""Each check finds the one fault that a dataset was given, and none in a dataset without fault."""

import re
from pathlib import Path

import numpy as np
import pytest

from rescrnet.checking.check import check as check_dataset
from rescrnet.checking.findings import CHECKS, Severity
from tests.support.bad_datasets import BAD
from tests.support.folders import save, shared
from tests.support.micrographs import LEVELS, good, image_of, mask_of

DOCUMENTED = Path(__file__).parents[2] / "docs/checks.md"
CASES = [(name, place) for name, cases in BAD.items() for place in range(len(cases))]


@pytest.mark.parametrize(("name", "place"), CASES, ids=[f"{name}-{place}" for name, place in CASES])
def test_the_check_finds_what_is_wrong_and_names_the_file(tmp_path, name, place):
    spoil, files, says = BAD[name][place]
    data = good(tmp_path / "data")
    spoil(data)
    findings = [finding for finding in check_dataset(data).findings if finding.check.name == name]
    assert findings, [str(finding) for finding in check_dataset(data).findings]
    named = {file for finding in findings for file in finding.files}
    for file in files:
        assert any(one.endswith(file) for one in named), named
    assert any(re.search(says, finding.reason) for finding in findings), [finding.reason for finding in findings]
    assert all(finding.remedy for finding in findings)


def test_a_dataset_without_fault_has_no_finding(tmp_path):
    checked = check_dataset(good(tmp_path))
    assert [str(finding) for finding in checked.findings] == []


def test_every_check_has_a_bad_dataset_made_for_it():
    assert set(CHECKS) - {"not-all-opened", "neighbouring-sections"} == set(BAD)
    assert len(CHECKS) > 30


def test_very_many_images_are_opened_in_part_and_that_is_said(tmp_path):
    checked = check_dataset(good(tmp_path), most=5)
    assert len(checked.reading.examples) == 5
    assert [finding.reason for finding in checked.findings] == ["5 of 8 images were opened, evenly spread"]


def test_neighbouring_sections_on_both_sides_are_found(tmp_path):
    masks = np.stack([mask_of(seed) for seed in range(8)])
    images = np.stack([image_of(mask, seed) for seed, mask in enumerate(masks)])
    save(tmp_path / "images/stack.tif", images, imagej=True, metadata={"axes": "ZYX"})
    save(tmp_path / "masks/stack.tif", LEVELS[masks], imagej=True, metadata={"axes": "ZYX"})
    found = {finding.check.name: finding for finding in check_dataset(tmp_path, val="stack-4").findings}
    assert found["neighbouring-sections"].files == (f"{tmp_path}/images/stack.tif (page 4)",)
    assert found["group-on-both-sides"].severity is Severity.warning


@pytest.mark.parametrize(
    ("name", "train", "val"),
    [
        ("em_vnc", 8, 4),
        ("em_vnc_native", 3, 1),
        ("fm_nuclei", 10, 6),
        ("sem_axons", 6, 2),
        ("em_vnc/train_local", 6, 2),
    ],
)
def test_published_datasets_have_no_errors(name, train, val):
    checked = check_dataset(shared(name))
    assert (len(checked.reading.split.train), len(checked.reading.split.val)) == (train, val)
    assert [str(finding) for finding in checked.errors] == []


def test_the_documentation_lists_every_check_as_it_is():
    lines = [line for line in DOCUMENTED.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    fixes = {(False, False): "–", (True, False): "fixes it", (True, True): "leaves it out"}
    assert lines == [
        f"| `{check.name}` | {check.severity.name} | {fixes[check.fixable, check.leaves_out]} | {check.explanation} |"
        for check in CHECKS.values()
    ]
