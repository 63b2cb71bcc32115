"""Durations as people write them."""

import pytest

from rescrnet.durations import parse_minutes
from rescrnet.errors import UsageError


@pytest.mark.parametrize(("text", "minutes"), [("30m", 30), ("90s", 1.5), ("1.5h", 90), ("10", 10), ("2min", 2)])
def test_times(text, minutes):
    assert parse_minutes(text, "--budget") == minutes


@pytest.mark.parametrize("text", ["", "m", "-3m", "0", "ten", "1d", "nan", "1e3"])
def test_what_is_no_time(text):
    with pytest.raises(UsageError, match=r"--budget .*: is no time; expected such as 30m"):
        parse_minutes(text, "--budget")
