"""Amounts of memory."""

import pytest

from rescrnet.errors import UsageError
from rescrnet.inference.budget import (
    PROGRAM,
    available_bytes,
    default_budget,
    format_bytes,
    parse_bytes,
    resident_bytes,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1GB", 10**9), ("800MB", 8 * 10**8), ("1.5 GiB", 3 * 2**29), ("2g", 2 * 10**9), ("123456", 123456)],
)
def test_an_amount_of_memory_is_a_number_and_a_unit(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "much", "1XB", "-1GB", "0GB", "1 G B"])
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError, match=rf"--memory {text}: is no amount of memory; expected .* 1GB or 800MB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("count", "text"), [(10**9, "1GB"), (1_240_000_000, "1.2GB"), (405_400_000, "405MB"), (9000, "9KB")]
)
def test_an_amount_reads_as_people_write_it(count, text):
    assert format_bytes(count) == text


def test_an_amount_that_is_needed_is_rounded_up():
    assert format_bytes(405_400_000, up=True) == "406MB"
    assert format_bytes(10**9, up=True) == "1GB"


def test_without_a_word_half_of_what_is_free_is_used():
    assert 0.3 * available_bytes() < default_budget() < 0.7 * available_bytes()
    assert available_bytes() > 2**26


def test_the_program_counts_with_what_it_takes_at_least():
    assert resident_bytes() >= PROGRAM
