"""Occurrences against a count that forgets nothing."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_platform.core.occurrences import Occurrences

_STEPS = st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["a", "b"])), max_size=60)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(steps=_STEPS, is_sorted=st.booleans())
def test_what_is_remembered_is_counted_as_if_nothing_were_forgotten(
    steps: list[tuple[int, str]], is_sorted: bool
) -> None:
    """In whatever order milliseconds come while a hole is open, or in their own while none is."""
    occurrences, equal, within = Occurrences(), Counter[tuple[int, str]](), Counter[int]()
    for ms, content in sorted(steps, key=lambda step: step[0]) if is_sorted else steps:
        assert occurrences.count(ms + 1, (content,), None if is_sorted else 0) == equal[ms, content]
        assert occurrences.position == within[ms]
        equal[ms, content] += 1
        within[ms] += 1


@settings(max_examples=300, derandomize=True, deadline=None)
@given(steps=_STEPS)
def test_memory_reaches_as_far_back_as_was_asked(steps: list[tuple[int, str]]) -> None:
    """A ticker's update that comes late within its memory takes the next number, not one that is taken."""
    occurrences, equal, newest = Occurrences(), Counter[tuple[int, str]](), 0
    for ms, content in steps:
        newest = max(newest, ms)
        late = newest - min(3, newest - ms)  # at most three milliseconds behind
        assert occurrences.count(late + 1, (content,), late + 1 - 5) == equal[late, content]
        equal[late, content] += 1


def test_a_stamp_far_ahead_keeps_nothing_else() -> None:
    """It stands in front until its time has come; what is behind it goes all the same."""
    occurrences = Occurrences()
    occurrences.count(3_600_000, ("a",), 0)
    for ms in range(1, 5_000):
        occurrences.count(ms, ("a",), ms - 100)
    assert len(occurrences._older or ()) < 1_200


def test_after_the_hole_only_the_newest_is_known() -> None:
    """What was remembered is let go, and the newest millisecond goes on counting."""
    occurrences = Occurrences()
    for ms in (5, 6, 7, 6):
        occurrences.count(ms, ("a",), 0)
    assert occurrences.count(7, ("a",)) == 1
    assert occurrences.count(8, ("a",)) == 0
    assert occurrences.count(6, ("a",)) == 0
