"""Counting a subscription's frames."""

from hypothesis import given
from hypothesis import strategies as st

from kalshi_platform.core.sequence import SequenceBreak, SequenceCounter


def test_a_new_subscription_starts_at_one() -> None:
    """The first number is 1, and a first number that is not tells of a loss."""
    assert SequenceCounter().observe(1) is None
    assert SequenceCounter().observe(3) == SequenceBreak(expected=1, seen=3)


def test_a_gap_is_told_once() -> None:
    """After a gap, counting goes on behind it."""
    counter = SequenceCounter()
    assert [counter.observe(seq) for seq in (1, 2, 5, 6)] == [None, None, SequenceBreak(3, 5), None]


def test_a_number_that_has_passed_does_not_turn_the_count_back() -> None:
    """A repeated frame is told apart from a gap."""
    counter = SequenceCounter()
    breaks = [counter.observe(seq) for seq in (1, 2, 3, 2, 4)]
    assert breaks == [None, None, None, SequenceBreak(expected=4, seen=2), None]


@given(st.integers(1, 200), st.sets(st.integers(1, 200), max_size=20))
def test_every_hole_is_found(last: int, lost: set[int]) -> None:
    """Each run of lost numbers that is followed by a frame makes exactly one break."""
    counter = SequenceCounter()
    seen = [seq for seq in range(1, last + 1) if seq not in lost]
    found = [one for one in map(counter.observe, seen) if one is not None]
    missing = {number for one in found for number in range(one.expected, one.seen)}
    assert missing == {seq for seq in lost if seq <= max(seen, default=0)}
