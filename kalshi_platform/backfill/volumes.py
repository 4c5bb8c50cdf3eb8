"""What the exchange's own candles say was traded, of live markets and archived ones alike.

Kept out: what is made of it (plan, check).
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from kalshi_platform.core.units import amount_from_contracts
from kalshi_platform.exchange.rest.candles import Periods
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.errors import NotFound
from kalshi_platform.exchange.rest.objects import Candle

Volume = tuple[int, int]
"""End of a period in Unix seconds, and the contracts traded in it, hundredths."""


async def volumes(
    rest: RestClient, tickers: Sequence[str], start: datetime, end: datetime, minutes: int
) -> AsyncIterator[tuple[str, list[Volume] | None]]:
    """Each market with its periods whose end lies behind `start` and not behind `end`; None where there is no telling.

    Live markets take a call for a hundred, archived ones a call each.
    """
    periods = Periods(start_ts=int(start.timestamp()) + 1, end_ts=int(end.timestamp()), minutes=minutes)
    live = await rest.batch_candlesticks(tickers, periods)
    for ticker in tickers:
        candles: list[Candle] | None = live.get(ticker)
        if candles is None:
            try:
                candles = await rest.historical_candlesticks(ticker, periods)
            except NotFound:
                yield ticker, None
                continue
        yield ticker, [(one.end_period_ts, amount_from_contracts(one.volume_fp or "0")) for one in candles]
