"""When silence means something: each subscription's own rhythm, held against the hours of the exchange.

Pings prove that a socket lives, not that a subscription does (kalshi-pitfalls.md 25). Pure: times come in as arguments.
Kept out: what is done about a silent subscription.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from kalshi_platform.core.units import SECOND, datetime_from_us, us_from_datetime

SHORTEST_SILENCE_US = 30 * SECOND
"""No silence shorter than this is an alarm."""

LONGEST_RHYTHM = 20
"""A silence of this many usual intervals is an alarm: by chance it comes once in 485 million."""

FRAMES_FOR_A_RHYTHM = 50
"""Frames before a subscription has a rhythm; a quieter one may be silent for as long as it likes."""

LEARNING_US = 600 * SECOND
"""Nor is it judged before it is so old, the silence included."""

_MEMORY_US = 1_800 * SECOND
_MOST_PASSED_US = LONGEST_RHYTHM * SHORTEST_SILENCE_US

_EXCHANGE_ZONE = ZoneInfo("America/New_York")
_THURSDAY = 3
_PAUSE = (time(3), time(5))


@dataclass(frozen=True, slots=True)
class Hours:
    """When the exchange sends.

    Attributes:
        is_active: What `/exchange/status` says now.
        active_since_us: When it became so, as far as known.
        windows: Further pauses from `/exchange/schedule`, as (start, end) in µs.
    """

    is_active: bool = True
    active_since_us: int = 0
    windows: Sequence[tuple[int, int]] = ()

    def since(self, now_us: int) -> int | None:
        """The time from which silence counts; None during a pause."""
        pauses = (weekly_pause(now_us), *self.windows)
        if not self.is_active or any(start <= now_us < end for start, end in pauses):
            return None
        return max([self.active_since_us, *(end for _, end in pauses if end <= now_us)])


def weekly_pause(now_us: int) -> tuple[int, int]:
    """The last weekly maintenance that has begun: Thursday 03:00 to 05:00 in New York (kalshi-protocol.md §2.3)."""
    now = datetime_from_us(now_us).astimezone(_EXCHANGE_ZONE)
    day = now.date() - timedelta(days=(now.weekday() - _THURSDAY) % 7)
    if datetime.combine(day, _PAUSE[0], _EXCHANGE_ZONE) > now:
        day -= timedelta(days=7)
    start, end = (us_from_datetime(datetime.combine(day, at, _EXCHANGE_ZONE).astimezone(UTC)) for at in _PAUSE)
    return start, end


class Rhythm:
    """How long one subscription is usually silent; time in pauses does not count.

    Usual is the interval that a moment falls into by chance, halved: the mean interval where frames come independently
    of each other, and that between bursts where they come in company. The last half hour counts, so that a quiet night
    is not held against the day before.

    Args:
        now_us: When the subscription started.
    """

    __slots__ = ("_busy_us", "_frames", "_last_us", "_squares")

    def __init__(self, now_us: int) -> None:
        self._last_us = now_us
        self._busy_us = 0
        self._squares = 0
        self._frames = 0

    def note(self, now_us: int, frames: int = 1) -> None:
        """Data came."""
        self._frames += frames
        passed_us = now_us - self._last_us
        if passed_us > 0:
            self._last_us = now_us
            passed_us = min(passed_us, _MOST_PASSED_US)
            self._busy_us += passed_us
            self._squares += passed_us * passed_us
            if self._busy_us > _MEMORY_US:
                self._busy_us //= 2
                self._squares //= 2

    def is_stale(self, now_us: int, active_since_us: int | None) -> bool:
        """Whether the silence is longer than this subscription's rhythm explains; ask in pauses too, they are noted.

        Args:
            now_us: The time.
            active_since_us: Since when the exchange has been sending; None while it pauses.
        """
        if active_since_us is None:
            self._last_us = max(self._last_us, now_us)
            return False
        silent_us = now_us - max(self._last_us, active_since_us)
        if self._frames < FRAMES_FOR_A_RHYTHM or self._busy_us + silent_us < LEARNING_US:
            return False
        usual_us = self._squares // max(1, self._busy_us) // 2
        return silent_us > max(SHORTEST_SILENCE_US, LONGEST_RHYTHM * usual_us)
