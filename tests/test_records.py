"""Keys that were renamed."""

import pytest
from pydantic import ValidationError

from rescrnet.records import Record


class Inner(Record):
    RENAMED = {"hue": "color"}

    color: str = "red"
    size: int = 1


class Outer(Record):
    RENAMED = {"hue": "inner.hue", "length": "inner.size"}

    inner: Inner = Inner()
    inners: list[Inner] = []


def test_an_old_name_means_the_key_of_today_at_any_depth():
    assert Outer(hue="blue", length=3, inners=[{"hue": "green"}]) == Outer(
        inner={"color": "blue", "size": 3}, inners=[Inner(color="green")]
    )


def test_what_was_given_is_left_as_it_was():
    values = {"length": 3, "inner": {"color": "blue"}}
    assert Outer.current_keys(values) == {"inner": {"color": "blue", "size": 3}}
    assert values == {"length": 3, "inner": {"color": "blue"}}


def test_only_names_of_today_are_written():
    assert Outer(hue="blue").model_dump() == {"inner": {"color": "blue", "size": 1}, "inners": []}


@pytest.mark.parametrize("values", [{"color": "red", "hue": "blue"}, {"hue": "red", "color": "red"}])
def test_both_names_at_once_are_refused(values):
    with pytest.raises(ValidationError, match="'hue' is the old name of 'color', and both are given"):
        Inner(**values)


def test_a_key_that_never_was_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Inner(colour="red")
