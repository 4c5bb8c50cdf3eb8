"""Rows out of a dump: refused as they are, merged once they have ids of the server that holds them."""

import asyncio

import asyncpg
import pytest

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.records import SessionRow
from kalshi_platform.core.schema import CAPTURE_SESSIONS, ORDERBOOK_DELTAS, Home
from kalshi_platform.database import renumbering
from kalshi_platform.database.errors import OutdatedDatabaseError
from kalshi_platform.database.migrations import check_revision
from kalshi_platform.database.renumbering import renumber
from kalshi_platform.deduplicator.source import next_window
from kalshi_platform_tests.deduplicator.rows import T0, deltas, running, sync_loops, until_read, write
from kalshi_platform_tests.queries import fetch, value

NUMBERS = "SELECT (extract(epoch FROM exchange_ts) * 1000)::bigint - $1 FROM orderbook_deltas ORDER BY 1"


async def brought_from_afar(url: str, distance: int) -> None:
    """Make ids those of a server that is further on, as a dump of its database does."""
    for name in ("orderbook_deltas", "capture_sessions", "ingest_batches"):
        for step in (10**15, distance - 10**15):  # else they would meet halfway
            xid = f"(ingest_xid::text::bigint + {step})::text::xid8"
            await fetch(url, f"UPDATE {name} SET ingest_xid = {xid}")  # noqa: S608 - ours


@pytest.mark.parametrize("distance", [40, 10**4, 10**12])
async def test_rows_of_a_dump_are_merged_once_they_are_renumbered(
    distance: int, gatherer_database: str, production_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None waits in silence for ids that come soon, in a month, or never; what is live goes on behind them."""
    monkeypatch.setattr(renumbering, "_PIECE_ROWS", 25)
    for first in range(0, 100, 10):
        await write(gatherer_database, deltas(first, 10), heard=T0 + first)
    await write(gatherer_database, [SessionRow(T0, "gatherer-1", "c", "trade", "", 1)], table=CAPTURE_SESSIONS)
    await brought_from_afar(gatherer_database, distance)
    connection = await asyncpg.connect(gatherer_database)
    with pytest.raises(IntegrityError, match="came out of a dump; run `kalshi-platform migrate gatherer`"):
        await next_window(connection, ORDERBOOK_DELTAS, 0, 1000)
    with pytest.raises(OutdatedDatabaseError, match=r"out of a dump.*run `kalshi-platform migrate gatherer`"):
        await check_revision(gatherer_database, Home.GATHERER)

    pieces: list[int] = []
    assert await renumber(connection, pieces.append) == sum(pieces)
    assert distance == 40 or pieces == [20] * 5
    assert await renumber(connection, pieces.append) == 0
    await connection.close()
    await check_revision(gatherer_database, Home.GATHERER)
    await write(gatherer_database, deltas(100, 10), heard=T0 + 200)
    sources, tables = {"gatherer-1": gatherer_database}, (ORDERBOOK_DELTAS, CAPTURE_SESSIONS)
    async with running(sync_loops(sources, production_database, *tables)):
        await until_read(sources, production_database)
        async with asyncio.timeout(20):
            while not await value(production_database, "SELECT count(*) FROM capture_sessions"):
                await asyncio.sleep(0.02)
    assert [row[0] for row in await fetch(production_database, NUMBERS, T0 // 1000)] == [*range(110)]


@pytest.mark.parametrize("is_locked", [True, False])
async def test_two_that_renumber_at_once_count_each_row_once(
    is_locked: bool, gatherer_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first; without that it finds its batches gone, and gives the piece up."""
    if not is_locked:
        monkeypatch.setattr(renumbering, "_ONE_AT_A_TIME", "SELECT 1")
    for first in range(0, 100, 10):
        await write(gatherer_database, deltas(first, 10), heard=T0 + first)
    await brought_from_afar(gatherer_database, 10**12)
    gate, *both = [await asyncpg.connect(gatherer_database) for _ in range(3)]
    await gate.execute("BEGIN; LOCK TABLE ingest_batches IN SHARE MODE")  # they may be chosen, and not yet taken
    tasks = [asyncio.create_task(renumber(one, lambda _rows: None)) for one in both]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while await gate.fetchval(waiting) < 2:
            await asyncio.sleep(0.01)
        await gate.execute("COMMIT")
        assert sorted(await asyncio.gather(*tasks)) == [0, 100]
    assert await value(gatherer_database, "SELECT sum(row_count)::int FROM ingest_batches") == 100
    for connection in (gate, *both):
        await connection.close()
