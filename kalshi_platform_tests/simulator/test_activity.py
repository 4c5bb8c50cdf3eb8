from collections import Counter
from random import Random

import pytest

from kalshi_platform.simulator.activity import Activity


def crowd(size: int, skew: float) -> Activity[int]:
    """Members named by their rank."""
    activity: Activity[int] = Activity(Random(1), skew)  # noqa: S311 - repeatable
    for rank in range(size):
        activity.join(rank, rank)
    return activity


def test_few_take_most() -> None:
    """With a skew of 1 the first of a hundred is picked about twice as often as the second, and everyone sometimes."""
    activity = crowd(100, 1.0)
    picks = Counter(activity.pick() for _ in range(50_000))
    assert 1.7 < picks[0] / picks[1] < 2.3
    assert len(picks) == 100


def test_the_retired_are_never_picked() -> None:
    """Everybody can be retired, once each, and the rest goes on."""
    activity = crowd(40, 1.0)
    retired = {activity.retire_any() for _ in range(39)}
    assert len(retired) == 39
    assert {activity.pick() for _ in range(100)} == set(range(40)) - retired
    activity.join(99)
    assert {activity.pick() for _ in range(200)} == set(range(40)) - retired | {99}
    activity.retire_any()
    activity.retire_any()
    with pytest.raises(IndexError):
        activity.pick()
    with pytest.raises(IndexError):
        activity.retire_any()
