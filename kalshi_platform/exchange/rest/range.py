"""Both sides of the historical cutoff at once: whoever asks for a range gets all of it, each row once.

Live endpoints leave out in silence what is older than the cutoff (kalshi-pitfalls.md 39), and the cutoff moves forward
while one walks. So the live side is asked first and the cutoff again afterwards: what left the live side meanwhile is
on the other side by then. Kept out: the endpoints themselves (`markets`).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import datetime

from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.markets import MarketEndpoints
from kalshi_platform.exchange.rest.objects import Market, Trade
from kalshi_platform.exchange.rest.pages import Pages, Progress, Walk
from kalshi_platform.exchange.rest.transport import read

_OVERLAP_SECONDS = 2  # nothing says whether min_ts and max_ts include their second
_CUTOFF_LEAP_SECONDS = 7 * 86_400  # more than the cutoff moves while one walks
_HOUR = 3_600
_DAY = 86_400


class RangeEndpoints:
    """Trades and markets by range, from wherever they lie."""

    def __init__(self, endpoints: MarketEndpoints) -> None:
        self._endpoints = endpoints

    async def trades_between(
        self,
        start_ts: int,
        end_ts: int,
        *,
        ticker: str | None = None,
        is_block_trade: bool | None = None,
        slice_seconds: int | None = None,
        cutoff: float | None = None,
    ) -> AsyncGenerator[list[Trade], None]:
        """Every trade made from one second on and before another, each once, a page at a time; some pages are empty.

        Slices of the range come in order of time, the trades of a slice as the exchange orders them. The ids of one
        slice are in memory, no more.

        Args:
            start_ts: Unix seconds.
            end_ts: Unix seconds, not included.
            ticker: One market; else all of them.
            is_block_trade: Only or no block trades; else both.
            slice_seconds: Length of a slice; a day for one market, an hour for all, unless given.
            cutoff: The exchange's answer (Unix seconds) of some minutes ago at the most; asked for unless given.
        """
        step = slice_seconds or (_DAY if ticker else _HOUR)
        if cutoff is None:
            cutoff = await self._trade_cutoff()
        for start in range(start_ts, end_ts, step):
            part = _Slice(start, min(start + step, end_ts), ticker, is_block_trade)
            if part.end > cutoff:
                async for trades in part.of(self._endpoints.trades):
                    yield trades
                if part.start < cutoff + _CUTOFF_LEAP_SECONDS:
                    cutoff = await self._trade_cutoff()
            if part.start < cutoff + _OVERLAP_SECONDS:
                async for trades in part.of(self._endpoints.historical_trades):
                    yield trades

    async def every_market(
        self,
        *,
        tickers: Sequence[str] = (),
        event_ticker: str | None = None,
        series_ticker: str | None = None,
        mve_filter: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> AsyncIterator[Market]:
        """Every market that ever was and matches, each once; at most one filter, as /historical allows no more.

        In memory are the tickers of live markets that may move meanwhile: those settled within a week of the cutoff.
        """
        before = await self._market_cutoff()
        walk = Walk(on_progress=on_progress)
        archive = self._endpoints.historical_markets(
            tickers=tickers, event_ticker=event_ticker, series_ticker=series_ticker, mve_filter=mve_filter, walk=walk
        )
        live = MarketFilters(
            tickers=tickers, event_ticker=event_ticker, series_ticker=series_ticker, mve_filter=mve_filter
        )
        movable: set[str] = set()
        async for market in self._endpoints.markets(live, walk):
            if market.settlement_ts and unix_seconds(market.settlement_ts) < before + _CUTOFF_LEAP_SECONDS:
                movable.add(market.ticker)
            yield market
        async for market in archive:
            if market.ticker not in movable:
                yield market

    async def settled_markets(
        self, start_ts: int, end_ts: int, *, series_ticker: str | None = None
    ) -> AsyncIterator[Market]:
        """Every market settled from one second on and before another, each once.

        The archive cannot be asked by time: it is walked whole when the range reaches into it, so name a series where
        one will do.
        """
        before = await self._market_cutoff()
        window = MarketFilters(
            status="settled",
            series_ticker=series_ticker,
            min_settled_ts=max(0, start_ts - _OVERLAP_SECONDS),
            max_settled_ts=end_ts + _OVERLAP_SECONDS,
        )
        movable: set[str] = set()
        async for market in self._endpoints.markets(window):
            settled = unix_seconds(market.settlement_ts or "")
            if start_ts <= settled < end_ts:
                if settled < before + _CUTOFF_LEAP_SECONDS:
                    movable.add(market.ticker)
                yield market
        if start_ts >= await self._market_cutoff() + _OVERLAP_SECONDS:
            return
        async for market in self._endpoints.historical_markets(series_ticker=series_ticker):
            if market.ticker not in movable and start_ts <= unix_seconds(market.settlement_ts or "") < end_ts:
                yield market

    async def _trade_cutoff(self) -> float:
        return unix_seconds((await self._endpoints.cutoff()).trades_created_ts)

    async def _market_cutoff(self) -> float:
        return unix_seconds((await self._endpoints.cutoff()).market_settled_ts)


class _Slice:
    """A stretch of time, and which of its trades were handed out."""

    def __init__(self, start: int, end: int, ticker: str | None, is_block_trade: bool | None) -> None:
        self.start = start
        self.end = end
        self._ticker = ticker
        self._is_block_trade = is_block_trade
        self._seen: set[str] = set()

    async def of(self, endpoint: Callable[..., Pages[Trade]]) -> AsyncIterator[list[Trade]]:
        """The trades of this stretch that an endpoint has and nobody handed out yet, page by page."""
        walk = endpoint(
            ticker=self._ticker,
            is_block_trade=self._is_block_trade,
            min_ts=max(0, self.start - _OVERLAP_SECONDS),
            max_ts=self.end + _OVERLAP_SECONDS,
        )
        async for rows in walk.pages():
            yield read("trades", lambda rows=rows: self._new_of(rows))  # type: ignore[misc]

    def _new_of(self, rows: Sequence[Trade]) -> list[Trade]:
        seen, moment, found = self._seen, datetime.fromisoformat, []
        for one in rows:
            if self.start <= moment(one.created_time).timestamp() < self.end and one.trade_id not in seen:
                seen.add(one.trade_id)
                found.append(one)
        return found


def unix_seconds(rfc3339: str) -> float:
    """A time as the exchange writes it in Unix seconds; microseconds survive in a float of this size.

    Raises:
        UnexpectedAnswer: It is none.
    """
    return read("a time", lambda: datetime.fromisoformat(rfc3339).timestamp())
