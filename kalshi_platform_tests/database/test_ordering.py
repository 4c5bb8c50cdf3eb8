import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, STREAM_TABLES, Home
from kalshi_platform.database.closing import close_partitions
from kalshi_platform.database.migrations import migrate_async
from kalshi_platform.database.ordering import copy_name, put_in_order
from kalshi_platform.database.partition_list import Partition, partitions_of
from kalshi_platform.database.partitions import ensure_partitions

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAME = "orderbook_deltas_20260801_12"
BEHIND = "orderbook_deltas_20260801_13"
ROWS, MARKETS = 20_000, 50
FILL = f"""
INSERT INTO orderbook_deltas (exchange_ts, ticker, side, price, size_delta, occurrence, position, seq, received_at)
SELECT $1::timestamptz + n * interval '100 ms', 'T' || n % {MARKETS}, n % 2 = 0, n % 99 * 10000, n % 7 * 100 + 1,
       0, 0, n, $1::timestamptz + n * interval '100 ms' FROM generate_series($2::int, $3::int - 1) AS n
ON CONFLICT DO NOTHING
"""  # noqa: S608 - a constant
SUMS = "SELECT count(*), sum(seq), sum(price), max(received_at) FROM orderbook_deltas"
MOVES = f"""
SELECT count(*) FROM (SELECT ticker, lag(ticker) OVER (ORDER BY ctid) AS before, exchange_ts,
                             lag(exchange_ts) OVER (ORDER BY ctid) AS earlier FROM {NAME}) AS row
WHERE before IS DISTINCT FROM ticker OR exchange_ts < earlier
"""  # noqa: S608 - a constant
LOOKS = """
SELECT c.relname, c.relkind, pg_get_userbyid(c.relowner) AS owner, obj_description(c.oid), i.indisprimary,
       (SELECT array_agg(r::text ORDER BY r::text) FROM unnest(c.relacl) AS r) AS rights, c.reloptions, c.reltablespace,
       pg_get_expr(c.relpartbound, c.oid) AS bounds, pg_get_indexdef(c.oid) AS definition,
       (SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = c.oid) AS parent,
       (SELECT array_agg(pg_get_constraintdef(oid) || conislocal ORDER BY conname)
        FROM pg_constraint WHERE conrelid = c.oid) AS rules,
       (SELECT array_agg(attname || format_type(atttypid, NULL) || coalesce(col_description(attrelid, attnum), '')
        ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0) AS columns
FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
WHERE c.relname LIKE 'orderbook_deltas_20260801_12%' OR c.relname = 'one_of_my_own' ORDER BY 1
"""
LOOKS_OF_ITS_OWN = f"""
ALTER TABLE {NAME} SET (fillfactor = 90, autovacuum_enabled = off);
GRANT SELECT ON {NAME} TO kalshi_analyst WITH GRANT OPTION;
GRANT INSERT, SELECT ON {NAME} TO PUBLIC;
REVOKE DELETE ON {NAME} FROM kalshi_catalogue;
ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO kalshi_export
"""  # noqa: S608 - a constant


@pytest.fixture
async def production(production_database: str) -> AsyncIterator[asyncpg.Connection]:
    """Production with an hour of deltas, in the order of time."""
    connection = await filled(production_database)
    yield connection
    await connection.close()


async def filled(url: str) -> asyncpg.Connection:
    """A session on a migrated production, after an hour was merged."""
    connection = await asyncpg.connect(url)
    await ensure_partitions(connection, ORDERBOOK_DELTAS, [NOON.date()])
    await connection.execute(FILL, NOON, 0, ROWS)
    return connection


async def the_hour(connection: asyncpg.Connection) -> Partition:
    """The partition of that hour."""
    (found,) = [one for one in await partitions_of(connection, ORDERBOOK_DELTAS) if one.name == NAME]
    return found


@asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection."""
    connection = await asyncpg.connect(url, command_timeout=20)
    try:
        yield connection
    finally:
        await connection.close()


async def test_the_same_partition_in_the_order_of_its_markets(new_empty_database: Callable[[], str]) -> None:
    """Rows, name, owner, rights, keys, indexes, rules and places are as before, on every server; rows are frozen."""
    url = new_empty_database()
    await migrate_async(url, Home.PRODUCTION)
    connection = await filled(url)
    await connection.execute(f"CREATE INDEX one_of_my_own ON {NAME} (seq)")
    await connection.execute(f"COMMENT ON TABLE {NAME} IS 'Mine.'")
    await connection.execute(f"ALTER TABLE {NAME} OWNER TO kalshi_catalogue")
    await connection.execute(LOOKS_OF_ITS_OWN)
    await connection.execute("SET allow_in_place_tablespaces = on")
    await connection.execute("CREATE TABLESPACE elsewhere LOCATION ''")
    for kind, name in (("TABLE", NAME), ("INDEX", "one_of_my_own")):
        await connection.execute(f"ALTER {kind} {name} SET TABLESPACE elsewhere")
    before, looks = await connection.fetchrow(SUMS), await connection.fetch(LOOKS)
    assert await connection.fetchval(MOVES) == ROWS  # each row is another market's than the one before
    assert await put_in_order(connection, await the_hour(connection))
    assert await connection.fetchval(MOVES) == MARKETS
    assert await connection.fetchrow(SUMS) == before
    assert await connection.fetchval("SELECT obj_description($1::text::regclass) IS NULL", NAME), (
        "it goes with the old one"
    )
    await connection.execute(f"COMMENT ON TABLE {NAME} IS 'Mine.'")
    assert await connection.fetch(LOOKS) == looks
    assert await connection.fetchval(
        "SELECT relallvisible = relpages AND reltuples = $1 FROM pg_class WHERE relname = $2", ROWS, NAME
    )
    await connection.execute(FILL, NOON, 0, ROWS + 1)  # all of it once more, and a late row
    assert await connection.fetchval(f"SELECT count(*) FROM {NAME}") == ROWS + 1  # noqa: S608
    await connection.execute(f"DROP TABLE {NAME}")
    await connection.execute("DROP TABLESPACE elsewhere")
    await connection.close()


async def test_every_stream_can_be_put_in_order(production: asyncpg.Connection) -> None:
    """Whatever its columns and keys; one without rows as well."""
    for table in STREAM_TABLES:
        await ensure_partitions(production, table, [NOON.date()])
        found = await partitions_of(production, table)
        assert await put_in_order(production, found[0])
        assert await partitions_of(production, table) == found


async def test_whoever_reads_is_waited_for(production: asyncpg.Connection, production_database: str) -> None:
    """The copy stays for the next call; a transaction that is older than its place there sees every row as well."""
    hour, before = await the_hour(production), await production.fetchrow(SUMS)
    async with session(production_database) as reader, session(production_database) as dump:
        async with reader.transaction():
            await reader.fetch(SUMS)
            assert not await put_in_order(production, hour)
            copy = await production.fetchval("SELECT $1::text::regclass::oid", copy_name(hour))
            await dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await dump.fetch("SELECT 1")  # from here on it sees the database as it is now
        assert await put_in_order(production, hour)
        assert await production.fetchval("SELECT $1::text::regclass::oid", NAME) == copy
        assert await dump.fetchrow(SUMS) == before
    assert await production.fetchrow(SUMS) == before


async def test_a_transaction_older_than_the_copy_is_waited_for(
    production: asyncpg.Connection, production_database: str
) -> None:
    """It could not see rows of a copy that was made after it began, so the copy does not take the place."""
    hour, before = await the_hour(production), await production.fetchrow(SUMS)
    async with session(production_database) as dump:
        await dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await dump.fetch("SELECT 1")
        assert not await put_in_order(production, hour)
        assert await dump.fetchrow(SUMS) == before
        await dump.execute("COMMIT")
    assert await put_in_order(production, hour)
    assert await production.fetchrow(SUMS) == before


async def test_a_row_that_comes_meanwhile_is_not_lost(production: asyncpg.Connection, production_database: str) -> None:
    """The copy that lacks it is thrown away."""
    hour = await the_hour(production)
    async with session(production_database) as reader, reader.transaction():
        await reader.fetch(SUMS)
        assert not await put_in_order(production, hour)
        await production.execute(FILL, NOON, ROWS, ROWS + 1)
    assert not await put_in_order(production, hour)
    assert await put_in_order(production, hour)
    assert await production.fetchval("SELECT count(*) FROM orderbook_deltas") == ROWS + 1


async def test_a_copy_that_does_not_fit_hinders_nobody(production: asyncpg.Connection) -> None:
    """What a killed process of another version left behind is thrown away, and the next call begins anew."""
    hour = await the_hour(production)
    await production.execute(f"CREATE TABLE {copy_name(hour)} AS SELECT exchange_ts, ticker FROM {NAME}")  # noqa: S608
    with pytest.raises(asyncpg.DatatypeMismatchError):
        await put_in_order(production, hour)
    assert await put_in_order(production, hour)
    assert await production.fetchval("SELECT count(*) FROM orderbook_deltas") == ROWS


async def test_readers_and_writers_go_on(production: asyncpg.Connection, production_database: str) -> None:
    """While the hour is put in order again and again: no error, no row lost, none twice, all seen at any time."""
    done, written = asyncio.Event(), 0

    async def write(writer: asyncpg.Connection) -> None:
        """The next hour, and now and then a row of this one."""
        nonlocal written
        while not done.is_set():
            is_late = written % 200 == 190
            start = ROWS + written if is_late else written
            await writer.execute(FILL, NOON if is_late else NOON + HOUR, start, start + 10)
            written += 10

    async def read(reader: asyncpg.Connection) -> None:
        while not done.is_set():
            at_least = ROWS + written
            assert await reader.fetchval("SELECT count(*) FROM orderbook_deltas") >= at_least

    replaced: list[bool] = []
    async with (
        session(production_database) as writer,
        session(production_database) as reader,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(write(writer))
        tasks.create_task(read(reader))
        while not any(replaced) or len(replaced) < 5:
            replaced.append(await put_in_order(production, await the_hour(production)))
            assert len(replaced) < 100
        done.set()
    assert written > 0
    assert await production.fetchval("SELECT count(*) FROM orderbook_deltas") == ROWS + written


async def test_large_partitions_are_put_in_order_when_they_close(
    production: asyncpg.Connection, production_database: str
) -> None:
    """Once; one that somebody reads is finished by the next call."""
    marks: dict[str, datetime | None] = {ORDERBOOK_DELTAS.name: NOON + HOUR}

    async def close() -> tuple[bool, bool]:
        closing = await close_partitions(production, [ORDERBOOK_DELTAS], marks, large=2**20)
        return NAME in closing.finished, NAME in closing.waiting

    async with session(production_database) as reader, reader.transaction():
        await reader.fetch(SUMS)
        assert await close() == (False, True)
    assert [await close(), await close()] == [(True, False), (False, False)]
    assert await production.fetchval(MOVES) == MARKETS


@pytest.mark.parametrize(
    ("hindrance", "reason"),
    [
        (f"CREATE VIEW mine AS SELECT * FROM {NAME}", "view mine depends on"),  # noqa: S608 - a constant
        ("SET maintenance_work_mem = '1MB'; SET temp_file_limit = '64kB'", "exceeds"),  # of a kind with a full disk
    ],
)
async def test_what_cannot_be_put_in_order_is_finished_as_it_lies(
    production: asyncpg.Connection, hindrance: str, reason: str
) -> None:
    """Once, with the reason; nothing of the copy is left, and those behind it are put in order."""
    marks: dict[str, datetime | None] = {ORDERBOOK_DELTAS.name: NOON + 2 * HOUR}
    await production.execute(FILL, NOON + HOUR, 0, 100)
    await production.execute(hindrance)
    closing = await close_partitions(production, [ORDERBOOK_DELTAS], marks, large=1)
    assert {NAME, BEHIND} < {*closing.finished}
    assert (list(closing.unsorted), closing.waiting) == ([NAME], {})
    assert reason in closing.unsorted[NAME]
    assert "\n" not in closing.unsorted[NAME]
    assert await production.fetchval("SELECT relallvisible = relpages FROM pg_class WHERE relname = $1", NAME)
    assert await production.fetchval("SELECT to_regclass($1) IS NULL", copy_name(await the_hour(production)))
    assert await production.fetchval(MOVES.replace(NAME, BEHIND)) == MARKETS
    assert await close_partitions(production, [ORDERBOOK_DELTAS], marks, large=1) == ([], {}, {})


async def test_one_that_fails_keeps_none_behind_it(production: asyncpg.Connection) -> None:
    """It is named with its reason, and tried again by the next call."""
    marks: dict[str, datetime | None] = {ORDERBOOK_DELTAS.name: NOON + 2 * HOUR}
    copy = copy_name(await the_hour(production))
    await production.execute(f"CREATE TABLE {copy} AS SELECT exchange_ts, ticker FROM {NAME}")  # noqa: S608
    closing = await close_partitions(production, [ORDERBOOK_DELTAS], marks, large=2**20)
    assert list(closing.waiting) == [NAME]
    assert closing.waiting[NAME]
    assert BEHIND in closing.finished
    closing = await close_partitions(production, [ORDERBOOK_DELTAS], marks, large=2**20)
    assert closing == ([NAME], {}, {})
