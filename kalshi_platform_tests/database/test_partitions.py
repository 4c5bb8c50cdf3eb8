import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from kalshi_platform.core.schema import STREAM_TABLES, TRADES, Home, Table
from kalshi_platform.database.migrations import migrate_async
from kalshi_platform.database.partition_list import partitions_of
from kalshi_platform.database.partitions import PartitionKeeper, ensure_partitions, partition_name
from kalshi_platform.database.retention import due_partitions

DAY = date(2026, 11, 21)
INSERT_TRADE = (
    "INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at) "
    "VALUES ($1::text::timestamptz, gen_random_uuid(), 'T', 1, 1, false, now())"
)
ATTACHED_INDEXES = (
    "SELECT count(*) FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid WHERE indrelid = $1::text::regclass"
)
LOCAL_CHECKS = "SELECT count(*) FROM pg_constraint WHERE conrelid = $1::text::regclass AND conislocal AND contype = 'c'"


@pytest.fixture
async def connection(gatherer_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A session whose zone and date style are as misleading as can be."""
    connection = await asyncpg.connect(
        gatherer_database, server_settings={"timezone": "Asia/Tokyo", "datestyle": "SQL, DMY"}
    )
    yield connection
    await connection.close()


async def count_rows(connection: asyncpg.Connection, table_name: str) -> int:
    """Rows of a table or partition."""
    rows: int = await connection.fetchval(f"SELECT count(*) FROM {table_name}")  # noqa: S608
    return rows


async def test_partition_covers_exactly_its_utc_day(connection: asyncpg.Connection) -> None:
    """It takes the first and the last microsecond of its day, whatever zone and style the session has."""
    assert await ensure_partitions(connection, TRADES, [DAY]) == 1
    for moment in ("2026-11-21 00:00:00+00", "2026-11-21 23:59:59.999999+00"):
        await connection.execute(INSERT_TRADE, moment)
    assert await count_rows(connection, partition_name(TRADES, DAY)) == 2
    for moment in ("2026-11-20 23:59:59.999999+00", "2026-11-22 00:00:00+00"):
        with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
            await connection.execute(INSERT_TRADE, moment)


async def test_somebody_s_default_partition_is_left_alone(connection: asyncpg.Connection) -> None:
    """It has no beginning and no end; those beside it are found."""
    await connection.execute("CREATE TABLE trades_rest PARTITION OF trades DEFAULT")
    await ensure_partitions(connection, TRADES, [DAY])
    assert [one.name for one in await partitions_of(connection, TRADES)] == [partition_name(TRADES, DAY)]
    assert await due_partitions(connection, [TRADES], datetime(2026, 12, 24, tzinfo=UTC)) != []


async def test_partitions_are_made_once_and_carry_everything(connection: asyncpg.Connection) -> None:
    """Asked again nothing is made; keys, checks, defaults, indexes and comments are the parent's."""
    days = [DAY, DAY + timedelta(days=1), DAY]
    for table in STREAM_TABLES:
        assert await ensure_partitions(connection, table, days) == 2
        assert await ensure_partitions(connection, table, days) == 0
        child = partition_name(table, DAY)
        same = await connection.fetchval(
            "SELECT array_agg(col_description($1::text::regclass, attnum) ORDER BY attnum) = "
            "array_agg(col_description($2::text::regclass, attnum) ORDER BY attnum) "
            "FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0",
            table.name,
            child,
        )
        assert same
        assert await connection.fetchval(ATTACHED_INDEXES, child) == 2  # key and transaction id
        assert await connection.fetchval(LOCAL_CHECKS, child) == 0  # a check that leaves the parent leaves its children


async def test_only_days_of_stream_tables(connection: asyncpg.Connection) -> None:
    """Other tables, odd names and days outside of the century are refused."""
    for name, day in (
        ("capture_gaps", "2026-11-21"),
        ("trades; DROP TABLE trades", "2026-11-21"),
        (None, "2026-11-21"),
        ("trades", "infinity"),
        ("trades", "1999-12-31"),
        ("trades", None),
    ):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="kalshi_ensure_partition"):
            await connection.execute("SELECT kalshi_ensure_partition($1, $2::text::date)", name, day)


async def test_several_sessions_ask_at_once(gatherer_database: str) -> None:
    """Of many that ask for the same days, one makes each; the others find it made."""
    sessions = [await asyncpg.connect(gatherer_database) for _ in range(8)]
    days = [DAY + timedelta(days=offset) for offset in range(5)]
    made = await asyncio.gather(*(ensure_partitions(session, TRADES, days) for session in sessions))
    assert sum(made) == len(days)
    for session in sessions:
        await session.close()


async def test_partitions_are_made_while_writers_hold_the_table(gatherer_database: str) -> None:
    """Making a partition waits for no writer, and no writer for it: neither blocks, neither deadlocks."""
    writer, maker = [await asyncpg.connect(gatherer_database, command_timeout=10) for _ in range(2)]
    await ensure_partitions(maker, TRADES, [DAY])
    async with writer.transaction():
        await writer.execute(INSERT_TRADE, "2026-11-21 12:00+00")
        assert await ensure_partitions(maker, TRADES, [DAY + timedelta(days=1)]) == 1
        await writer.execute(INSERT_TRADE, "2026-11-21 12:00+00")
    await writer.execute(INSERT_TRADE, "2026-11-22 12:00+00")
    async with maker.transaction():
        await ensure_partitions(maker, TRADES, [DAY + timedelta(days=2)])
        await writer.execute(INSERT_TRADE, "2026-11-21 12:00+00")  # while the maker's transaction is open
    assert await count_rows(maker, "trades") == 4
    await writer.close()
    await maker.close()


async def test_many_writers_and_makers(gatherer_database: str) -> None:
    """Writers that make their own partitions, inside their transactions too, all get their rows in."""

    async def write(session: asyncpg.Connection, number: int) -> None:
        for offset in range(12):
            day = DAY + timedelta(days=(offset + number) % 12)
            async with session.transaction():
                if number % 2:
                    await ensure_partitions(session, TRADES, [day])
                else:
                    await PartitionKeeper().ensure(session, TRADES, [day])
                await session.execute(INSERT_TRADE, f"{day} 12:00+00")

    sessions = [await asyncpg.connect(gatherer_database, command_timeout=20) for _ in range(6)]
    async with asyncio.TaskGroup() as tasks:
        for number, session in enumerate(sessions):
            tasks.create_task(write(session, number))
    assert await count_rows(sessions[0], "trades") == 72
    for session in sessions:
        await session.close()


async def test_keeper_asks_once_per_day(connection: asyncpg.Connection) -> None:
    """What it has seen it does not ask for again, until told to forget."""
    keeper = PartitionKeeper()
    await keeper.ensure(connection, TRADES, [DAY])
    await connection.execute(f"DROP TABLE {partition_name(TRADES, DAY)}")
    await keeper.ensure(connection, TRADES, [DAY])
    assert await connection.fetchval("SELECT to_regclass($1)", partition_name(TRADES, DAY)) is None
    keeper.forget()
    await keeper.ensure(connection, TRADES, [DAY])
    assert await connection.fetchval("SELECT to_regclass($1)", partition_name(TRADES, DAY)) is not None


async def test_keeper_believes_no_transaction_that_may_be_rolled_back(connection: asyncpg.Connection) -> None:
    """A partition made in a transaction that fails is made again."""
    keeper = PartitionKeeper()
    transaction = connection.transaction()
    await transaction.start()
    await keeper.ensure(connection, TRADES, [DAY])
    await transaction.rollback()
    await keeper.ensure(connection, TRADES, [DAY])
    await connection.execute(INSERT_TRADE, "2026-11-21 12:00+00")


async def test_detached_partition_is_an_error(connection: asyncpg.Connection) -> None:
    """A table in the way that is no partition is named, not silently taken for one."""
    await connection.execute(f"CREATE TABLE {partition_name(TRADES, DAY)} ()")
    with pytest.raises(asyncpg.DuplicateTableError, match="trades_20261121"):
        await ensure_partitions(connection, TRADES, [DAY])


async def test_partitions_on_every_server(new_empty_database: Callable[[], str]) -> None:
    """The function does the same on the oldest and the newest PostgreSQL."""
    url = new_empty_database()
    await migrate_async(url, Home.PRODUCTION)
    session = await asyncpg.connect(url)
    assert [await ensure_partitions(session, table, [DAY]) for table in STREAM_TABLES] == [1, 1, 1, 1]
    await session.execute(INSERT_TRADE, "2026-11-21 12:00+00")
    await session.close()


PARTS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1"


async def parts(connection: asyncpg.Connection, table: Table) -> list[str]:
    """Names of a table's partitions."""
    return [row[0] for row in await connection.fetch(PARTS, table.name)]


async def test_hours_where_the_policy_says_so(connection: asyncpg.Connection) -> None:
    """A day becomes 24 partitions, each of exactly its hour; a day that was begun in hours is finished in hours."""
    await connection.execute("UPDATE table_policies SET partition_hours = 1 WHERE table_name = 'trades'")
    assert await ensure_partitions(connection, TRADES, [DAY]) == 1
    assert await parts(connection, TRADES) == [f"trades_20261121_{hour:02}" for hour in range(24)]
    for moment in ("2026-11-21 07:00:00+00", "2026-11-21 07:59:59.999999+00", "2026-11-21 23:59:59.999999+00"):
        await connection.execute(INSERT_TRADE, moment)
    assert await count_rows(connection, "trades_20261121_07") == 2
    await connection.execute("DROP TABLE trades_20261121_05")
    await connection.execute("UPDATE table_policies SET partition_hours = 24 WHERE table_name = 'trades'")
    assert await ensure_partitions(connection, TRADES, [DAY]) == 1
    assert len(await parts(connection, TRADES)) == 24
    assert await ensure_partitions(connection, TRADES, [DAY, DAY + timedelta(days=1)]) == 1
    assert (await parts(connection, TRADES))[-1] == "trades_20261122"
    await connection.execute("UPDATE table_policies SET partition_hours = 1 WHERE table_name = 'trades'")
    assert await ensure_partitions(connection, TRADES, [DAY, DAY + timedelta(days=1)]) == 0


async def test_only_days_and_hours_are_policies(connection: asyncpg.Connection) -> None:
    """Other widths could overlap."""
    for change in ("partition_hours = 6", "keep_days = 0", "compress_hours = -1"):
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(f"UPDATE table_policies SET {change}")  # noqa: S608
