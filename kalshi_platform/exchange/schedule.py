"""The exchange's own timetable (`/exchange/schedule`) as stretches of time in which nothing is traded.

Weekly hours are New York's (kalshi-protocol.md §2.3). Pure. Kept out: what silence means then (`staleness`).
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.units import datetime_from_us, us_from_datetime, us_from_rfc3339
from kalshi_platform.exchange.rest.objects import Schedule

Pause = tuple[int, int]
"""Start and end in µs since 1970."""

_NEW_YORK = ZoneInfo("America/New_York")
_ALL_DAY = ({"open_time": "00:00", "close_time": "00:00"},)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_BACK, _AHEAD = timedelta(days=7), timedelta(days=2)


def pauses(schedule: Schedule, now_us: int) -> list[Pause]:
    """The pauses from a week ago until the day after tomorrow, planned maintenance included.

    What cannot be read is no pause.

    Args:
        schedule: What the exchange says.
        now_us: The time, µs since 1970.
    """
    now = datetime_from_us(now_us).astimezone(_NEW_YORK)
    found = [*_maintenance(schedule), *_closed(_sessions(schedule, now))]
    return sorted(found)


def _maintenance(schedule: Schedule) -> Iterator[Pause]:
    for window in schedule.maintenance_windows:
        try:
            yield us_from_rfc3339(window.start_datetime), us_from_rfc3339(window.end_datetime)
        except FrameRejected:
            continue


def _sessions(schedule: Schedule, now: datetime) -> Iterator[Pause]:
    """When trading is open, day by day; a day that no week of the schedule covers is open."""
    day, last = (now - _BACK).date(), (now + _AHEAD).date()
    while day <= last:
        week = next((one for one in schedule.standard_hours if _covers(one, day)), None)
        try:
            yield from list(_of_day(day, _ALL_DAY if week is None else week[_DAYS[day.weekday()]]))
        except (KeyError, TypeError, ValueError):
            yield from _of_day(day, _ALL_DAY)
        day += timedelta(days=1)


def _covers(week: Mapping[str, Any], day: date) -> bool:
    try:
        start, end = (datetime.fromisoformat(week[name]).date() for name in ("start_time", "end_time"))
    except (KeyError, TypeError, ValueError):
        return False
    return start <= day <= end


def _of_day(day: date, hours: Iterable[Mapping[str, str]]) -> Iterator[Pause]:
    for session in hours:
        opens, closes = time.fromisoformat(session["open_time"]), time.fromisoformat(session["close_time"])
        until = day + timedelta(days=1) if closes == time(0) else day  # midnight is the end of the day
        yield _us(day, opens), _us(until, closes)


def _closed(sessions: Iterable[Pause]) -> Iterator[Pause]:
    """The stretches between sessions."""
    for (_, end), (start, _) in pairwise(sorted(sessions)):
        if start > end:
            yield end, start


def _us(day: date, at: time) -> int:
    return us_from_datetime(datetime.combine(day, at, _NEW_YORK).astimezone(UTC))
