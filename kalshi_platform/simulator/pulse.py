"""The heart of the process: every few milliseconds some traffic, then one write per client, then the ledger.

The only place that turns time into beats: the event loop's, which is the real one unless a test has another. What the
traffic is, `pace` or `replay` decides.
"""

import asyncio
from typing import Protocol

from kalshi_platform.simulator.clock import Clock
from kalshi_platform.simulator.hub import Hub
from kalshi_platform.simulator.ledger import Ledger
from kalshi_platform.simulator.options import SimulatorOptions

_LEDGER_FLUSH_SECONDS = 0.05


class Traffic(Protocol):
    """Where traffic comes from."""

    @property
    def is_over(self) -> bool:
        """Whether no more will come."""

    def beat(self, now_ms: int) -> None:
        """Make what is due by now, as the exchange's clock shows it; never for longer than some 20 ms."""


class Pulse:
    """Traffic until it ends or is told to; heartbeats and snapshots for as long as the process lives."""

    def __init__(self, options: SimulatorOptions, traffic: Traffic, hub: Hub, ledger: Ledger, clock: Clock) -> None:
        self._options = options
        self._traffic = traffic
        self._hub = hub
        self._ledger = ledger
        self._clock = clock
        self._now = asyncio.get_running_loop().time
        self._last_beat = self._last_flush = self._last_ping = self._now()
        self._started = clock.seconds()
        self._last_ms = hub.sending_ms
        self.is_trading = True

    async def run(self) -> None:
        """Beat until cancelled."""
        interval = self._options.tick_ms / 1000
        while True:
            self._beat(self._now())
            await asyncio.sleep(max(0.0, self._last_beat + interval - self._now()))

    def stop_trading(self) -> None:
        """End the traffic for good and close the ledger's account; a second call does nothing."""
        if self.is_trading:
            self.is_trading = False
            self._hub.flush()
            self._ledger.end(max(self._last_ms, self._hub.look_at_clock()))

    def _beat(self, now: float) -> None:
        self._last_ms = max(self._last_ms, self._hub.look_at_clock())
        if self.is_trading:
            self._traffic.beat(self._hub.sending_ms)
        if now - self._last_ping >= self._options.heartbeat_seconds:
            self._last_ping = now
            self._hub.ping()
        self._hub.flush()
        if now - self._last_flush >= _LEDGER_FLUSH_SECONDS:
            self._last_flush = now
            self._ledger.flush()
        self._last_beat = now
        if self._traffic.is_over or 0 < self._options.seconds <= self._clock.seconds() - self._started:
            self.stop_trading()
