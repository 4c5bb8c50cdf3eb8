"""Which markets exist: a walk over REST at the start and from time to time, the lifecycle channel in between.

Opening and closing send no message (kalshi-pitfalls.md 32), which is why the walk is repeated. Kept out: connections.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator

import structlog

from kalshi_platform.core.errors import ExchangeUnavailable
from kalshi_platform.core.messages import LifecycleFrame
from kalshi_platform.exchange.rest import RestClient
from kalshi_platform.exchange.rest_filters import MarketFilters

_RECONCILE_SECONDS = 300.0
_ARRIVALS = frozenset({"created", "activated"})
_DEPARTURES = frozenset({"settled"})

_log = structlog.get_logger()


class Registry:
    """The markets that are followed.

    Args:
        rest: The exchange.
        follow: Called with tickers that have come.
        leave: Called with tickers that have gone.
        include_multivariate: Whether combos are followed too.
        retry_waits: Makes the waits between attempts, in seconds.
    """

    def __init__(
        self,
        rest: RestClient,
        follow: Callable[[Iterable[str]], None],
        leave: Callable[[Iterable[str]], None],
        retry_waits: Callable[[], Iterator[float]],
        *,
        include_multivariate: bool,
    ) -> None:
        self._rest = rest
        self._follow = follow
        self._leave = leave
        self._retry_waits = retry_waits
        self._include_multivariate = include_multivariate
        self._tickers: set[str] = set()

    async def run(self) -> None:
        """Walk now and every five minutes, until cancelled."""
        waits = self._retry_waits()
        while True:
            try:
                await self._walk()
            except ExchangeUnavailable as error:
                _log.warning("cannot list markets, trying again", error=str(error))
                await asyncio.sleep(next(waits))
            else:
                waits = self._retry_waits()
                await asyncio.sleep(_RECONCILE_SECONDS)

    def on_lifecycle(self, frame: LifecycleFrame) -> None:
        """Follow or leave one market, as the exchange says."""
        ticker, event = frame.msg.market_ticker, frame.msg.event_type
        if event in _ARRIVALS and ticker not in self._tickers:
            self._tickers.add(ticker)
            self._follow([ticker])
            _log.info("market came", ticker=ticker)
        elif event in _DEPARTURES and ticker in self._tickers:
            self._tickers.discard(ticker)
            self._leave([ticker])
            _log.info("market went", ticker=ticker)

    async def _walk(self) -> None:
        status = await self._rest.status()
        if not status.exchange_active:
            _log.warning("the exchange is closed", resumes=status.exchange_estimated_resume_time)
        found: set[str] = set()
        combos = None if self._include_multivariate else "exclude"  # they dominate the listing (kalshi-pitfalls.md 34)
        async for market in self._rest.markets(MarketFilters(status="open", mve_filter=combos)):
            found.add(market.ticker)
        arrived = found - self._tickers
        self._tickers |= arrived
        self._follow(sorted(arrived))
        _log.info("markets listed", open=len(found), new=len(arrived))
