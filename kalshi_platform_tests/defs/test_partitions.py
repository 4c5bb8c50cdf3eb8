from datetime import UTC, datetime, timedelta

import pytest

from kalshi_platform.defs.partitions import HOUR, HOURLY, hour_of, hours_closed, key_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_keys_are_hours_of_utc() -> None:
    """There and back; a key names no zone, because there is only one."""
    assert key_of(NOON) == "2026-11-20-12:00"
    assert hour_of("2026-11-20-12:00") == (NOON, NOON + HOUR)


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
