"""Numbers of one subscription."""

from kalshi_platform.core.sequence import MOST_HOLES, RUN, SequenceCounter


def places(counter: SequenceCounter, *numbers: int) -> list[str]:
    """Where each number stands."""
    return [counter.observe(number).name for number in numbers]


def test_counting_starts_at_one() -> None:
    """A first number above one means that frames are missing."""
    assert places(SequenceCounter(), 1, 2, 3) == ["NEXT"] * 3
    assert places(SequenceCounter(), 3) == ["AHEAD"]


def test_numbers_that_are_known_to_be_in_order_are_taken_at_once() -> None:
    """As if each had been shown, and a run from a hole's bottom ends with them."""
    one, many = SequenceCounter(), SequenceCounter()
    assert places(one, 1, 9, 2, 3, 10, 11, 12) == places(many, 1, 9, 2, 3) + ["NEXT"] * 3
    many.advance(3)
    assert many.expected == one.expected == 13
    assert places(one, 4, 5, 6, 7, 8, 13) == places(many, 4, 5, 6, 7, 8, 13)


def test_counting_goes_on_behind_a_hole() -> None:
    """One hole is one finding."""
    assert places(SequenceCounter(), 1, 5, 6) == ["NEXT", "AHEAD", "NEXT"]


def test_each_missing_number_is_late_once_and_repeated_afterwards() -> None:
    """In whatever order they come."""
    counter = SequenceCounter()
    assert places(counter, 6, 3, 3, 1, 5, 2, 4, 4, 6) == [
        "AHEAD", "LATE", "REPEATED", "LATE", "LATE", "LATE", "LATE", "REPEATED", "REPEATED",
    ]  # fmt: skip
    assert counter.is_whole
    assert counter.expected == 7


def test_a_repeated_number_does_not_move_the_counter() -> None:
    """Counting goes on behind the highest."""
    assert places(SequenceCounter(), 1, 2, 1, 3) == ["NEXT", "NEXT", "REPEATED", "NEXT"]


def test_a_wrong_number_far_ahead_does_not_blind_for_ever() -> None:
    """A run from the bottom of the hole shows that the number which opened it was wrong."""
    counter = SequenceCounter()
    assert places(counter, 1, 10**9, *range(2, 2 + RUN)) == ["NEXT", "AHEAD", *["LATE"] * (RUN - 1), "BEHIND"]
    assert places(counter, 2 + RUN, 3 + RUN) == ["NEXT", "NEXT"]


def test_a_block_that_overtook_another_is_no_wrong_number() -> None:
    """Several numbers stand above the hole, so counting stays there."""
    counter = SequenceCounter()
    places(counter, 21, 22)
    assert places(counter, *range(1, 21)) == ["LATE"] * 20
    assert places(counter, 23) == ["NEXT"]


def test_holes_are_bounded() -> None:
    """The oldest is given up: its numbers count as passed, and it is not claimed that all have come."""
    counter = SequenceCounter()
    places(counter, *range(2, 2 * MOST_HOLES + 4, 2))
    assert places(counter, 1, 3) == ["REPEATED", "LATE"]
    places(counter, *range(5, 2 * MOST_HOLES + 3, 2))
    assert not counter.has_holes
    assert not counter.is_whole
