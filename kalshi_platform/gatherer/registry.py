"""Which markets exist: a walk over REST at the start and from time to time, the lifecycle channel in between.

Opening and closing send no message (kalshi-pitfalls.md 32), which is why the walk is repeated. Kept out: connections.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from kalshi_platform.core.errors import ExchangeUnavailable
from kalshi_platform.core.messages import LifecycleFrame, MultivariateLifecycleFrame
from kalshi_platform.exchange.rest import RestClient
from kalshi_platform.exchange.rest_filters import MarketFilters
from kalshi_platform.exchange.staleness import Hours

_RECONCILE_SECONDS = 300.0
_ARRIVALS = frozenset({"created", "activated"})
_DEPARTURES = frozenset({"settled"})
_LISTED = ("open", "paused", "unopened")
"""Filters that find what is followed: a market that opens later says nothing when it does."""
_OVER = frozenset({"finalized", "settled"})
_TICKERS_A_CALL = 100

_log = structlog.get_logger()


class Registry:
    """The markets that are followed.

    Args:
        rest: The exchange.
        follow: Called with tickers that have come; returns those that it has no room for, which are offered again.
        leave: Called with tickers that have gone.
        include_multivariate: Whether combos are followed too.
        retry_waits: Makes the waits between attempts, in seconds.
        now_us: The clock, µs since 1970.
    """

    def __init__(
        self,
        rest: RestClient,
        follow: Callable[[Iterable[str]], Sequence[str]],
        leave: Callable[[Iterable[str]], None],
        retry_waits: Callable[[], Iterator[float]],
        now_us: Callable[[], int],
        *,
        include_multivariate: bool,
    ) -> None:
        self._rest = rest
        self._follow = follow
        self._leave = leave
        self._retry_waits = retry_waits
        self._combos = None if include_multivariate else "exclude"  # they dominate the listing (kalshi-pitfalls.md 34)
        self._now_us = now_us
        self._tickers: set[str] = set()
        self.hours = Hours()
        """When the exchange sends, as it said last; silence in its pauses is no alarm."""

    async def run(self) -> None:
        """Walk now and every five minutes, until cancelled."""
        waits = self._retry_waits()
        while True:
            try:
                await self.walk()
            except ExchangeUnavailable as error:
                _log.warning("cannot list markets, trying again", error=str(error))
                await asyncio.sleep(next(waits))
            else:
                waits = self._retry_waits()
                await asyncio.sleep(_RECONCILE_SECONDS)

    def on_lifecycle(self, frame: LifecycleFrame | MultivariateLifecycleFrame) -> None:
        """Follow or leave one market, as the exchange says."""
        ticker, event = frame.msg.market_ticker, frame.msg.event_type
        if event in _ARRIVALS and ticker not in self._tickers:
            self._arrive([ticker])
            _log.info("market came", ticker=ticker)
        elif event in _DEPARTURES and ticker in self._tickers:
            self._tickers.discard(ticker)
            self._leave([ticker])
            _log.info("market went", ticker=ticker)

    async def walk(self) -> None:
        """Ask for every market that is or will be open, once; follow the new and leave the settled."""
        status = await self._rest.status()
        self._note_hours(is_active=bool(status.exchange_active and status.trading_active))
        if not status.exchange_active:
            _log.warning("the exchange is closed", resumes=status.exchange_estimated_resume_time)
        found: set[str] = set()
        for listed in _LISTED:
            async for market in self._rest.markets(MarketFilters(status=listed, mve_filter=self._combos)):
                found.add(market.ticker)
        arrived = sorted(found - self._tickers)
        self._arrive(arrived)
        gone = await self._settled(sorted(self._tickers - found))
        self._tickers.difference_update(gone)
        self._leave(gone)
        _log.info("markets listed", found=len(found), new=len(arrived), gone=len(gone))

    def _note_hours(self, *, is_active: bool) -> None:
        if is_active != self.hours.is_active:
            self.hours = Hours(is_active=is_active, active_since_us=self._now_us())

    def _arrive(self, tickers: Sequence[str]) -> None:
        self._tickers.update(tickers)
        self._tickers.difference_update(self._follow(tickers))

    async def _settled(self, tickers: Sequence[str]) -> list[str]:
        """Those that are over for good; a market that is merely closed may open again."""
        over: list[str] = []
        for start in range(0, len(tickers), _TICKERS_A_CALL):
            chunk = tuple(tickers[start : start + _TICKERS_A_CALL])
            listed = self._rest.markets(MarketFilters(tickers=chunk))
            over.extend([market.ticker async for market in listed if market.status in _OVER])
        return over
