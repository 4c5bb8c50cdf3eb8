"""Hypertables, on any server that has TimescaleDB: set KALSHI_TEST_TIMESCALE_URL to an empty database of it.

Without an installation: `pglite/server.mjs` is one for these tests.
"""

import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, STREAM_TABLES, Home
from kalshi_platform.database.closing import close_partitions
from kalshi_platform.database.compression import apply_compression
from kalshi_platform.database.migrations import check_revision, current_revision, downgrade, migrate, migrate_async
from kalshi_platform.database.partition_list import partitions_of
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.database.proofs import Proof, record_proof
from kalshi_platform.database.retention import drop_proven, due_partitions
from kalshi_platform.tools.replay import Replay
from kalshi_platform_tests.database.test_migrations import HOMES, differences, query
from kalshi_platform_tests.queries import fetch

pytestmark = pytest.mark.slow

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
FILL = """
INSERT INTO orderbook_deltas (exchange_ts, ticker, side, price, size_delta, occurrence, position, seq, received_at)
SELECT $1::timestamptz + n * interval '200 ms', 'KXGOLD15M-T' || n % 20, n % 2 = 0, n % 99 * 10000, n % 7 * 100 + 1,
       0, 0, n, $1::timestamptz + n * interval '200 ms' FROM generate_series(0, $2::int - 1) AS n ON CONFLICT DO NOTHING
"""
ONE_MARKET = "SELECT * FROM people.orderbook_deltas WHERE ticker = 'KXGOLD15M-T7' ORDER BY exchange_ts, seq"
COMPRESS = "SELECT compress_chunk(chunk, if_not_compressed => true) FROM show_chunks('orderbook_deltas') AS chunk"
HYPERTABLES = "SELECT hypertable_name::text FROM timescaledb_information.hypertables WHERE hypertable_schema = 'public'"


@pytest.fixture
def timescale() -> Iterator[str]:
    """The database; whatever a test leaves in it is taken down again."""
    url = os.environ.get("KALSHI_TEST_TIMESCALE_URL")
    if not url:
        pytest.skip("needs TimescaleDB: set KALSHI_TEST_TIMESCALE_URL to an empty database of a server that has it")
    query(url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
    if "emcc" in str(query(url, "SELECT version()")[0][0]):  # PGlite lets nobody grant rights on itself before that
        query(url, "UPDATE pg_database SET datistemplate = datistemplate WHERE datname = 'template1'")
    _take_down(url)
    yield url
    _take_down(url)


def _take_down(url: str) -> None:
    """To an empty database, whatever a test, or one that was killed, left in it."""
    if (carried := current_revision(url)) is not None:
        downgrade(url, Home(carried.partition("_")[0]))


@pytest.fixture
async def production(timescale: str) -> AsyncIterator[asyncpg.Connection]:
    """A migrated production with three hours of deltas."""
    await migrate_async(timescale, Home.PRODUCTION)
    connection = await asyncpg.connect(timescale, statement_cache_size=0)
    for hour in range(3):
        await connection.execute(FILL, NOON + timedelta(hours=hour), 3000)
    yield connection
    await connection.close()


@HOMES
def test_migrated_streams_are_hypertables(timescale: str, home: Home) -> None:
    """All four, with the keys, indexes, comments and columns of the schema, and partitions that nobody need make."""
    migrate(timescale, home)
    assert {row[0] for row in query(timescale, HYPERTABLES)} == {table.name for table in STREAM_TABLES}
    assert differences(timescale, home) == []
    assert query(timescale, "SELECT kalshi_ensure_partition('trades', '2026-08-01')") == [(False,)]


@HOMES
def test_rows_of_native_partitions_move_there_and_back(timescale: str, home: Home) -> None:
    """From the first revision with rows up, and down to it again: they are the same rows."""
    migrate(timescale, home, f"{home.value}_0001")
    query(timescale, "SELECT kalshi_ensure_partition('trades', '2026-08-01')")
    query(
        timescale,
        "INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at) "
        "SELECT '2026-08-01 12:00+00', gen_random_uuid(), 'T', n, n, false, now() FROM generate_series(1, 50) AS n",
    )
    before = query(timescale, "SELECT * FROM trades ORDER BY trade_id")
    migrate(timescale, home)
    assert ("trades",) in query(timescale, HYPERTABLES)
    assert query(timescale, "SELECT * FROM trades ORDER BY trade_id") == before
    downgrade(timescale, home, f"{home.value}_0001")
    assert query(timescale, HYPERTABLES) == []
    assert query(timescale, "SELECT * FROM trades_20260801 ORDER BY trade_id") == before


async def test_compressed_rows_are_the_same_rows(production: asyncpg.Connection) -> None:
    """Queries give the same, keys still hold, and a late row still gets in."""
    before = await production.fetch(ONE_MARKET)
    assert len(before) == 450
    await production.fetch(COMPRESS)
    assert [one.is_compressed for one in await partitions_of(production, ORDERBOOK_DELTAS)] == [True] * 3
    assert await production.fetch(ONE_MARKET) == before
    await production.execute(FILL, NOON, 3001)
    assert await production.fetchval("SELECT count(*) FROM orderbook_deltas") == 9001


async def test_policies_are_those_of_the_table(production: asyncpg.Connection) -> None:
    """Made once, changed when the table changes, removed where it says never."""
    assert await apply_compression(production) == [table.name for table in STREAM_TABLES]
    assert await apply_compression(production) == []
    await production.execute("UPDATE table_policies SET compress_hours = NULL WHERE table_name = 'trades'")
    await production.execute("UPDATE table_policies SET compress_hours = 12 WHERE table_name = 'tickers'")
    assert await apply_compression(production) == ["trades", "tickers"]
    jobs = await production.fetch(
        "SELECT hypertable_name::text, (config ->> 'compress_after')::interval FROM timescaledb_information.jobs "
        "WHERE hypertable_schema = 'public' ORDER BY 1"
    )
    assert [tuple(job) for job in jobs] == [
        ("orderbook_deltas", timedelta(hours=6)), ("orderbook_snapshots", timedelta(hours=48)),
        ("tickers", timedelta(hours=12)),
    ]  # fmt: skip


async def test_nothing_else_drops_chunks(production: asyncpg.Connection) -> None:
    """No retention policy of TimescaleDB's is made: it would drop what is not proven."""
    await apply_compression(production)
    assert await production.fetchval(
        "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention' "
        "AND hypertable_schema = 'public'"
    ) == 0  # fmt: skip


async def test_chunks_are_dropped_when_they_are_proven(production: asyncpg.Connection) -> None:
    """Compressed or not, and never the neighbours; without a proof they stay."""
    await production.fetch(f"{COMPRESS} LIMIT 1")
    due = await due_partitions(production, [ORDERBOOK_DELTAS], NOON + timedelta(days=100))
    assert [one.start for one in due] == [NOON + timedelta(hours=hour) for hour in range(3)]
    for hour in range(2):
        start = NOON + timedelta(hours=hour)
        proof = Proof(start, start + timedelta(hours=1), 3000, "0", "there", NOON)
        assert await record_proof(production, ORDERBOOK_DELTAS, proof)
    verdicts = [await drop_proven(production, one, lambda _proof: "") for one in due]
    assert [(one.rows, bool(one.kept_because)) for one in verdicts] == [(3000, False), (3000, False), (3000, True)]
    assert [one.start for one in await partitions_of(production, ORDERBOOK_DELTAS)] == [due[2].start]
    assert await production.fetchval("SELECT count(*) FROM orderbook_deltas") == 3000


async def test_chunks_are_closed_and_daemons_find_nothing_to_do(timescale: str, production: asyncpg.Connection) -> None:
    """Closed chunks are finished once; making partitions ahead is TimescaleDB's."""
    marks: dict[str, datetime | None] = {ORDERBOOK_DELTAS.name: NOON + timedelta(hours=2)}
    assert len((await close_partitions(production, [ORDERBOOK_DELTAS], marks)).finished) == 2
    assert await close_partitions(production, [ORDERBOOK_DELTAS], marks) == ([], {}, {})
    assert await ensure_partitions(production, ORDERBOOK_DELTAS, [NOON.date()]) == 0
    assert await production.fetchval("SELECT kalshi_index_recent('orderbook_deltas')") is not None
    await check_revision(timescale, Home.PRODUCTION)


async def test_the_tape_shrinks_and_answers_the_same(
    shared_data: Path, gatherer_database: str, production: asyncpg.Connection
) -> None:
    """One market of the recorded tape: what the columnstore makes of it, and queries before and after."""
    recorded = min((shared_data / "gold15m" / "events").rglob("*.ndjson.gz"))
    await Replay(gatherer_database, "g", 3_600_000, lambda _path, _frames: None).run([recorded])
    await production.execute("TRUNCATE orderbook_deltas")
    columns = [column.name for column in ORDERBOOK_DELTAS.columns_of(Home.PRODUCTION)]
    rows = await fetch(gatherer_database, f"SELECT {', '.join(columns)} FROM orderbook_deltas")  # noqa: S608
    for start in range(0, len(rows), 10_000):
        values = [list(column) for column in zip(*rows[start : start + 10_000], strict=True)]
        await production.execute(
            f"INSERT INTO orderbook_deltas ({', '.join(columns)}) SELECT * FROM unnest($1::timestamptz[], "  # noqa: S608
            "$2::text[], $3::bool[], $4::int[], $5::bigint[], $6::int[], $7::int[], $8::bigint[], $9::timestamptz[])",
            *values,
        )
    sums = (
        "SELECT ticker, side, count(*), sum(size_delta), max(exchange_ts) FROM orderbook_deltas "
        "GROUP BY ticker, side ORDER BY ticker, side"
    )
    before = await production.fetch(sums)
    await production.fetch(COMPRESS)
    assert await production.fetch(sums) == before
    stats = await production.fetchrow(
        "SELECT before_compression_total_bytes AS before, after_compression_total_bytes AS after "
        "FROM hypertable_compression_stats('orderbook_deltas')"
    )
    assert stats is not None
    a_row = stats["before"] / len(rows), stats["after"] / len(rows)
    print(f"{len(rows)} rows: {a_row[0]:.0f} to {a_row[1]:.1f} bytes a row")  # noqa: T201 - pytest -s shows the figure
    assert a_row[0] / a_row[1] > 4
