"""The exchange's timetable as pauses."""

from datetime import UTC, datetime
from typing import Any

from kalshi_platform.core.units import us_from_datetime
from kalshi_platform.exchange.rest.objects import MaintenanceWindow, Schedule
from kalshi_platform.exchange.schedule import pauses
from kalshi_platform.exchange.staleness import Hours, weekly_pause

ALL_DAY = [{"open_time": "00:00", "close_time": "00:00"}]
SPLIT = [{"open_time": "00:00", "close_time": "03:00"}, {"open_time": "05:00", "close_time": "00:00"}]


def us(*moment: int) -> int:
    """A moment in UTC."""
    return us_from_datetime(datetime(*moment, tzinfo=UTC))  # type: ignore[misc]


def week(**days: Any) -> dict[str, Any]:
    """Hours of every day, all day unless given."""
    names = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return {"start_time": "2026-01-01T00:00:00Z", "end_time": "2036-01-01T00:00:00Z"} | dict.fromkeys(
        names, ALL_DAY
    ) | days  # fmt: skip


def test_thursdays_pause_is_what_the_schedule_says() -> None:
    """In New York's hours, summer and winter; the same that is known without asking."""
    schedule = Schedule(standard_hours=(week(thursday=SPLIT),))
    winter, summer = us(2026, 11, 21), us(2026, 7, 18)
    assert pauses(schedule, winter) == [(us(2026, 11, 19, 8), us(2026, 11, 19, 10))]
    assert pauses(schedule, summer) == [(us(2026, 7, 16, 7), us(2026, 7, 16, 9))]
    assert weekly_pause(winter) in pauses(schedule, winter)


def test_a_closed_day_and_planned_maintenance() -> None:
    """Silence is explained from the evening before until the morning after, and in the window."""
    window = MaintenanceWindow(start_datetime="2026-11-20T10:00:00Z", end_datetime="2026-11-20T11:30:00-05:00")
    broken = MaintenanceWindow(start_datetime="soon", end_datetime="later")
    schedule = Schedule(standard_hours=(week(sunday=[]),), maintenance_windows=(window, broken))
    found = pauses(schedule, us(2026, 11, 21))
    assert (us(2026, 11, 20, 10), us(2026, 11, 20, 16, 30)) in found
    assert (us(2026, 11, 15, 5), us(2026, 11, 16, 5)) in found
    hours = Hours(windows=found)
    assert hours.since(us(2026, 11, 20, 12)) is None
    assert hours.since(us(2026, 11, 20, 17)) == us(2026, 11, 20, 16, 30)


def test_weeks_that_do_not_count() -> None:
    """A week of last year, or hours that cannot be read, close nothing."""
    old = week(thursday=[]) | {"end_time": "2026-02-01T00:00:00Z"}
    assert pauses(Schedule(standard_hours=(old, {"monday": []})), us(2026, 11, 21)) == []
    odd = week(monday=[{"open_time": "dawn", "close_time": "dusk"}], tuesday=None, friday=[{}])
    assert pauses(Schedule(standard_hours=(odd,)), us(2026, 11, 21)) == []
    assert pauses(Schedule(), us(2026, 11, 21)) == []
