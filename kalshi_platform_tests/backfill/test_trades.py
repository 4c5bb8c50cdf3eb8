"""A REST trade meets the socket's copy of it: the same row, whichever came first, unless they really disagree."""

from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
import pytest

from kalshi_platform.backfill.trades import TradeInserter, row_of
from kalshi_platform.core.messages import TradeBody
from kalshi_platform.core.records import TradeRow, trade_row
from kalshi_platform.core.schema import TRADES, Home
from kalshi_platform.database.bulk import Stage
from kalshi_platform.exchange.rest.objects import Trade
from kalshi_platform_tests.queries import fetch

ID = "0b0a4d3e-5f57-4c62-8d6f-0123456789ab"
AT_MS = 1_790_003_199_123
BY_SOCKET = TradeBody(
    trade_id=ID, market_ticker="KXA-1", yes_price_dollars="0.5600", count_fp="12.50", taker_outcome_side="no",
    is_block_trade=True, ts_ms=AT_MS, ts=AT_MS // 1000,
)  # fmt: skip
BY_REST = Trade(
    trade_id=ID, ticker="KXA-1", created_time="2026-09-21T15:06:39.123456Z", count_fp="12.50",
    yes_price_dollars="0.5600", taker_outcome_side="no", is_block_trade=True,
)  # fmt: skip


@dataclass
class Production:
    """A database and what brings trades to it."""

    url: str
    connection: asyncpg.Connection
    inserter: TradeInserter

    async def by_rest(self, **changes: Any) -> tuple[int, int, int]:
        """Bring REST's copy with some fields changed; new, known, conflicts."""
        row = row_of(msgspec.structs.replace(BY_REST, **changes), AT_MS * 1000 + 10**9)
        await self.inserter.make_room(self.connection, [row])
        async with self.connection.transaction():
            done = await self.inserter.insert(self.connection, [row])
        return done.new, done.known, done.conflicts

    async def by_socket(self, **changes: Any) -> TradeRow:
        """Bring the socket's copy."""
        row = trade_row(msgspec.structs.replace(BY_SOCKET, **changes), AT_MS * 1000 + 50_000)
        await self.inserter.make_room(self.connection, [row])
        async with self.connection.transaction():
            await Stage(TRADES, Home.PRODUCTION).insert_new(self.connection, [row])
        return row


@pytest.fixture
async def production(production_database: str):  # type: ignore[no-untyped-def]
    """An empty one."""
    connection = await asyncpg.connect(production_database)
    yield Production(production_database, connection, TradeInserter())
    await connection.close()


def test_both_copies_are_one_row() -> None:
    """All but the time of receipt."""
    assert row_of(BY_REST, 0 or AT_MS * 1000)[:-1] == trade_row(BY_SOCKET, AT_MS * 1000)[:-1]


@pytest.mark.parametrize(
    "lacks",
    [
        {},
        {"created_time": "2026-09-21T15:06:39Z"},
        {"taker_outcome_side": None},
        {"is_block_trade": None},
        {"taker_outcome_side": None, "taker_side": "no"},
    ],
)
async def test_what_rest_lacks_is_no_conflict(production: Production, lacks: dict[str, Any]) -> None:
    """Times cut to the second, no taker's side, no mark of a block trade: known, whichever came first."""
    row = await production.by_socket()
    assert await production.by_rest(**lacks) == (0, 1, 0)
    (held,) = await fetch(production.url, "SELECT * FROM trades")
    assert (held["taker_side"], held["is_block_trade"]) == (row.taker_side, row.is_block_trade)


async def test_a_socket_that_told_only_seconds_is_met(production: Production) -> None:
    """Before April 2026 the socket's time had no milliseconds, and REST's had."""
    await production.by_socket(ts_ms=None)
    assert await production.by_rest() == (0, 1, 0)


@pytest.mark.parametrize(
    "says", [{"count_fp": "12.00"}, {"yes_price_dollars": "0.5700"}, {"taker_outcome_side": "yes"}]
)
async def test_another_content_is_a_conflict_and_changes_nothing(production: Production, says: dict[str, Any]) -> None:
    """Both versions are kept where a person will look; noted once."""
    await production.by_socket()
    assert await production.by_rest(**says) == (0, 1, 1)
    assert await production.by_rest(**says) == (0, 1, 0)
    (noted,) = await fetch(production.url, "SELECT * FROM merge_conflicts")
    assert (noted["table_name"], noted["gatherer_id"], noted["ticker"]) == ("trades", "rest", "KXA-1")
    assert noted["kept"] != noted["refused"]


async def test_another_trade_of_the_second_is_another(production: Production) -> None:
    """The id tells them apart."""
    await production.by_socket()
    assert await production.by_rest(trade_id=ID.replace("0b", "0c")) == (1, 0, 0)
