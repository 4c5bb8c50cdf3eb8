"""The snapshot poller: from time to time every book is asked for, over REST and over the socket, the busy ones first.

REST's books become rows and are held against the live ones where nothing changed around the answer; a difference is
recorded and counted. Kept out: keeping books (core), connections, and the comparison itself (core.comparison).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from kalshi_platform.core.book import OrderBook
from kalshi_platform.core.comparison import Difference, compare
from kalshi_platform.core.errors import ExchangeError, FrameRejected
from kalshi_platform.core.records import BookDifferenceRow, Row, Source, levels_of, snapshot_row
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.rest import objects
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.markets import chunks
from kalshi_platform.service.metrics import GathererMetrics

BUDGET_SHARE = 0.5
"""Of the key's tokens, so much at most; the rest is the registry's."""

_BOOKS_A_CALL = 100
_BOOKS_PATH = "/markets/orderbooks"
_SPREAD = 0.5
_LONGEST_PAUSE = 5.0

_log = structlog.get_logger()


class Books(Protocol):
    """Whoever keeps the live books."""

    def live_book(self, ticker: str) -> OrderBook | None:
        """A book as of now; None where it is not whole."""

    def changed_at_us(self, ticker: str) -> int | None:
        """When a book changed last, µs since 1970; None where it is not whole."""

    def keeper(self, ticker: str) -> str:
        """The connection that keeps a book; empty where none does."""

    def request_snapshots(self, tickers: Sequence[str]) -> None:
        """Ask for these books over the socket."""


class _Seen(NamedTuple):
    """One book that REST showed, and when the live one had changed last as the request went out."""

    ticker: str
    book: OrderBook
    changed_us: int | None


class _Answer(NamedTuple):
    """The books of one call, which are compared once everything from before the answer has come."""

    asked_us: int
    answered_us: int
    tickers: Sequence[str]
    seen: Sequence[_Seen]


class SnapshotPoller:
    """Polls every book now and then.

    Args:
        rest: The exchange; signed, or its answers are too old to compare.
        followed: Names the markets whose books are followed, the most active first.
        books: The live books.
        add: Takes rows.
        metrics: Told of comparisons.
        gatherer_id: Written into rows.
        now_us: The clock, µs since 1970.
        interval_seconds: From the beginning of one round to the next.
        quiet_seconds: A book is compared only if nothing changed from so long before the request until so long after
            the answer: changes may be on their way, and clocks may differ.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        rest: RestClient,
        followed: Callable[[], Sequence[str]],
        books: Books,
        add: Callable[[Row], None],
        metrics: GathererMetrics,
        gatherer_id: str,
        now_us: Callable[[], int],
        *,
        interval_seconds: float,
        quiet_seconds: float,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._rest = rest
        self._followed = followed
        self._books = books
        self._add = add
        self._metrics = metrics
        self._gatherer_id = gatherer_id
        self._now_us = now_us
        self._interval = interval_seconds
        self._quiet_us = round(quiet_seconds * SECOND)
        self._sleep = sleep
        self._answers: deque[_Answer] = deque()

    async def run(self) -> None:
        """Poll round after round until cancelled; subscribing has just brought every book, so first wait."""
        wait = self._interval
        while True:
            await self._sleep(wait)
            started_us = self._now_us()
            await self.round()
            seconds = (self._now_us() - started_us) / SECOND
            self._metrics.snapshot_round.set(seconds)
            if seconds > self._interval:
                _log.warning("a round of snapshots takes longer than KALSHI_SNAPSHOT_SECONDS", seconds=round(seconds))
            wait = max(0.0, self._interval - seconds)

    async def round(self) -> None:
        """Ask for every book once."""
        parts = list(chunks(self._followed(), _BOOKS_A_CALL))
        pause = self._pause(len(parts))
        for part in parts:
            await self._ask(part)
            self._judge(self._now_us())
            await self._sleep(pause)
        while self._answers:
            due_us = self._answers[0].answered_us + self._quiet_us
            await self._sleep(max(0.0, (due_us - self._now_us()) / SECOND))
            self._judge(self._now_us())

    def _pause(self, calls: int) -> float:
        """Seconds between two calls: within our share of the budget, and spread over part of the interval."""
        bucket = self._rest.bucket
        least = bucket.cost(_BOOKS_PATH) / (bucket.limit.rate * BUDGET_SHARE)
        return max(least, min(_LONGEST_PAUSE, _SPREAD * self._interval / max(1, calls)))

    async def _ask(self, tickers: Sequence[str]) -> None:
        changed = {ticker: self._books.changed_at_us(ticker) for ticker in tickers}
        asked_us = self._now_us()
        try:
            found = await self._rest.orderbooks(tickers)
        except ExchangeError as error:
            _log.warning("REST gives no books", markets=len(tickers), error=str(error))
            self._books.request_snapshots(tickers)
            return
        seen = [_Seen(one.ticker, book, changed.get(one.ticker)) for one in found if (book := _read(one)) is not None]
        answered_us = self._now_us()
        for ticker, book, _ in seen:  # stamped with the answer's time: REST's books have none of their own
            self._add(snapshot_row(book, ticker, Source.REST, self._gatherer_id, answered_us, answered_us))
        self._answers.append(_Answer(asked_us, answered_us, tickers, seen))

    def _judge(self, now_us: int) -> None:
        """Compare what can be compared by now, then ask for the same books over the socket."""
        while self._answers and self._answers[0].answered_us + self._quiet_us <= now_us:
            answer = self._answers.popleft()
            wrong = [one.ticker for one in answer.seen if self._is_wrong(one, answer, now_us)]
            rest = set(answer.tickers).difference(wrong)
            self._books.request_snapshots([*wrong, *(ticker for ticker in answer.tickers if ticker in rest)])

    def _is_wrong(self, seen: _Seen, answer: _Answer, now_us: int) -> bool:
        """Hold a live book against REST's; a difference is recorded."""
        live = self._books.live_book(seen.ticker)
        changed_us = self._books.changed_at_us(seen.ticker)
        if live is None or changed_us is None or seen.changed_us is None:
            return self._count("unknown")
        if changed_us != seen.changed_us or changed_us > answer.asked_us - self._quiet_us:
            return self._count("moved")
        difference = compare(live, seen.book)
        if difference is None:
            return self._count("equal")
        self._record(seen.ticker, difference, answer.answered_us, now_us)
        self._count("different")
        return True

    def _record(self, ticker: str, difference: Difference, answered_us: int, now_us: int) -> None:
        keeper, (levels, _, detail) = self._books.keeper(ticker), difference
        self._add(BookDifferenceRow(now_us, self._gatherer_id, keeper, ticker, answered_us, *difference))
        _log.error("a live book differs from REST's", ticker=ticker, connection=keeper, levels=levels, detail=detail)

    def _count(self, result: str) -> bool:
        self._metrics.comparisons.labels(result).inc()
        return False


def _read(raw: objects.OrderBook) -> OrderBook | None:
    """REST's book in integers; None where it cannot be read."""
    try:
        return OrderBook(levels_of(raw.yes_dollars), levels_of(raw.no_dollars))
    except FrameRejected as error:
        _log.warning("REST's book cannot be read", ticker=raw.ticker, error=str(error))
        return None
