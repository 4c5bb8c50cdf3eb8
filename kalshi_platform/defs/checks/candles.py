"""Candles: what we reckoned from trades is what the exchange reckoned from its own.

- Add here: comparisons of aggregates with the exchange's figures.
- Keep out: how candles are reckoned (`lake.aggregates`).
- A sample, because the exchange answers 5,000 candles a call: the markets with the most contracts, which show losses
  first, and those that were quoted most without a trade, so that trades that are lost altogether show too.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import dagster as dg
import pyarrow.parquet as pq

from kalshi_platform.defs.checks.partitioned import judged_files, partition_check
from kalshi_platform.defs.checks.spans import Span
from kalshi_platform.defs.checks.verdict import Verdict, clock
from kalshi_platform.defs.resources import Exchange, LakeFolder
from kalshi_platform.exchange.rest.candles import Periods
from kalshi_platform.exchange.rest.objects import Candle
from kalshi_platform.lake.datasets import AGGREGATES
from kalshi_platform.lake.day import candles_to_compare
from kalshi_platform.lake.layout import Lake

CANDLES = AGGREGATES["candles_1m"]
_MARKETS = 20
"""Of each kind."""

_MINUTE = timedelta(minutes=1)
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Minute:
    """One market's minute: prices in dollars, volume in contracts."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


Minutes = Mapping[tuple[str, datetime], Minute]


@partition_check(
    CANDLES,
    "exchange_candles",
    f"Minute by minute, prices and volume of the {_MARKETS} busiest markets of each day, and of the {_MARKETS} that "
    "were quoted most without a trade, are those of the exchange's own candlesticks.",
    "trades are missing here: materialize `backfill/trade_backfill` for that day",
)
def exchange_candles(
    context: dg.AssetCheckExecutionContext, exchange: Exchange, lake: LakeFolder
) -> dg.AssetCheckResult:
    """Asks the exchange for the same minutes."""
    folder = lake.lake()

    def judge(span: Span) -> Verdict:
        sample = candles_to_compare(folder, span.start, _MARKETS)
        ours = _ours(folder, span.start, sample)
        theirs = asyncio.run(_theirs(exchange, sample, span.start, span.end))
        findings = list(_differences(ours, theirs))
        compared = len(ours.keys() | theirs.keys())
        figures = {"markets": len(sample), "minutes": compared, "minutes_wrong": len(findings)}
        return Verdict(findings, f"{compared:,} minutes of {len(sample)} markets are the exchange's", figures)

    return judged_files(context, CANDLES, folder, judge)


def _ours(lake: Lake, start: datetime, tickers: Sequence[str]) -> Minutes:
    """Our minutes with a trade."""
    with lake.open(lake.path(CANDLES, start)) as file:
        columns = ["ticker", "minute", *_PRICES, "volume"]
        rows = pq.read_table(file, columns=columns, filters=[("ticker", "in", tickers)] if tickers else None)
    values = [rows[name].to_pylist() for name in rows.column_names]
    minutes = {(ticker, minute): Minute(*figures) for ticker, minute, *figures in zip(*values, strict=True)}
    return {key: minute for key, minute in minutes.items() if minute.volume}


async def _theirs(exchange: Exchange, tickers: Sequence[str], start: datetime, end: datetime) -> Minutes:
    """The exchange's minutes of some markets, live or archived, without those in which nothing was traded."""
    if not tickers or end < start + _MINUTE:
        return {}
    periods = Periods(start_ts=int((start + _MINUTE).timestamp()), end_ts=int(end.timestamp()))
    async with exchange.client() as rest:
        found = await rest.batch_candlesticks(tickers, periods)
        for ticker in [one for one in tickers if one not in found]:
            found[ticker] = await rest.historical_candlesticks(ticker, periods)
    return {
        (ticker, datetime.fromtimestamp(candle.end_period_ts, start.tzinfo) - _MINUTE): minute
        for ticker, candles in found.items()
        for candle in candles
        if (minute := _minute(candle)) is not None
    }


def _minute(candle: Candle) -> Minute | None:
    price = candle.price
    if price is None or not candle.volume_fp or not Decimal(candle.volume_fp):
        return None
    values = (price.open_dollars, price.high_dollars, price.low_dollars, price.close_dollars)
    first, high, low, last = (Decimal(value or "0") for value in values)
    return Minute(first, high, low, last, Decimal(candle.volume_fp))


def _differences(ours: Minutes, theirs: Minutes) -> Iterator[str]:
    for key in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(key), theirs.get(key)
        if here != there:
            yield f"{key[0]} at {clock(key[1])}: {_shown(there)} at the exchange, {_shown(here)} here"


def _shown(minute: Minute | None) -> str:
    if minute is None:
        return "nothing"
    return f"{minute.volume} contracts, {minute.open} {minute.high} {minute.low} {minute.close}"


CANDLE_CHECKS = [exchange_candles]
"""Candles against the exchange's."""
