"""The words of the report."""

import pytest

from rescrnet.reporting.summary import title


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["nucleus", "rest"], "Segmentation into nucleus and rest"),
        (["fibre", "boundary", "gap"], "Segmentation into fibre, boundary and gap"),
        (list("abcdef"), "Segmentation into 6 classes"),
    ],
)
def test_title_names_the_classes_unless_they_are_many(classes, words):
    assert title(classes) == words
