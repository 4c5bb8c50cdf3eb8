"""Invented traffic at the asked rate: how many events each beat owes, and which milliseconds they get.

What the events are, `exchange` decides.
"""

import time
from math import exp, sqrt
from random import Random

from kalshi_platform.simulator.calibration import PEAK_OVER_MEAN, SWING_MEMORY, SWING_SIGMA
from kalshi_platform.simulator.clock import Clock
from kalshi_platform.simulator.exchange import Exchange

_MAX_DEBT_SECONDS = 0.25
_MAX_BEAT_SECONDS = 0.02


class Pace:
    """Traffic that never ends by itself.

    Args:
        exchange: Where it happens.
        rate: Events per second of the exchange's clock, on average.
        clock: That clock.
        swing: How busy and quiet seconds follow each other.
    """

    is_over = False

    def __init__(self, exchange: Exchange, rate: float, clock: Clock, swing: "Swing") -> None:
        self._swing = swing
        self._exchange = exchange
        self._rate = rate
        self._clock = clock
        self._most_owed = max(rate * _MAX_DEBT_SECONDS * clock.scale, 1.0)
        self._owed = 0.0
        self._looked = clock.seconds()
        self._last_ms = exchange.now_ms

    def beat(self, now_ms: int) -> None:
        """Make what is due; while the exchange pauses, nothing is."""
        before, self._looked = self._looked, self._clock.seconds()
        if not self._exchange.is_paused:
            self._trade(self._looked - before, now_ms)
        if now_ms > self._last_ms:
            self._exchange.keep_time(now_ms)
            self._last_ms = now_ms

    def _trade(self, elapsed: float, now_ms: int) -> None:
        """Spend what the rate allows since the last beat.

        Stamps spread over the milliseconds since then and lie after those of the last beat: a client that subscribes
        between two beats never sees half of a millisecond. A clock that was set back is waited for.
        """
        self._owed = min(self._owed + self._rate * self._swing.at(now_ms // 1000) * elapsed, self._most_owed)
        span_ms, budget = now_ms - self._last_ms, self._owed
        if span_ms <= 0 or budget <= 0:
            return
        deadline = time.monotonic() + _MAX_BEAT_SECONDS
        spent = 0.0
        while spent < budget and not self._exchange.is_paused and time.monotonic() < deadline:
            spent += self._exchange.step(self._last_ms + 1 + int((span_ms - 1) * spent / budget))
        self._owed -= spent


class Swing:
    """Busy and quiet seconds, around an average of 1: the logarithm wanders and remembers.

    Args:
        seed: Of the exchange.
        strength: 1 is as one busy market was recorded, 0 is steady.
        spread: Among how many markets the traffic is shared; where one is busy, another is quiet.
    """

    def __init__(self, seed: int, strength: float, spread: float) -> None:
        self._random = Random(f"swing:{seed}")  # noqa: S311 - repeatable traffic, nothing secret
        self._sigma = SWING_SIGMA * strength / sqrt(max(spread, 1.0))
        self._noise = self._sigma * sqrt(1 - SWING_MEMORY**2)
        self._log = self._random.gauss(0, self._sigma)
        self._second = -1
        self._factor = 1.0

    def at(self, second: int) -> float:
        """How busy a second of the clock is; seconds that were skipped are forgotten."""
        if second != self._second and self._sigma:
            self._second = second
            self._log = SWING_MEMORY * self._log + self._random.gauss(0, self._noise)
            self._factor = min(exp(self._log - self._sigma**2 / 2), PEAK_OVER_MEAN.most)
        return self._factor
