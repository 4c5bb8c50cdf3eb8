"""All connections of a gatherer: so many for each role, order books spread over theirs, moved without a hole.

Kept out: what one connection does (connection), and which place a market gets (placement).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import structlog

from kalshi_platform.core.book import OrderBook
from kalshi_platform.exchange.placement import Move, Placement
from kalshi_platform.exchange.session import Channel
from kalshi_platform.gatherer.connection import Connection, Surroundings

_CARE_SECONDS = 1.0
_EVEN_OUT_EVERY = 300

_log = structlog.get_logger()


class ConnectionManager:
    """All connections of a gatherer.

    Args:
        counts: Connections for each channel.
        most_markets: Order books on one connection at the most.
        around: What they share.
    """

    def __init__(self, counts: Mapping[Channel, int], most_markets: int, around: Surroundings) -> None:
        self._around = around
        self.connections = [
            Connection(f"{channel.name.lower()}-{number}", channel, around)
            for channel, count in counts.items()
            for number in range(1, count + 1)
        ]
        self._books = [one for one in self.connections if one.channel is Channel.ORDERBOOK]
        self._placement = Placement(len(self._books), most_markets)
        self._moves: list[Move] = []
        self._waiting: dict[str, None] = {}

    async def run(self) -> None:
        """Keep every connection alive until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for connection in self.connections:
                tasks.create_task(connection.run())
            tasks.create_task(self._care())

    def stopped(self) -> None:
        """Write down what was heard until now."""
        for connection in self.connections:
            connection.stopped()

    # markets come and go

    def follow(self, tickers: Iterable[str]) -> Sequence[str]:
        """Follow more order books, the first first; returns those that no connection has room for."""
        return self._settle(*self._placement.place(tickers))

    def leave(self, tickers: Iterable[str]) -> None:
        """Follow these order books no more: the markets are over."""
        self._leave(tickers, live_on=False)

    def displace(self, tickers: Iterable[str]) -> None:
        """Follow these order books no more, although they go on changing."""
        self._leave(tickers, live_on=True)

    def _leave(self, tickers: Iterable[str], *, live_on: bool) -> None:
        leaving: dict[int, list[str]] = {}
        for ticker in tickers:
            self._waiting.pop(ticker, None)
            place = self._placement.remove(ticker)
            if place is not None:
                leaving.setdefault(place, []).append(ticker)
        for place, share in leaving.items():
            self._books[place].delete_markets(share, live_on=live_on)
        self._count_markets()

    def even_out(self) -> int:
        """Move markets from crowded connections to empty ones; returns how many are on their way."""
        moves = self._placement.even_out()
        for move in moves:
            self._books[move.new].add_markets([move.ticker])
        self._moves.extend(moves)
        return len(moves)

    def finish_moves(self) -> None:
        """Where the new connection has the book, the old one leaves: until then both are heard, which harms nothing.

        The new one may be another by then, or one that is still looked for.
        """
        still_moving = []
        for move in self._moves:
            old, home = self._books[move.old], self._home(move.ticker)
            is_awaited = move.ticker in self._waiting if home is None else home.book(move.ticker) is None
            if home is old:
                continue
            if is_awaited:
                still_moving.append(move)
            else:
                old.delete_markets([move.ticker], live_on=home is not None)
        self._moves = still_moving

    # what is known

    def followed(self) -> Sequence[str]:
        """Tickers whose order book is followed, in the order in which they were asked for."""
        return list(self._placement.tickers)

    def live_book(self, ticker: str) -> OrderBook | None:
        """A market's book as of now; None where it is not known for certain."""
        home = self._home(ticker)
        return None if home is None else home.book(ticker)

    def keeper(self, ticker: str) -> str:
        """The connection that keeps a market's book; empty where none does."""
        home = self._home(ticker)
        return "" if home is None else home.name

    def changed_at_us(self, ticker: str) -> int | None:
        """Exchange time (µs) of a book's last change; None where it is not known for certain."""
        home = self._home(ticker)
        return None if home is None or home.router is None else home.router.changed_us(ticker)

    def request_snapshots(self, tickers: Sequence[str]) -> None:
        """Ask for fresh books over the socket."""
        by_home: dict[Connection, list[str]] = {}
        for ticker in tickers:
            home = self._home(ticker)
            if home is not None:
                by_home.setdefault(home, []).append(ticker)
        for home, share in by_home.items():
            home.request_snapshots(share)

    def swept_ms(self) -> int | None:
        """Exchange time (ms) up to which every open connection has emitted its checkpoints; None where none has."""
        return min((one.router.swept_ms for one in self._books if one.router is not None), default=None) or None

    def lag_ms(self, now_ms: int) -> int | None:
        """How far the slowest connection is behind the exchange; None while one has stopped reading."""
        if any(one.is_blocked for one in self.connections):
            return None
        return max((one.router.lag_ms(now_ms) for one in self.connections if one.router is not None), default=0)

    # inside

    async def _care(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(_CARE_SECONDS)
            rounds += 1
            self._take_in()
            self.finish_moves()
            if rounds % _EVEN_OUT_EVERY == 0:
                self.even_out()

    def _take_in(self) -> None:
        """Markets that the exchange would not have on one connection go to others, once those have room."""
        for place, connection in enumerate(self._books):
            crowded = connection.take_crowded_out()
            if crowded:
                homeless = self._settle(*self._placement.crowd_out(place, crowded))
                self._waiting.update(dict.fromkeys(homeless))
        lucky = list(islice(self._waiting, self._placement.room)) if self._waiting else []
        if lucky:
            for ticker in lucky:
                del self._waiting[ticker]
            self._settle(*self._placement.place(lucky))

    def _settle(self, shares: Mapping[int, Sequence[str]], homeless: Sequence[str]) -> Sequence[str]:
        for place, share in shares.items():
            self._books[place].add_markets(share)
        if homeless:
            self._around.metrics.homeless.inc(len(homeless))
            _log.error("no connection has room, raise KALSHI_ORDERBOOK_CONNECTIONS", markets=len(homeless))
        self._count_markets()
        return homeless

    def _home(self, ticker: str) -> Connection | None:
        place = self._placement.home(ticker)
        return None if place is None else self._books[place]

    def _count_markets(self) -> None:
        self._around.metrics.markets.set(len(self._placement))
