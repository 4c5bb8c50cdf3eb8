"""Which chunks a request is: of each market the months in which it traded.

A market that never traded has none. Where a market's life lies within one month that month is a chunk; else its candles
tell in which months it traded. Of every market at once, each month is one, and is cut further where much was traded.
Kept out: fetching.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from kalshi_platform.backfill.request import BackfillRequest, months
from kalshi_platform.backfill.volumes import Volume, volumes
from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.core.units import amount_from_contracts
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.markets import chunks
from kalshi_platform.exchange.rest.objects import Market

Piece = tuple[str, datetime, datetime]
"""Ticker, start and end of a chunk."""

_AT_ONCE = 100
_DAY_MINUTES = 1440
_DAY = timedelta(days=1)
_CUTOFF_LEAP = timedelta(days=7)  # more than the cutoff moves while one walks
_TRADING = frozenset({"initialized", "active", "inactive"})


async def plan(
    rest: RestClient, request: BackfillRequest, start: datetime, end: datetime
) -> AsyncIterator[tuple[int, list[Piece]]]:
    """Chunks of a part of the request's range, a few markets at a time, with how many markets these are.

    Raises:
        ConfigurationError: The exchange knows no such ticker or series.
    """
    if request.all_markets:
        yield 0, [("", *month) for month in months(start, end)]
        return
    group: list[Piece] = []
    async for market in markets_of(rest, request, start):
        life = life_of(market, start, end)
        if life is not None:
            group.append((market.ticker, *life))
        if len(group) == _AT_ONCE:
            yield len(group), await _cut(rest, group)
            group = []
    yield len(group), await _cut(rest, group)


async def markets_of(rest: RestClient, request: BackfillRequest, start: datetime) -> AsyncIterator[Market]:
    """The markets that a request means and that may have traded since `start`, on both sides of the cutoff.

    The whole archive is walked only where something of it may have: it cannot be asked by time, and is long.

    Raises:
        ConfigurationError: The exchange knows no such ticker or series.
    """
    if request.all_markets:
        cutoff = _moment((await rest.cutoff()).market_settled_ts)
        is_recent = start > cutoff + _CUTOFF_LEAP
        async for market in rest.markets() if is_recent else rest.every_market():
            yield market
    for series in dict.fromkeys(request.series):
        found = False
        async for market in rest.every_market(series_ticker=series):
            found = True
            yield market
        if not found:
            raise ConfigurationError(f"the exchange has no market of series {series!r}: is its name right?")
    for tickers in chunks(list(dict.fromkeys(request.tickers)), _AT_ONCE):
        missing = dict.fromkeys(tickers)
        async for market in rest.every_market(tickers=tickers):
            missing.pop(market.ticker, None)
            yield market
        if missing:
            raise ConfigurationError(f"the exchange knows no market {', '.join(list(missing)[:5])}: is its name right?")


def life_of(market: Market, start: datetime, end: datetime) -> tuple[datetime, datetime] | None:
    """The part of a range in which a market may have traded, in whole days but for the range's own ends."""
    if market.volume_fp is not None and amount_from_contracts(market.volume_fp) == 0:
        return None
    born = [_moment(text) for text in (market.created_time, market.open_time) if text]
    died = [_moment(text) for text in (market.close_time, market.settlement_ts) if text]
    if born:
        start = max(start, _midnight(min(born)))
    if died and market.status not in _TRADING:
        end = min(end, _midnight(max(died)) + _DAY)
    return (start, end) if start < end else None


async def _cut(rest: RestClient, lives: Sequence[Piece]) -> list[Piece]:
    """The months of each market; of one that lived through several, those in which it traded."""
    pieces = [[(ticker, *month) for month in months(start, end)] for ticker, start, end in lives]
    long = [parts for parts in pieces if len(parts) > 1]
    if not long:
        return [part for parts in pieces for part in parts]
    first, last = min(parts[0][1] for parts in long), max(parts[-1][2] for parts in long)
    tickers = [parts[0][0] for parts in long]
    # a period belongs to the months of both its ends: where the exchange's day begins nobody says
    traded = {ticker: found async for ticker, found in volumes(rest, tickers, first, last + _DAY, _DAY_MINUTES)}
    return [part for parts in pieces for part in parts if len(parts) == 1 or _has_traded(part, traded[part[0]])]


def _has_traded(part: Piece, found: list[Volume] | None) -> bool:
    _, start, end = part
    if found is None:
        return True
    return any(size and start.timestamp() < stop and stop - 86_400 < end.timestamp() for stop, size in found)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
