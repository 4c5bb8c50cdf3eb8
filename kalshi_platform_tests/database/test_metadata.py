import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from random import Random

import asyncpg
import pytest

from kalshi_platform.core.catalogue import EventFacts, MarketFacts, SeriesFacts, StatusSeen
from kalshi_platform.core.schema import EVENTS, MARKET_STATUSES, MARKETS, SERIES, Home
from kalshi_platform.database.metadata import record_statuses, upsert

T0 = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(minutes: int) -> datetime:
    """So long after the beginning."""
    return T0 + timedelta(minutes=minutes)


MARKET = MarketFacts(
    ticker="M", event_ticker="E", status="active", yes_sub_title="Über 3°, \"quoted\" and 'so'", open_time=T0,
    floor_strike=Decimal("70000.5"), settlement_value=None, updated_ts=at(0), seen_at=at(1), object={"ticker": "M"},
)  # fmt: skip


@pytest.fixture
async def production(production_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A session on production."""
    connection = await asyncpg.connect(production_database)
    yield connection
    await connection.close()


def test_facts_are_the_columns() -> None:
    """Fields and columns are the same, in order."""
    for facts, table in (
        (SeriesFacts, SERIES),
        (EventFacts, EVENTS),
        (MarketFacts, MARKETS),
        (StatusSeen, MARKET_STATUSES),
    ):
        assert [one.name for one in fields(facts)] == [one.name for one in table.columns_of(Home.PRODUCTION)]


async def test_facts_are_stored_as_they_are(production: asyncpg.Connection) -> None:
    """Every field of all three, numbers exact; people see dollars and the market's series."""
    series = SeriesFacts(ticker="S", title="Gold", fee_multiplier=Decimal("1.10"), seen_at=T0, object={"tags": ["a"]})
    event = EventFacts(event_ticker="E", series_ticker="S", mutually_exclusive=True, seen_at=T0, object={})
    market = replace(MARKET, settlement_value=1_000_000)
    for facts in (series, event, market):
        assert (await upsert(production, [facts])).changed == 1
    for table, facts in ((SERIES, series), (EVENTS, event), (MARKETS, market)):
        row = await production.fetchrow(f"SELECT *, NULL AS object FROM {table.name}")  # noqa: S608
        assert row is not None
        assert tuple(row)[: len(table.columns) - 1] == tuple(getattr(facts, one.name) for one in table.columns)[:-1]
    assert await production.fetchval("SELECT object ->> 'tags' FROM series") == '["a"]'
    row = await production.fetchrow("SELECT series_ticker, settlement_value, floor_strike FROM people.markets")
    assert row == ("S", Decimal(1), Decimal("70000.5"))


async def test_an_older_description_changes_nothing(production: asyncpg.Connection) -> None:
    """By the exchange's stamp first; with the same stamp, by when it was seen; without a stamp it gives way."""
    await upsert(production, [replace(MARKET, status="closed", updated_ts=at(5), seen_at=at(6))])
    for older in (
        replace(MARKET, updated_ts=at(4), seen_at=at(9)),
        replace(MARKET, updated_ts=at(5), seen_at=at(5)),
        replace(MARKET, updated_ts=at(5), seen_at=at(6), status="active"),
        replace(MARKET, updated_ts=None, seen_at=at(60)),
    ):
        assert (await upsert(production, [older])).changed == 0
    assert await production.fetchval("SELECT status FROM markets") == "closed"
    assert (await upsert(production, [replace(MARKET, status="settled", updated_ts=at(5), seen_at=at(7))])).changed == 1
    assert await production.fetchval("SELECT status FROM markets") == "settled"


async def test_any_order_ends_in_the_same(production: asyncpg.Connection) -> None:
    """One by one in every order, or all at once: the newest description, and every change of status."""
    versions = [
        replace(MARKET, status="initialized", updated_ts=None, seen_at=at(0)),
        replace(MARKET, status="active", updated_ts=at(1), seen_at=at(2)),
        replace(MARKET, status="paused", updated_ts=at(1), seen_at=at(3)),
        replace(MARKET, status="settled", updated_ts=at(4), seen_at=at(5)),
    ]
    orders = [[[one] for one in order] for order in permutations(versions)]
    for batches in [*orders, [versions], [versions[::-1]]]:
        for batch in batches:
            await upsert(production, batch)
        assert await production.fetchval("SELECT (status, updated_ts, seen_at)::text FROM markets") == (
            await production.fetchval("SELECT ('settled'::text, $1::timestamptz, $2::timestamptz)::text", at(4), at(5))
        )
        history = await production.fetch("SELECT status, seen_at, until FROM people.market_statuses ORDER BY seen_at")
        assert [tuple(row) for row in history] == [
            ("initialized", at(0), at(2)), ("active", at(2), at(3)), ("paused", at(3), at(5)), ("settled", at(5), None)
        ]  # fmt: skip
        await production.execute("TRUNCATE markets, market_statuses")


async def test_only_changes_make_history(production: asyncpg.Connection) -> None:
    """A market that is seen a hundred times in one status has one row; earlier news of it moves the beginning."""
    await upsert(production, [replace(MARKET, seen_at=at(minutes)) for minutes in range(10, 110)])
    await upsert(production, [replace(MARKET, seen_at=at(200))])
    assert await production.fetchval("SELECT count(*) FROM market_statuses") == 1
    early = [StatusSeen(ticker="M", status="active", seen_at=at(3), source="lifecycle")]
    for _ in range(2):
        await record_statuses(production, early)
    rows = await production.fetch("SELECT seen_at, source, until FROM people.market_statuses")
    assert [tuple(row) for row in rows] == [(at(3), "lifecycle", None)]


async def test_two_writers_at_once_end_in_the_newest(production_database: str, production: asyncpg.Connection) -> None:
    """Many markets from two sessions in opposite order of time: nothing goes back, nobody ends in a deadlock."""
    other = await asyncpg.connect(production_database)
    markets = [replace(MARKET, ticker=f"M{number}") for number in range(50)]
    rounds = [[replace(market, seen_at=at(minute)) for market in markets] for minute in range(10)]
    shuffled = Random(1).sample(rounds, len(rounds))  # noqa: S311 - an order, not a secret

    async def write(session: asyncpg.Connection, order: list[list[MarketFacts]]) -> None:
        for batch in order:
            await upsert(session, batch)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write(production, rounds))
        tasks.create_task(write(other, [batch[::-1] for batch in shuffled]))
    assert await production.fetchval("SELECT count(*) FROM markets WHERE seen_at = $1", at(9)) == 50
    await other.close()


async def test_more_than_one_statement_s_worth(production: asyncpg.Connection) -> None:
    """Twelve thousand markets at once."""
    assert (
        await upsert(production, [replace(MARKET, ticker=f"M{number}") for number in range(12_000)])
    ).changed == 12_000
    assert await production.fetchval("SELECT count(*) FROM market_statuses") == 12_000
