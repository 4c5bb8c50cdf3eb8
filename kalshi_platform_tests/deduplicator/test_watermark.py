"""The watermark."""

from datetime import UTC, datetime

from kalshi_platform.deduplicator.state import SyncState
from kalshi_platform.deduplicator.watermark import watermark

EARLY, LATE = datetime(2026, 11, 21, 10, tzinfo=UTC), datetime(2026, 11, 21, 11, tzinfo=UTC)


def test_the_slowest_live_gatherer_decides() -> None:
    """Partitions close on what everybody has delivered."""
    states = [SyncState(watermark=LATE, last_heard=100), SyncState(watermark=EARLY, last_heard=90)]
    assert watermark(states, now=100, silence=60) == EARLY


def test_a_silent_gatherer_is_not_waited_for_for_ever() -> None:
    """What it still holds arrives late."""
    states = [SyncState(watermark=LATE, last_heard=100), SyncState(watermark=EARLY, last_heard=10)]
    assert watermark(states, now=100, silence=60) == LATE
    assert watermark(states, now=1000, silence=60) == EARLY


def test_a_gatherer_that_has_said_nothing_yet_is_waited_for() -> None:
    """Nobody knows how far it has heard."""
    assert (
        watermark([SyncState(watermark=LATE, last_heard=100), SyncState(last_heard=100)], now=100, silence=60) is None
    )
    assert watermark([], now=0, silence=1) is None
