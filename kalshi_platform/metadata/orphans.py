"""What is named and not known: markets of trades, events of markets, series of events.

Asked for by name, a hundred a call, on both sides of the historical cutoff; what is in no list, one by one. What the
exchange itself does not know, or not yet, is reported and asked for again next time. Kept out: lists.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import TypeVar

from kalshi_platform.core.schema import EVENTS, MARKETS, SERIES, Table
from kalshi_platform.exchange.rest.client import RestClient
from kalshi_platform.exchange.rest.errors import NotFound
from kalshi_platform.exchange.rest.filters import MarketFilters
from kalshi_platform.exchange.rest.markets import chunks
from kalshi_platform.metadata.facts import event_facts, market_facts, series_facts
from kalshi_platform.metadata.keeper import Keeper
from kalshi_platform.metadata.report import Mode

T = TypeVar("T")

_TICKERS_A_CALL = 100
_DAY = timedelta(days=1)

_TRADED = "SELECT DISTINCT ticker AS name FROM trades WHERE exchange_ts >= $1 AND exchange_ts < $2"
_UNKNOWN = """
SELECT name FROM unnest($1::text[]) AS named (name)
WHERE NOT EXISTS (SELECT FROM {table} WHERE {key} = name) ORDER BY name
"""
"""By key, name by name: 30 to 50 µs each among a million. EXCEPT reads all of them for any few: 0.7 s."""

_EVENTLESS = "SELECT DISTINCT event_ticker AS name FROM markets EXCEPT SELECT event_ticker FROM events ORDER BY name"
_SERIESLESS = "SELECT DISTINCT series_ticker AS name FROM events EXCEPT SELECT ticker FROM series ORDER BY name"


async def resolve_orphans(rest: RestClient, keeper: Keeper, since: datetime, until: datetime) -> None:
    """Fetch the markets that trades of [since, until) name and production does not have.

    Looks at one day of trades after the other, so that neither side holds all names at once.
    """
    for start, end in _days(since, until):
        traded = [row["name"] for row in await keeper.connection.fetch(_TRADED, start, end)]
        found = await _unknown(keeper, MARKETS, traded)
        names = [name for name in found if name not in keeper.report.unknown]
        missing = await ask_by_name(rest, keeper, "markets of trades", names)
        keeper.report.orphans += len(names)
        keeper.report.unknown += missing


async def resolve_parents(rest: RestClient, keeper: Keeper) -> None:
    """Fetch the events that markets name, then the series that events name, where production does not have them.

    An incremental sync looks at what it was sent, the full one of each night at everything: of a million markets that
    took 0.9 s, every five minutes.
    """
    is_all = keeper.report.mode is not Mode.INCREMENTAL
    names = await _names(keeper, _EVENTLESS) if is_all else await _unknown(keeper, EVENTS, keeper.events)
    for chunk in chunks(names, _TICKERS_A_CALL):
        asked_at = keeper.now()
        found = [event async for event in rest.events(tickers=chunk)]
        listed = {event.event_ticker for event in found}
        alone = [await _or_none(lambda name=name: rest.event(name)) for name in chunk if name not in listed]  # type: ignore[misc]
        await keeper.keep([event_facts(one, asked_at) for one in chain(found, filter(None, alone))])
        keeper.tell("events of markets", len(chunk), len(names))
    asked_at = keeper.now()
    names = await _names(keeper, _SERIESLESS) if is_all else await _unknown(keeper, SERIES, keeper.series)
    series = [await _or_none(lambda name=name: rest.series(name)) for name in names]  # type: ignore[misc]
    await keeper.keep([series_facts(one, asked_at) for one in series if one])


async def ask_by_name(rest: RestClient, keeper: Keeper, what: str, tickers: Sequence[str]) -> list[str]:
    """Fetch markets by name, live or archived, and store them; returns those that the exchange does not know."""
    unknown: list[str] = []
    for number, chunk in enumerate(chunks(tickers, _TICKERS_A_CALL)):
        asked_at = keeper.now()
        found = {one.ticker: one async for one in rest.markets(MarketFilters(tickers=chunk))}
        if moved := [ticker for ticker in chunk if ticker not in found]:
            found |= {one.ticker: one async for one in rest.historical_markets(tickers=moved)}
        await keeper.keep([market_facts(one, asked_at) for one in found.values()])
        unknown += [ticker for ticker in chunk if ticker not in found]
        keeper.tell(what, number * _TICKERS_A_CALL + len(chunk), len(tickers))
    return unknown


async def _unknown(keeper: Keeper, table: Table, names: Iterable[str]) -> list[str]:
    """Those of some names that a table does not have."""
    return await _names(keeper, _UNKNOWN.format(table=table.name, key=table.key[0]), list(names))


async def _names(keeper: Keeper, query: str, *arguments: object) -> list[str]:
    return [row["name"] for row in await keeper.connection.fetch(query, *arguments)]


async def _or_none(ask: Callable[[], Awaitable[T]]) -> T | None:
    try:
        return await ask()
    except NotFound:
        return None


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    while since < until:
        yield since, min(since + _DAY, until)
        since += _DAY
