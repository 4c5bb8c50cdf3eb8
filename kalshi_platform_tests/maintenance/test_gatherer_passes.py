"""What `maintain` drops of a gatherer: nothing that production, and the lake behind it, does not hold."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from kalshi_platform.core.schema import TRADES, Home
from kalshi_platform.database import export
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.database.errors import DatabaseUnreachableError
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.writer import write_partition
from kalshi_platform.maintenance.passes import Report, maintain_gatherer, maintain_production
from kalshi_platform_tests.deduplicator.rows import running, sync_loops, until_read, write
from kalshi_platform_tests.maintenance.conftest import (
    AHEAD,
    MUCH_LATER,
    NOON,
    ROWS,
    delta,
    exported,
    kept,
    partitions,
    put,
)
from kalshi_platform_tests.queries import fetch, value


async def test_a_gatherer_drops_what_is_merged_and_proven(
    production: asyncpg.Connection, production_database: str, gatherer_database: str, lake: Lake
) -> None:
    """Both are asked for: first nobody has read it, then it is not all merged, then not all proven."""
    await put(gatherer_database, Home.GATHERER, *ROWS)
    gatherer = await asyncpg.connect(gatherer_database)
    day = "orderbook_deltas_20260801"

    async def reason(with_production: str | None = production_database) -> str | None:
        return kept(await maintain_gatherer(gatherer_database, "g", with_production, MUCH_LATER)).get(day)

    assert "KALSHI_PRODUCTION_DATABASE_URL is not set" in (await reason(None) or "")
    assert await reason() == "production has not merged all of it from g"
    newest = await gatherer.fetchval("SELECT max(ingest_xid::text::bigint) FROM orderbook_deltas")
    for next_xid in (newest, newest + 1):
        await production.execute(
            "UPDATE sync_cursors SET source = $1, next_xid = $2::text::xid8 WHERE table_name = 'orderbook_deltas'",
            await source_identity(gatherer),
            str(next_xid),
        )
        wanted = "not merged all" if next_xid == newest else "is not proven to be in the lake"
        assert wanted in (await reason() or "")
    files = [exported(production_database, lake, NOON + n * HOUR) for n in range(2)]
    await maintain_production(production_database, lake, NOON + timedelta(days=1))
    held = files[1].rename(files[1].with_name("elsewhere"))
    assert "is missing" in (await reason() or "")
    held.rename(files[1])
    assert await reason() is None
    assert await partitions(gatherer) == []
    await gatherer.close()


async def test_a_late_row_does_not_keep_a_gatherer_s_day_for_ever(
    production: asyncpg.Connection, production_database: str, gatherer_database: str, lake: Lake
) -> None:
    """Its hour is exported again, which is another file than the proven one: it is proven anew, due or not."""
    await put(gatherer_database, Home.GATHERER, *ROWS)
    await _merged(gatherer_database, production)
    for n in range(2):
        exported(production_database, lake, NOON + n * HOUR)
    assert len((await maintain_production(production_database, lake, NOON + timedelta(days=1))).proven) == 2
    await put(production_database, Home.PRODUCTION, delta(5, "LATE"))
    assert "12:00 is not proven" in kept(await _gatherer_pass(gatherer_database, production_database))[DAY]
    exported(production_database, lake, NOON)
    assert "is not the file" in kept(await _gatherer_pass(gatherer_database, production_database))[DAY]
    exported(production_database, lake, NOON + HOUR)  # for nothing: the same bytes
    report = await maintain_production(production_database, lake, NOON + timedelta(days=1))
    assert (report.proven, report.disputed) == (["orderbook_deltas 2026-08-01 12:00"], [])
    assert (await maintain_production(production_database, lake, NOON + timedelta(days=1))).proven == []
    assert kept(await _gatherer_pass(gatherer_database, production_database)) == {}


WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name ~ 'maintain' AND wait_event_type = 'Lock'"
)


async def test_a_gatherer_writes_on_while_production_counts(
    production: asyncpg.Connection, production_database: str, gatherer_database: str, lake: Lake
) -> None:
    """However long that takes; and what was written and merged meanwhile, which no count saw, keeps its day."""
    await put(gatherer_database, Home.GATHERER, *ROWS)
    await _merged(gatherer_database, production)
    for n in range(2):
        exported(production_database, lake, NOON + n * HOUR)
    assert len((await maintain_production(production_database, lake, NOON + timedelta(days=1))).proven) == 2
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        async with production.transaction():
            await production.execute("LOCK TABLE orderbook_deltas")
            working = tasks.create_task(_gatherer_pass(gatherer_database, production_database))
            while not await value(production_database, WAITS):
                await asyncio.sleep(0.02)
            await put(gatherer_database, Home.GATHERER, delta(5, "LATE"))
            await _merged(gatherer_database, production)
        report = await working
    assert kept(report) == {DAY: "it is being read or written; the next pass tries again"}
    assert await value(gatherer_database, "SELECT count(*) FROM orderbook_deltas") == len(ROWS) + 1


async def _merged(gatherer_database: str, production: asyncpg.Connection) -> None:
    """Production's cursor passes all changes that a gatherer has now."""
    gatherer = await asyncpg.connect(gatherer_database)
    await production.execute(
        "UPDATE sync_cursors SET source = $1, next_xid = $2::text::xid8 WHERE table_name = 'orderbook_deltas'",
        await source_identity(gatherer),
        str(await gatherer.fetchval("SELECT 1 + max(ingest_xid::text::bigint) FROM orderbook_deltas")),
    )
    await gatherer.close()


async def test_a_gatherer_s_hours_are_proven_by_a_file_of_the_day(
    production: asyncpg.Connection, production_database: str, gatherer_database: str, lake: Lake
) -> None:
    """Its trades are cut by the hour, the lake's by the day: what stands beside an hour in the file is no objection."""
    gatherer = await asyncpg.connect(gatherer_database)
    await gatherer.execute("UPDATE table_policies SET partition_hours = 1 WHERE table_name = 'trades'")
    day, hours = NOON.replace(hour=0), (1, 5)
    for connection in (gatherer, production):
        await ensure_partitions(connection, TRADES, [day.date()])
        await connection.executemany(
            "INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at) "
            "VALUES ($1, gen_random_uuid(), 'A', 400000, 100, false, $1)",
            [(day + hour * HOUR,) for hour in hours],
        )
    await production.execute(
        "UPDATE sync_cursors SET source = $1, next_xid = $2::text::xid8, watermark = $3 WHERE table_name = 'trades'",
        await source_identity(gatherer),
        str(await gatherer.fetchval("SELECT 1 + max(ingest_xid::text::bigint) FROM trades")),
        day + 25 * HOUR,
    )
    with export.read_window(production_database, TRADES, day, day + 24 * HOUR) as batches:
        write_partition(lake, RAW[TRADES.name], day, batches)
    assert (await maintain_production(production_database, lake, day + timedelta(days=2))).proven == [
        "trades 2026-08-01"
    ]
    report = await _gatherer_pass(gatherer_database, production_database)
    assert kept(report) == {}
    assert [verdict.rows for verdict in report.verdicts if verdict.rows] == [1, 1]
    await gatherer.close()


DAY = "orderbook_deltas_20260801"


async def _gatherer_pass(gatherer: str, production: str) -> Report:
    return await maintain_gatherer(gatherer, "g", production, NOON + timedelta(days=9))


async def test_a_gatherer_that_dropped_days_can_be_read_again(
    production_database: str, gatherer_database: str, lake: Lake
) -> None:
    """A batch that lies on both sides of midnight keeps its second half; a new production reads what is there."""
    midnight = NOON + 12 * HOUR
    early, late = [(midnight - NOON).total_seconds() / 60 + minutes for minutes in (-1, 1)]
    await write(gatherer_database, [delta(early), delta(early, "B")])
    await write(gatherer_database, [delta(early, "C"), delta(late), delta(late, "B")])
    sources = {"g": gatherer_database}
    async with running(sync_loops(sources, production_database)):
        await until_read(sources, production_database)
    production = await asyncpg.connect(production_database)
    await production.execute("UPDATE sync_cursors SET watermark = $1", midnight + 2 * HOUR)
    for hour in (midnight - HOUR, midnight):
        exported(production_database, lake, hour)
    await maintain_production(production_database, lake, midnight + 3 * HOUR)
    report = await maintain_gatherer(gatherer_database, "g", production_database, midnight + timedelta(days=7.5))
    assert [(verdict.name, verdict.rows) for verdict in report.verdicts] == [("orderbook_deltas_20260801", 3)]
    batches = await fetch(gatherer_database, "SELECT row_count FROM ingest_batches WHERE row_count > 0")
    assert [row[0] for row in batches] == [2]

    await production.execute("TRUNCATE orderbook_deltas, sync_cursors")
    async with running(sync_loops(sources, production_database)):
        await until_read(sources, production_database)
    assert await production.fetchval("SELECT count(*) FROM orderbook_deltas") == 2
    await production.close()


async def test_where_production_is_away_a_gatherer_has_partitions_ahead(gatherer_database: str) -> None:
    """The pass fails all the same, and says who did not answer."""
    with pytest.raises(DatabaseUnreachableError):
        await maintain_gatherer(gatherer_database, "g", "postgresql://nobody@127.0.0.1:1/none", MUCH_LATER)
    assert await fetch(gatherer_database, f"SELECT FROM {AHEAD}") == []
