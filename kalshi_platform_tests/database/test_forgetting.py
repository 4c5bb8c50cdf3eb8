"""What a gatherer forgets of its notes, and what it must not: the deduplicator goes on as if nothing had happened."""

import asyncio
from datetime import datetime, timedelta

import asyncpg
import pytest

from kalshi_platform.core.records import GapRow, RejectedRow, SessionRow
from kalshi_platform.core.schema import CAPTURE_GAPS, CAPTURE_SESSIONS, REJECTED_MESSAGES, STREAM_TABLES
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database import forgetting
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.database.forgetting import forget_notes, witness_floor
from kalshi_platform.database.partition_list import partitions_of
from kalshi_platform.database.partitions import ensure_ahead
from kalshi_platform.database.retention import drop_merged
from kalshi_platform_tests.deduplicator.rows import T0, deltas, running, sync_loops, until_read, write
from kalshi_platform_tests.queries import fetch, value

DAY = 86_400_000_000
NOW = datetime_from_us(T0)
WATERMARK = "SELECT watermark FROM sync_cursors"


def session(days: float, end_days: float | None) -> SessionRow:
    """A session by the days since it began and ended."""
    row = SessionRow(T0 - round(days * DAY), "g", "c", "trade", "", 1)
    return row if end_days is None else row._replace(ended_at=T0 - round(end_days * DAY), ended_by="stopped")


def gap(days: float, end_days: float | None) -> GapRow:
    """A hole by the days since it was seen and healed."""
    at = T0 - round(days * DAY)
    row = GapRow(at, "g", "c", 1, "trade", "", "sequence", 1, 3, 1, at)
    return row if end_days is None else row._replace(until_at=T0 - round(end_days * DAY), healed_by="unhealed")


async def forget(gatherer: str, production: str, now: datetime = NOW) -> dict[str, int]:
    """One pass."""
    here, there = await asyncpg.connect(gatherer), await asyncpg.connect(production)
    try:
        return await forget_notes(here, "g", there, now)
    finally:
        await here.close()
        await there.close()


async def until(url: str, sql: str, wanted: object) -> None:
    """Wait for a value."""
    async with asyncio.timeout(20):
        while await value(url, sql) != wanted:
            await asyncio.sleep(0.02)


async def test_old_notes_go_once_they_are_merged(gatherer_database: str, production_database: str) -> None:
    """Not what is open, not what is younger than the longest policy, and nothing before production has it."""
    await write(gatherer_database, [session(9, 8), session(8.5, 6), session(8, None)], table=CAPTURE_SESSIONS)
    await write(gatherer_database, [gap(9, 8), gap(8.5, 6), gap(8, None)], table=CAPTURE_GAPS)
    rejected = [RejectedRow(T0 - days * DAY, days, "c", "not_json", "", b"{") for days in (1, 8, 30)]
    await write(gatherer_database, rejected, table=REJECTED_MESSAGES)
    assert await forget(gatherer_database, production_database) == {"rejected_messages": 2}

    await write(gatherer_database, deltas(0, 1), heard=T0)
    sources = {"g": gatherer_database}
    async with running(sync_loops(sources, production_database, *STREAM_TABLES, CAPTURE_GAPS, CAPTURE_SESSIONS)):
        await until_read(sources, production_database)
        for table in ("capture_gaps", "capture_sessions"):
            await until(production_database, f"SELECT count(*) FROM {table}", 3)  # noqa: S608
    assert await forget(gatherer_database, production_database) == {"capture_sessions": 1, "capture_gaps": 1}
    assert await forget(gatherer_database, production_database) == {}
    assert await value(production_database, "SELECT count(*) FROM capture_sessions") == 3
    assert len(await fetch(gatherer_database, "SELECT FROM capture_gaps WHERE until_at IS NULL")) == 1


async def test_a_stream_that_is_kept_for_ever_keeps_the_notes(gatherer_database: str, production_database: str) -> None:
    """Rows without a record of how they were heard say less."""
    await write(gatherer_database, [RejectedRow(T0 - 30 * DAY, 1, "c", "not_json", "", b"{")], table=REJECTED_MESSAGES)
    await fetch(gatherer_database, "UPDATE table_policies SET keep_days = NULL WHERE table_name = 'trades'")
    assert await forget(gatherer_database, production_database) == {}


async def test_heartbeats_go_but_for_what_cursors_lean_on(gatherer_database: str, production_database: str) -> None:
    """The witness stays, and what came after it: the next merge goes on where the last ended."""
    sources = {"g": gatherer_database}
    for heard in range(5):
        await write(gatherer_database, [], heard=T0 + heard)
    await write(gatherer_database, deltas(0, 3), heard=T0)
    await write(gatherer_database, [], heard=T0 + 10)
    loops = sync_loops(sources, production_database)
    async with running(loops):
        await until_read(sources, production_database)
        await until(production_database, WATERMARK, datetime_from_us(T0 + 10))
    for heard in (20, 30):
        await write(gatherer_database, [], heard=T0 + heard)
    before = await value(gatherer_database, "SELECT count(*) FROM ingest_batches WHERE row_count = 0")
    forgotten = await forget(gatherer_database, production_database, datetime.now(NOW.tzinfo) + timedelta(days=2))
    left = await value(gatherer_database, "SELECT count(*) FROM ingest_batches WHERE row_count = 0")
    assert before - left == forgotten["ingest_batches"] >= 5
    assert left >= 3, "the witness and two that are not merged"

    connection = await asyncpg.connect(production_database)
    here = await asyncpg.connect(gatherer_database)
    floor = await witness_floor(connection, "g", await source_identity(here))
    assert await here.fetchval(
        "SELECT count(*) FROM ingest_batches WHERE ingest_xid = $1::text::xid8", str(floor)
    ) == 1  # fmt: skip
    await connection.close()
    await here.close()
    await write(gatherer_database, deltas(3, 2), heard=T0 + 40)
    again = sync_loops(sources, production_database)
    async with running(again):
        await until(production_database, WATERMARK, datetime_from_us(T0 + 40))
    assert sum(loop.state.rows_read for loop in again) == 2, "nothing was read from the beginning"


async def test_deletion_takes_many_small_transactions(
    gatherer_database: str, production_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long one would hold back the deduplicator's horizon."""
    monkeypatch.setattr(forgetting, "_PIECE", 10)
    rows = [RejectedRow(T0 - 30 * DAY + n, n, "c", "not_json", "", b"{") for n in range(25)]
    await write(gatherer_database, rows, table=REJECTED_MESSAGES)
    assert await forget(gatherer_database, production_database) == {"rejected_messages": 25}


async def test_nothing_is_read_of_cursors_once_they_are_durable(
    gatherer_database: str, production_database: str
) -> None:
    """What is deleted at a gatherer leans on what a crash of production cannot take back."""
    here, there = await asyncpg.connect(gatherer_database), await asyncpg.connect(production_database)
    await ensure_ahead(here, NOW.date())
    partition = (await partitions_of(here, STREAM_TABLES[0]))[0]
    asked: list[str] = []
    with there.query_logger(lambda query: asked.append(query.query)):
        await forget_notes(here, "g", there, NOW)
        notes = list(asked)
        asked.clear()
        verdict = await drop_merged(here, partition, "g", there, lambda _proof: "")
    assert verdict.kept_because == ""
    for queries in (notes, asked):
        durable = next(n for n, query in enumerate(queries) if "pg_logical_emit_message" in query)
        cursors = [n for n, query in enumerate(queries) if "sync_cursors" in query or "sync_progress" in query]
        assert cursors
        assert max(cursors) < durable
        assert any("witness" in queries[n] for n in cursors)
    await here.close()
    await there.close()
