"""What each block reads, written out by hand as the paper draws it."""

from collections import Counter

import pytest

from rescrnet.nn.variants import VARIANTS, join

SUMS = {  # what the next block reads after each of five blocks a to e, with how often each output is in it
    "res-cr-net": ["a", "b", "c", "d", "e"],
    "dense": ["a", "b", "abc", "abcd", "abcde"],
    "very-dense": ["a", "ab", "aabc", "aaaabbcd", "aaaaaaaabbbbccde"],
}


def states(variant, outputs):
    """The states after each block, of anything that can be added."""
    state = (None,)
    for index, output in enumerate(outputs):
        state = join(variant, index, output, state[-1])
        yield state


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_block_reads_the_sum_that_its_variant_draws(variant):
    found = [state[0] for state in states(variant, [Counter(name) for name in "abcde"])]
    assert found == [Counter(names) for names in SUMS[variant]]


@pytest.mark.parametrize(("variant", "maps"), [("res-cr-net", "11111"), ("dense", "12111"), ("very-dense", "12222")])
def test_a_second_map_is_carried_only_as_long_as_it_is_still_to_be_added(variant, maps):
    assert "".join(str(len(state)) for state in states(variant, range(5))) == maps


def test_the_sum_of_a_very_dense_network_holds_what_all_blocks_gave():
    last = list(states("very-dense", [1, 10, 100]))[-1]
    assert last == (100 + 1 + 11, 112 + 1 + 11)
