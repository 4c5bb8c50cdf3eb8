"""The trades that REST remembers: a bounded list, newest last, each with a serial number that pages hold on to."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

from kalshi_platform.simulator.order_flow import Trade


class TapeEntry(NamedTuple):
    """One trade with its name, place and time."""

    serial: int
    trade_id: str
    ticker: str
    micros: int
    trade: Trade


_MICROS = attrgetter("micros")


class TradeTape:
    """The most recent trades of the whole exchange."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: list[TapeEntry] = []
        self._next_serial = 0
        self._last_micros = 0
        self._is_in_order = True

    def append(self, trade_id: str, ticker: str, ts_ms: int, trade: Trade) -> None:
        """Remember a trade.

        REST shows microseconds where the socket shows their floor to milliseconds, so trades of one millisecond get
        rising microseconds in it.
        """
        micros = max(ts_ms * 1000 + 137, self._last_micros + 3)
        micros = min(micros, ts_ms * 1000 + 999)
        self._is_in_order = self._is_in_order and micros >= self._last_micros
        self._last_micros = max(micros, self._last_micros)
        self._entries.append(TapeEntry(self._next_serial, trade_id, ticker, micros, trade))
        self._next_serial += 1
        if len(self._entries) > 2 * self._capacity:
            del self._entries[: -self._capacity or None]

    def before(self, serial: int | None, span: tuple[int, int] | None = None) -> Iterator[TapeEntry]:
        """Trades from the newest to the oldest, beginning below a serial number.

        Args:
            serial: Where to begin; None is the newest.
            span: Microseconds outside of which none is wanted; some may come all the same.
        """
        entries = self._entries
        first, end = max(0, len(entries) - self._capacity), len(entries)
        if serial is not None and entries:
            end = min(end, max(0, serial - entries[0].serial))
        if span is not None and self._is_in_order:
            first = max(first, bisect_left(entries, span[0], key=_MICROS))
            end = min(end, bisect_right(entries, span[1], key=_MICROS))
        return (entries[place] for place in range(end - 1, first - 1, -1))
