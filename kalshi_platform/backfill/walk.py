"""One chunk, page by page: rows in, the chunk's end drawn nearer, a busy one cut in pieces for several workers.

The exchange sends the newest trades first, though it does not promise to: as long as what comes keeps to it, what is
left of the chunk ends at the oldest second that came. Kept out: who walks when, and what follows a failure (run).
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

import structlog

from kalshi_platform.backfill.jobs import Chunk, JobStore
from kalshi_platform.backfill.trades import row_of, second_of
from kalshi_platform.core.errors import FrameRejected
from kalshi_platform.core.records import TradeRow
from kalshi_platform.core.units import SECOND
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.objects import Trade

PAGE = 1000
"""Trades that the exchange gives at once, and that are committed at once."""

LEAST_PAGES = 4
"""Pages that a piece has, roughly, where a chunk is cut: each cut costs a request more, for a page that is not full."""

_SECOND = timedelta(seconds=1)

_log = structlog.get_logger()


class ChunkWalk:
    """A walk over what is left of a chunk.

    Args:
        rest: The exchange.
        jobs: Where rows and progress go.
        chunk: What to walk.
        count: Told of each commit: trades that came, and those that were new.
        idle: How many others could walk a piece of it.

    Attributes:
        chunk: The chunk as it stands now.
        rejected: Trades that could not be used.
    """

    def __init__(
        self,
        rest: RestClient,
        jobs: JobStore,
        chunk: Chunk,
        count: Callable[[int, int], None],
        idle: Callable[[], int],
    ) -> None:
        self.chunk = chunk
        self.rejected = 0
        self._rest = rest
        self._jobs = jobs
        self._count = count
        self._idle = idle
        self._rows: list[TradeRow] = []
        self._keeps_order = True
        self._trades = self._newest = self._oldest = 0

    async def pieces(self, cutoff: float) -> AsyncGenerator[Chunk, None]:
        """Walk until nothing is left, or the chunk is cut; yields the pieces that somebody else should walk.

        Args:
            cutoff: Where live ends and history begins, as of lately, Unix seconds.

        Raises:
            ExchangeUnavailable: What came so far is kept.
        """
        start, end = int(self.chunk.start.timestamp()), int(self.chunk.left_until.timestamp())
        walk = self._rest.trades_between(
            start, end, ticker=self.chunk.ticker or None, slice_seconds=end - start, cutoff=cutoff
        )
        async with aclosing(walk) as pages:
            async for trades in pages:
                self._take(trades)
                if len(self._rows) < PAGE // 2:
                    continue  # the last one, most likely: with it the chunk is done
                await self._store(is_last=False)
                if cuts := self._cuts():
                    self.chunk, *others = await self._jobs.split(self.chunk, cuts)
                    for other in others:
                        yield other
                    return
        await self._store(is_last=True)

    def _take(self, trades: Sequence[Trade]) -> None:
        now_us = time.time_ns() // 1000
        for trade in trades:
            try:
                row = row_of(trade, now_us)
            except FrameRejected as rejection:
                self.rejected += 1
                _log.error("a trade cannot be used", trade_id=trade.trade_id, reason=str(rejection))
                continue
            if not self._trades:
                self._newest = self._oldest = row.exchange_ts
            self._keeps_order = self._keeps_order and row.exchange_ts <= self._oldest
            self._oldest = row.exchange_ts
            self._trades += 1
            self._rows.append(row)

    async def _store(self, *, is_last: bool) -> None:
        left = self.chunk.left_until
        if is_last:
            left = self.chunk.start
        elif self._keeps_order:
            left = min(left, second_of(self._rows[-1]) + _SECOND)
        rows, self._rows = self._rows, []
        self.chunk, done = await self._jobs.store(self.chunk, rows, left)
        self._count(len(rows), done.new)

    def _cuts(self) -> list[datetime]:
        """Rising seconds at which to cut what is left, a piece for whoever is idle, if it goes on as it began."""
        others = self._idle()
        if not others or not self._keeps_order:
            return []
        came = (self._newest - self._oldest) / SECOND or 1.0
        left = (self.chunk.left_until - self.chunk.start) // _SECOND
        pages = self._trades / PAGE * left / came
        pieces = min(others + 1, left, int(pages / LEAST_PAGES))
        return [self.chunk.start + number * left // pieces * _SECOND for number in range(1, pieces)]
