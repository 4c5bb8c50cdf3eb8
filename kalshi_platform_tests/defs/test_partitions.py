from datetime import UTC, datetime, timedelta

import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, TRADES
from kalshi_platform.defs.partitions import DAILY, HOUR, HOURLY, hours_closed, key_at, partitions_of, window_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_keys_are_hours_of_utc() -> None:
    """There and back; a key names no zone, because there is only one."""
    assert key_at(ORDERBOOK_DELTAS, NOON) == "2026-11-20-12:00"
    assert window_of(ORDERBOOK_DELTAS, "2026-11-20-12:00") == (NOON, NOON + HOUR)


def test_trades_have_a_key_a_day_and_today_is_one() -> None:
    """A day that goes on is a partition already, so that the books of this morning can be rebuilt today."""
    day = NOON.replace(hour=0)
    assert partitions_of(TRADES) is DAILY
    assert key_at(TRADES, NOON) == "2026-11-20"
    assert window_of(TRADES, "2026-11-20") == (day, day + timedelta(days=1))
    assert DAILY.has_partition_key(f"{datetime.now(UTC):%Y-%m-%d}")


@pytest.mark.parametrize(
    ("first", "mark", "expected"),
    [
        (NOON, NOON + HOUR, [NOON]),
        (NOON + timedelta(minutes=59), NOON + HOUR, [NOON]),
        (NOON, NOON + HOUR - timedelta.resolution, []),
        (NOON, NOON - HOUR, []),
        (NOON, NOON + 9 * HOUR, [NOON, NOON + HOUR]),
    ],
    ids=["just closed", "begun late", "not closed", "behind", "more than asked for"],
)
def test_an_hour_is_closed_when_the_watermark_has_passed_its_end(
    first: datetime, mark: datetime, expected: list[datetime]
) -> None:
    """Not a microsecond earlier, and no more hours than asked for."""
    assert hours_closed(first, mark, most=2) == expected


def test_hours_that_no_partition_can_hold_are_left_out() -> None:
    """Neither before the first partition nor after the present."""
    start = HOURLY.start
    assert hours_closed(start - 5 * HOUR, start + HOUR, most=9) == [start]
    assert hours_closed(datetime.now(UTC) + HOUR, datetime.now(UTC) + 9 * HOUR, most=9) == []
