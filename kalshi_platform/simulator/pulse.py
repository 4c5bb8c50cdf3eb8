"""The heart of the process: every few milliseconds some traffic, then one write per client, then the ledger.

The only place that turns real time into traffic. What the traffic is, `exchange` decides.
"""

import asyncio
import time

from kalshi_platform.simulator.clock import Clock
from kalshi_platform.simulator.exchange import Exchange
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.options import SimulatorOptions

_LEDGER_FLUSH_SECONDS = 0.05
_MAX_DEBT_SECONDS = 0.25
_MAX_TICK_SECONDS = 0.02


class Pulse:
    """Traffic at a steady rate until it is told to stop; heartbeats and snapshots for as long as the process lives."""

    def __init__(self, options: SimulatorOptions, exchange: Exchange, hub: Hub, ledger: Ledger, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._exchange = exchange
        self._hub = hub
        self._ledger = ledger
        self._owed = 0.0
        self._last_beat = self._last_flush = self._last_ping = time.monotonic()
        self._started = self._last_look = clock.seconds()
        self._last_ms = hub.sending_ms
        self.is_trading = True

    async def run(self) -> None:
        """Beat until cancelled."""
        interval = self._options.tick_ms / 1000
        while True:
            self._beat(time.monotonic())
            await asyncio.sleep(max(0.0, self._last_beat + interval - time.monotonic()))

    def stop_trading(self) -> None:
        """End the traffic for good and close the ledger's account; a second call does nothing."""
        if self.is_trading:
            self.is_trading = False
            self._hub.flush()
            self._ledger.end(max(self._last_ms, self._hub.look_at_clock()))

    def _beat(self, now: float) -> None:
        now_ms, elapsed = self._hub.look_at_clock(), self._elapsed()
        if self.is_trading and not self._exchange.is_paused:
            self._trade(elapsed, now_ms)
        if self.is_trading and now_ms > self._last_ms:
            self._exchange.keep_time(now_ms)
            self._last_ms = now_ms
        if now - self._last_ping >= self._options.heartbeat_seconds:
            self._last_ping = now
            self._hub.ping()
        self._hub.flush()
        if now - self._last_flush >= _LEDGER_FLUSH_SECONDS:
            self._last_flush = now
            self._ledger.flush()
        self._last_beat = now
        if self._options.seconds and self._last_look - self._started >= self._options.seconds:
            self.stop_trading()

    def _elapsed(self) -> float:
        """Seconds of the exchange since the last beat."""
        before, self._last_look = self._last_look, self._clock.seconds()
        return self._last_look - before

    def _trade(self, elapsed: float, now_ms: int) -> None:
        """Spend what the rate allows since the last beat.

        Stamps spread over the milliseconds since then and lie after those of the last beat: a client that subscribes
        between two beats never sees half of a millisecond. A clock that was set back is waited for.
        """
        rate = self._options.rate
        most_owed = max(rate * _MAX_DEBT_SECONDS * self._clock.scale, 1.0)
        self._owed = min(self._owed + rate * elapsed, most_owed)
        span_ms, budget = now_ms - self._last_ms, self._owed
        if span_ms <= 0 or budget <= 0:
            return
        deadline = time.monotonic() + _MAX_TICK_SECONDS
        spent = 0.0
        while spent < budget and not self._exchange.is_paused and time.monotonic() < deadline:
            spent += self._exchange.step(self._last_ms + 1 + int((span_ms - 1) * spent / budget))
        self._owed -= spent
