"""The trades that REST remembers: a bounded list, newest last, each with a serial number that pages hold on to."""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from kalshi_platform.simulator.order_flow import Trade


class TapeEntry(NamedTuple):
    """One trade with its name, place and time."""

    serial: int
    trade_id: str
    ticker: str
    micros: int
    trade: Trade


class TradeTape:
    """The most recent trades of the whole exchange."""

    def __init__(self, capacity: int) -> None:
        self._entries: deque[TapeEntry] = deque(maxlen=capacity)
        self._next_serial = 0
        self._last_micros = 0

    def append(self, trade_id: str, ticker: str, ts_ms: int, trade: Trade) -> None:
        """Remember a trade.

        REST shows microseconds where the socket shows their floor to milliseconds, so trades of one millisecond get
        rising microseconds in it.
        """
        micros = max(ts_ms * 1000 + 137, self._last_micros + 3)
        micros = min(micros, ts_ms * 1000 + 999)
        self._last_micros = max(micros, self._last_micros)
        self._entries.append(TapeEntry(self._next_serial, trade_id, ticker, micros, trade))
        self._next_serial += 1

    def before(self, serial: int | None) -> Iterator[TapeEntry]:
        """Trades from the newest to the oldest, beginning below a serial number."""
        skipped = 0 if serial is None else max(0, self._next_serial - serial)
        return islice(reversed(self._entries), skipped, None)
