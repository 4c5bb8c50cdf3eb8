"""What the exchange's own candles say was traded, of live markets and archived ones alike.

Kept out: what is made of it (plan, check).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from kalshi_platform.core.units import amount_from_contracts
from kalshi_platform.exchange.rest.candles import Periods
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.errors import NotFound
from kalshi_platform.exchange.rest.markets import chunks
from kalshi_platform.exchange.rest.objects import Candle

_AT_ONCE = 16

Volume = tuple[int, int]
"""End of a period in Unix seconds, and the contracts traded in it, hundredths."""


async def volumes(
    rest: RestClient, tickers: Sequence[str], start: datetime, end: datetime, minutes: int
) -> AsyncIterator[tuple[str, list[Volume] | None]]:
    """Each market with its periods whose end lies behind `start` and not behind `end`; None where there is no telling.

    Live markets take a call for a hundred, archived ones a call each, some of them side by side.
    """
    periods = Periods(start_ts=int(start.timestamp()) + 1, end_ts=int(end.timestamp()), minutes=minutes)
    live = await rest.batch_candlesticks(tickers, periods)
    for some in chunks(tickers, _AT_ONCE):
        found = await asyncio.gather(
            *(_archived(rest, ticker, periods) for ticker in some if ticker not in live), return_exceptions=True
        )
        archived = iter(found)
        for ticker in some:
            candles = live[ticker] if ticker in live else next(archived)
            if isinstance(candles, BaseException):
                raise candles
            yield ticker, None if candles is None else [_volume(one) for one in candles]


async def _archived(rest: RestClient, ticker: str, periods: Periods) -> list[Candle] | None:
    try:
        return await rest.historical_candlesticks(ticker, periods)
    except NotFound:
        return None


def _volume(candle: Candle) -> Volume:
    return candle.end_period_ts, amount_from_contracts(candle.volume_fp or "0")
