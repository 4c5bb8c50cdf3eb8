"""When the whole exchange trades nothing: every Thursday night in New York, and when a run asks for it.

Protocol §2.3: 03:00 to 05:00 on Thursdays, connections may be dropped. Times are the exchange's. Kept out: what a pause
does to sockets and to REST.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from kalshi_platform.simulator.agenda import Timetable

_NEW_YORK = ZoneInfo("America/New_York")
_THURSDAY = 3
_START_HOUR, _END_HOUR = 3, 5
_TEXT = re.compile(r"(?P<after>\d+(?:\.\d+)?)=(?P<seconds>\d+(?:\.\d+)?)(?P<drops>!?)")


class Pause(NamedTuple):
    """One pause that was asked for."""

    after_seconds: float
    """Since the start."""
    seconds: float
    drops_sockets: bool = False
    """Whether every connection is closed (1001) when it begins."""


class Floor(Protocol):
    """What is paused."""

    def pause(self, resumes_ms: int, *, drops_sockets: bool) -> None:
        """Trade nothing until told otherwise, and say until when that will be."""

    def resume(self) -> None:
        """Trade again."""


def parse_pause(text: str) -> Pause:
    """Read `AFTER=SECONDS`, with a `!` where connections are dropped.

    Raises:
        ValueError: it is not of this form.
    """
    found = _TEXT.fullmatch(text)
    if not found:
        raise ValueError(f"a pause is AFTER=SECONDS, in seconds since the start, or AFTER=SECONDS! ; not {text!r}")
    return Pause(float(found["after"]), float(found["seconds"]), bool(found["drops"]))


def maintenance(now_ms: int) -> tuple[int, int]:
    """Start and end, in milliseconds since 1970, of the Thursday pause that lasts or comes next."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(_NEW_YORK)
    day = now.date() + timedelta(days=(_THURSDAY - now.weekday()) % 7)
    start, end = _window(day.year, day.month, day.day)
    if end <= now_ms:
        day += timedelta(days=7)
        start, end = _window(day.year, day.month, day.day)
    return start, end


def _window(year: int, month: int, day: int) -> tuple[int, int]:
    hours = (datetime(year, month, day, hour, tzinfo=_NEW_YORK) for hour in (_START_HOUR, _END_HOUR))
    start, end = (round(moment.timestamp() * 1000) for moment in hours)
    return start, end


def plan_pauses(timetable: Timetable, floor: Floor, pauses: tuple[Pause, ...], now_ms: int) -> None:
    """Plan the pauses that a run asks for."""
    for one in pauses:
        start = now_ms + round(one.after_seconds * 1000)
        _plan(timetable, floor, start, start + round(one.seconds * 1000), drops_sockets=one.drops_sockets)


def plan_maintenance(timetable: Timetable, floor: Floor, now_ms: int) -> None:
    """Plan the pause of this Thursday, and when it is over that of the next."""
    start, end = maintenance(now_ms)
    _plan(timetable, floor, start, end, drops_sockets=True)
    timetable.at(end, lambda _: plan_maintenance(timetable, floor, end))


def _plan(timetable: Timetable, floor: Floor, start: int, end: int, *, drops_sockets: bool) -> None:
    timetable.at(start, lambda _: floor.pause(end, drops_sockets=drops_sockets))
    timetable.at(end, lambda _: floor.resume())
