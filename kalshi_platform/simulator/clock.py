"""The exchange's clock: the real one, a faster one, or one that a test turns by hand.

Stamps, openings, closings, settlements, pauses and the pace of traffic follow it. What belongs to the network (pings,
stalls, deadlines of a close) follows real time. Kept out: what happens when.
"""

import time
from math import inf
from typing import Protocol

HAND_SCALE = 1e6


class Clock(Protocol):
    """What the exchange needs to know of time."""

    @property
    def scale(self) -> float:
        """Seconds of the exchange per real second."""

    def now_ms(self) -> int:
        """The exchange's time, in milliseconds since 1970."""

    def seconds(self) -> float:
        """Seconds of the exchange since some moment; never runs back."""


class RealClock:
    """The clock of this machine."""

    scale = 1.0

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def seconds(self) -> float:
        """The monotonic clock."""
        return time.monotonic()


class ScaledClock:
    """A clock that starts where it is told and runs so many times as fast.

    Args:
        scale: Seconds of the exchange per real second.
        start_ms: Its first time; now unless given.
    """

    def __init__(self, scale: float, start_ms: int | None = None) -> None:
        self.scale = scale
        self._start_ms = time.time_ns() // 1_000_000 if start_ms is None else start_ms
        self._origin = time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._start_ms + int(self.seconds() * 1000)

    def seconds(self) -> float:
        """Since the start."""
        return (time.monotonic() - self._origin) * self.scale


class HandClock:
    """A clock that stands still until somebody turns it on; traffic that is then due is made as fast as it can be."""

    scale = HAND_SCALE

    def __init__(self, start_ms: int) -> None:
        self._start_ms = self._now_ms = start_ms

    def advance(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._now_ms += round(seconds * 1000)

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._now_ms

    def seconds(self) -> float:
        """Since the start."""
        return (self._now_ms - self._start_ms) / 1000


class TapeClock:
    """The time of a recording: it stands until the tape begins, then runs at a pace, or follows the tape's place.

    Args:
        start_ms: When the recording begins.
        speed: Seconds of it per real second; infinite where only `turn_to` moves it.
    """

    def __init__(self, start_ms: int, speed: float) -> None:
        self.speed = speed
        self.scale = min(speed, HAND_SCALE)
        self._start_ms = self._base_ms = start_ms
        self._base: float | None = None

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        if self._base is None or self.speed == inf:
            return self._base_ms
        return self._base_ms + int((time.monotonic() - self._base) * 1000 * self.speed)

    def seconds(self) -> float:
        """Since the start of the recording."""
        return (self.now_ms() - self._start_ms) / 1000

    def turn_to(self, now_ms: int) -> None:
        """Begin, or leap to a later time."""
        self._base_ms = max(now_ms, self._base_ms)
        self._base = time.monotonic()


def make_clock(scale: float, start_ms: int | None) -> Clock:
    """The real clock, unless another pace or another time was asked for."""
    return RealClock() if scale == 1.0 and start_ms is None else ScaledClock(scale, start_ms)
