import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from io import BytesIO
from uuid import UUID

import asyncpg
import pytest

from kalshi_platform.core.records import SessionRow
from kalshi_platform.core.schema import CAPTURE_SESSIONS, STREAM_TABLES, TRADES, Home
from kalshi_platform.database.binary_copy import RowEncoder
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.errors import UnencodableValueError
from kalshi_platform.database.partitions import ensure_partitions

DAY = date(2026, 11, 21)
NOON = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 1_000_000


def trade(number: int, size: int = 100) -> tuple[object, ...]:
    """A trade with its own id."""
    return (NOON + number, UUID(int=number), "KXTEST", 500_000, size, None, False, NOON)


@pytest.fixture
async def connection(gatherer_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A session on a gatherer's database with a partition for the day."""
    connection = await asyncpg.connect(gatherer_database)
    for table in STREAM_TABLES:
        await ensure_partitions(connection, table, [DAY])
    yield connection
    await connection.close()


async def insert(connection: asyncpg.Connection, stage: Stage, numbers: range) -> int:
    """Insert trades in a transaction of their own."""
    async with connection.transaction():
        return await stage.insert_new(connection, [trade(number) for number in numbers])


async def test_only_new_rows_count(connection: asyncpg.Connection) -> None:
    """Rows that are there, or twice in a batch, change nothing; the first to come stays."""
    stage = Stage(TRADES, Home.GATHERER)
    assert await insert(connection, stage, range(1000)) == 1000
    assert await insert(connection, stage, range(500, 1500)) == 500
    async with connection.transaction():
        assert await stage.insert_new(connection, [trade(1, size=7), trade(2000), trade(2000, size=7)]) == 1
        assert await stage.insert_new(connection, []) == 0
    assert await connection.fetchval("SELECT count(*) FROM trades") == 1501
    assert await connection.fetchval("SELECT count(*) FROM trades WHERE size = 7") == 0


async def test_rows_are_the_callers_transaction(connection: asyncpg.Connection) -> None:
    """They carry its id, and vanish with it."""
    stage = Stage(TRADES, Home.GATHERER)
    transaction = connection.transaction()
    await transaction.start()
    assert await stage.insert_new(connection, [trade(1)]) == 1
    assert await connection.fetchval("SELECT ingest_xid = pg_current_xact_id() FROM trades")
    await transaction.rollback()
    assert await connection.fetchval("SELECT count(*) FROM trades") == 0
    assert await insert(connection, stage, range(2)) == 2
    with pytest.raises(ValueError, match="transaction"):
        await stage.insert_new(connection, [trade(1)])


async def test_stage_outlives_rollbacks_and_sessions(gatherer_database: str, connection: asyncpg.Connection) -> None:
    """A rollback, at whichever of the first times, and a new session cost no row and no error."""
    for failures in range(4):
        session = await asyncpg.connect(gatherer_database)
        stage = Stage(TRADES, Home.GATHERER)
        start = 1000 * failures
        for attempt in range(6):
            transaction = session.transaction()
            await transaction.start()
            assert await stage.insert_new(session, [trade(start + attempt)]) == 1
            await (transaction.rollback() if attempt == failures else transaction.commit())
        assert await insert(session, stage, range(start, start + 6)) == 1
        assert await insert(connection, stage, range(start, start + 7)) == 1
        await session.close()


async def test_two_stages_of_one_table_share_the_session(connection: asyncpg.Connection) -> None:
    """They may take turns, even within a rolled back transaction."""
    stage = Stage(TRADES, Home.GATHERER)
    transaction = connection.transaction()
    await transaction.start()
    assert await Stage(TRADES, Home.GATHERER).insert_new(connection, [trade(1)]) == 1
    assert await stage.insert_new(connection, [trade(2)]) == 1
    await transaction.rollback()
    assert await insert(connection, stage, range(2)) == 2
    assert await insert(connection, stage, range(3)) == 1


async def test_rows_that_are_new_go_straight_in(connection: asyncpg.Connection) -> None:
    """And one that is there already ends the transaction, so that nothing of the batch is half in."""
    stage = Stage(TRADES, Home.GATHERER)
    async with connection.transaction():
        assert await stage.copy_new(connection, [trade(number) for number in range(100)]) == 100
    with pytest.raises(asyncpg.UniqueViolationError):
        async with connection.transaction():
            await stage.copy_new(connection, [trade(200), trade(50)])
    with pytest.raises(UnencodableValueError):
        async with connection.transaction():
            await stage.copy_new(connection, [trade(300, size=2**63)])
    assert await connection.fetchval("SELECT count(*) FROM trades") == 100


async def test_bytes_from_elsewhere(connection: asyncpg.Connection, production_database: str) -> None:
    """What one database gives out by COPY goes into another as it is."""
    await insert(connection, Stage(TRADES, Home.GATHERER), range(100))
    columns = ", ".join(column.name for column in TRADES.written_columns(Home.PRODUCTION))
    data = BytesIO()
    await connection.copy_from_query(f"SELECT {columns} FROM trades", output=data, format="binary")  # noqa: S608
    data.seek(0)
    production = await asyncpg.connect(production_database)
    await ensure_partitions(production, TRADES, [DAY])
    async with production.transaction():
        assert await Stage(TRADES, Home.PRODUCTION).insert_new_encoded(production, data) == 100
        encoded = RowEncoder(TRADES, Home.PRODUCTION).encode([trade(1), trade(500)])
        assert await Stage(TRADES, Home.PRODUCTION).insert_new_encoded(production, BytesIO(encoded)) == 1
    await production.close()


async def test_nothing_is_sent_of_a_batch_with_a_bad_value(connection: asyncpg.Connection) -> None:
    """The transaction goes on as if the batch had never been tried."""
    stage = Stage(TRADES, Home.GATHERER)
    async with connection.transaction():
        assert await stage.insert_new(connection, [trade(1)]) == 1
        with pytest.raises(UnencodableValueError):
            await stage.insert_new(connection, [trade(2), trade(3, size=2**63)])
        assert await stage.insert_new(connection, [trade(4)]) == 1
    assert await connection.fetchval("SELECT count(*) FROM trades") == 2


async def test_impossible_price_is_refused_by_the_database(connection: asyncpg.Connection) -> None:
    """The last line of defence: a price above one dollar."""
    row = (*trade(1)[:3], 1_000_001, *trade(1)[4:])
    with pytest.raises(asyncpg.CheckViolationError, match="trades_price_within_a_dollar"):
        async with connection.transaction():
            await Stage(TRADES, Home.GATHERER).insert_new(connection, [row])


async def test_merges_of_the_same_rows_do_not_deadlock(production_database: str) -> None:
    """Three merges bring the same rows, each in another order, and hold their transactions open for a while."""
    sessions = [await asyncpg.connect(production_database, command_timeout=20) for _ in range(3)]
    await ensure_partitions(sessions[0], TRADES, [DAY])
    orders = [range(2000), range(1999, -1, -1), [*range(1000, 2000), *range(1000)]]

    async def merge(session: asyncpg.Connection, order: list[int]) -> int:
        stage = Stage(TRADES, Home.PRODUCTION)
        new = 0
        for start in range(0, 2000, 200):
            async with session.transaction():
                new += await stage.insert_new(session, [trade(number) for number in order[start : start + 100]])
                new += await stage.insert_new(session, [trade(number) for number in order[start + 100 : start + 200]])
        return new

    merged = await asyncio.gather(*(merge(s, list(order)) for s, order in zip(sessions, orders, strict=True)))
    assert sum(merged) == 2000
    assert await sessions[0].fetchval("SELECT count(*) FROM trades") == 2000
    for session in sessions:
        await session.close()


def session(number: int, *end: object) -> SessionRow:
    """A session that lasts, or has ended."""
    return SessionRow(NOON + number, "g", "orderbook-1", "orderbook_delta", "KXA", 1, *end)  # type: ignore[arg-type]


async def revise(connection: asyncpg.Connection, stage: Stage, *rows: SessionRow) -> int:
    """Bring sessions in a transaction of their own."""
    async with connection.transaction():
        return await stage.insert_new(connection, rows)


async def test_a_later_version_fills_in_what_was_open(connection: asyncpg.Connection) -> None:
    """The row stays one and counts as written by the transaction that revised it."""
    stage = Stage(CAPTURE_SESSIONS, Home.GATHERER)
    assert await revise(connection, stage, session(1), session(2)) == 2
    first = await connection.fetchval("SELECT max(ingest_xid)::text FROM capture_sessions")
    assert await revise(connection, stage, session(1, NOON + 9, "stopped")) == 1
    rows = await connection.fetch(
        "SELECT ended_by, (extract(epoch FROM ended_at) * 1000000)::bigint AS ended, ingest_xid::text AS xid "
        "FROM capture_sessions ORDER BY started_at"
    )
    assert [(row["ended_by"], row["ended"]) for row in rows] == [("stopped", NOON + 9), (None, None)]
    assert int(rows[0]["xid"]) > int(first)
    assert rows[1]["xid"] == first


async def test_an_old_version_that_comes_again_erases_nothing(connection: asyncpg.Connection) -> None:
    """As when a spool is drained twice; what changes nothing is not written, and does not count."""
    stage = Stage(CAPTURE_SESSIONS, Home.GATHERER)
    await revise(connection, stage, session(1))
    await revise(connection, stage, session(1, NOON + 9, "stopped"))
    before = await connection.fetchval("SELECT ingest_xid::text FROM capture_sessions")
    assert await revise(connection, stage, session(1)) == 0
    assert await revise(connection, stage, session(1, NOON + 9, "stopped")) == 0
    assert await connection.fetchval("SELECT ended_by FROM capture_sessions") == "stopped"
    assert await connection.fetchval("SELECT ingest_xid::text FROM capture_sessions") == before


async def test_of_several_versions_in_one_batch_the_last_counts(connection: asyncpg.Connection) -> None:
    """Also where one transaction brings two batches, or a rollback comes between."""
    stage = Stage(CAPTURE_SESSIONS, Home.GATHERER)
    versions = (session(1), session(1, NOON + 5, "ended"), session(2), session(1, NOON + 9, "stopped"))
    transaction = connection.transaction()
    await transaction.start()
    assert await stage.insert_new(connection, versions) == 2
    await transaction.rollback()
    async with connection.transaction():
        assert await stage.insert_new(connection, versions) == 2
        assert await stage.insert_new(connection, [session(1, NOON + 10, "disconnected"), session(3)]) == 2
    ends = await connection.fetch("SELECT ended_by FROM capture_sessions ORDER BY started_at")
    assert [row["ended_by"] for row in ends] == ["disconnected", None, None]
