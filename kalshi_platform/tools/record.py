"""`kalshi-platform record`: the live socket to disk, frame by frame as it came, over as many connections as it takes.

Order books are spread over connections by the gatherer's rule; whatever is heard of every market comes over the first.
Kept out: one connection (record_connection), files (tape), and what frames mean to books and rows.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import structlog

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.messages import Frame, LifecycleFrame
from kalshi_platform.exchange.bucket import Limit, TokenBucket
from kalshi_platform.exchange.placement import Placement
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.session import Channel
from kalshi_platform.exchange.signing import Signer
from kalshi_platform.service.lifecycle import leaves
from kalshi_platform.tools.record_connection import RecordedConnection, RecordReport, Surroundings
from kalshi_platform.tools.tape import Tape
from kalshi_platform.tools.tape_files import TapeOptions

__all__ = ["RecordReport", "Recorder", "Spread", "open_markets"]

_OPENING = frozenset({"created", "activated"})
_ROOM = 1.1  # so much more than there are markets now: new ones come sooner than old ones go

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How order books are spread.

    Attributes:
        most_markets: On one connection.
        connections: For order books; None is as many as they need.
        handshakes_per_second: New connections a second.
    """

    most_markets: int = 7500
    connections: int | None = None
    handshakes_per_second: float = 20.0


class Recorder:
    """Records until it is told to stop, whatever happens to the sockets.

    Args:
        url: The exchange's WebSocket.
        signer: What signs handshakes.
        folder: Where tapes go.
        channels: What to listen to.
        tickers: Markets whose books are followed.
        only: Whether frames of other markets are left out.
        follows_new: Whether markets that open meanwhile are followed too, combos excepted.
        options: When tapes are flushed and rotated.
        spread: Over how many connections.
        now_us: The clock, µs since 1970.
    """

    def __init__(
        self,
        url: str,
        signer: Signer | None,
        folder: Path,
        channels: Sequence[Channel],
        tickers: Iterable[str],
        *,
        only: bool = False,
        follows_new: bool = False,
        options: TapeOptions | None = None,
        spread: Spread | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        spread = spread or Spread()
        self._report = RecordReport()
        self._now_us = now_us
        names = [str(one) for one in channels]
        self._tape = Tape(folder, options or TapeOptions(), names, now_us, self._new_file)
        rate = spread.handshakes_per_second
        handshakes = TokenBucket(Limit(rate=rate, capacity=max(2.0, rate), cost=1))
        self._around = Surroundings(url, signer, self._tape, self._report, handshakes, now_us, self._look_at)
        wanted = list(dict.fromkeys(tickers))
        self._only_these = {"", *wanted} if only else None
        has_books = Channel.ORDERBOOK in channels
        self._follows_new = follows_new and has_books
        self._tasks: asyncio.TaskGroup | None = None
        needed = max(1, ceil(len(wanted) * _ROOM / spread.most_markets))
        places = (spread.connections or needed) if has_books else 1
        self._placement = Placement(places, spread.most_markets)
        self._connections = self._first_connections(channels, places)
        self._books = self._connections[-places:]
        self._follow(wanted if has_books else ())

    @property
    def report(self) -> RecordReport:
        """What was recorded so far."""
        self._report.frames, self._report.bytes = self._tape.frames, self._tape.packed_bytes
        return self._report

    async def run(self, stop: asyncio.Event) -> RecordReport:
        """Record until `stop` is set; everything that came is on disk then.

        Raises:
            ExchangeRefused: Another attempt would be refused as well.
            ConfigurationError: A setting makes it impossible.
            TapeError: The disk refuses.
        """
        writing = asyncio.create_task(self._tape.run(self._heard_until_us))
        listening = asyncio.create_task(self._listen())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({writing, listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            listening.cancel()
            await asyncio.wait({stopping, listening})
            self._tape.end()
            await writing
        if not listening.cancelled() and (error := listening.exception()) is not None:
            raise leaves(error)[0] from error
        return self.report

    async def _listen(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for one in self._connections:
                tasks.create_task(one.run())

    def _first_connections(self, channels: Sequence[Channel], places: int) -> list[RecordedConnection]:
        """One for everything where that is enough; else one for what is heard of every market, and those of books."""
        others = [one for one in channels if one is not Channel.ORDERBOOK]
        if places == 1:
            return [self._connection(channels)]
        books = [self._connection([Channel.ORDERBOOK]) for _ in range(places)]
        return [self._connection(others), *books] if others else books

    def _connection(self, channels: Sequence[Channel]) -> RecordedConnection:
        return RecordedConnection(channels, self._around, self._crowded_out)

    # markets come and go

    def _follow(self, tickers: Iterable[str]) -> None:
        """Find connections for markets, new ones where those that are there are full."""
        shares, homeless = self._placement.place(tickers)
        self._settle(shares, homeless)

    def _crowded_out(self, connection: RecordedConnection, tickers: Sequence[str]) -> None:
        self._settle(*self._placement.crowd_out(self._books.index(connection), tickers))

    def _settle(self, shares: dict[int, list[str]], homeless: list[str]) -> None:
        for place, share in shares.items():
            self._books[place].follow(share)
        if not homeless:
            return
        self._placement.add_place()
        added = self._connection([Channel.ORDERBOOK])
        self._books.append(added)
        self._connections.append(added)
        if self._tasks is not None:
            self._tasks.create_task(added.run())
        self._follow(homeless)

    def _look_at(self, frame: Frame) -> bool:
        """Follow what a frame says of markets; whether it is to be kept."""
        if self._follows_new and isinstance(frame, LifecycleFrame):  # combos are not followed: `open_markets`
            ticker, kind = frame.msg.market_ticker, frame.msg.event_type
            if kind in _OPENING:
                self._follow([ticker])
            elif kind == "settled" and (place := self._placement.remove(ticker)) is not None:
                self._books[place].leave([ticker])
        return self._only_these is None or (_market_of(frame) or "") in self._only_these

    # the tape

    def _heard_until_us(self) -> int:
        return min((one.heard_until_us for one in self._connections), default=self._now_us())

    def _new_file(self, path: Path) -> None:
        self._report.files.append(path)
        _log.info("recording", path=str(path))


def _market_of(frame: Frame) -> str | None:
    """The market that a frame is about; None where it is about none."""
    return getattr(getattr(frame, "msg", None), "market_ticker", None)


async def open_markets(rest: RestClient, series: Sequence[str]) -> list[str]:
    """The markets that are open now: of these series, or without combos all of them."""
    if not series:
        return [one.ticker async for one in rest.markets(MarketFilters(status="open", mve_filter="exclude"))]
    found = []
    for name in series:
        found += [one.ticker async for one in rest.markets(MarketFilters(status="open", series_ticker=name))]
    if not found:
        raise ConfigurationError(f"no market of series {', '.join(series)} is open: is the name right?")
    return found
