"""Keys that begin with the time against keys that begin with the ticker; and what an index by ticker costs at closing.

One day of deltas over ten thousand markets, inserted as a gatherer does: batches by COPY, each committed. Measured:
rows a second, write-ahead log a row, size of the key; then one market's reads on the time-first table, before and
after the closed partition has its index. Run: python benchmarks/key_order.py [ROWS]
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from statistics import median

import asyncpg
from measure import arguments

from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home
from kalshi_platform.database.binary_copy import RowEncoder
from kalshi_platform.database.migrations import migrate
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

T0 = 1_795_219_200_000_000
MARKETS, BATCH = 10_000, 5_000
KEYS = {
    "time first": "exchange_ts, ticker, side, price, size_delta, occurrence",
    "ticker first": "ticker, exchange_ts, side, price, size_delta, occurrence",
}
CLOSING_INDEX = "CREATE INDEX closing ON time_first (ticker, exchange_ts)"
READ = "SELECT count(*), sum(size_delta) FROM {table} WHERE ticker = $1 AND exchange_ts >= $2 AND exchange_ts < $3"


def batches(rows: int) -> Iterator[bytes]:
    """The same rows each time: busy markets more often, 50 rows a millisecond."""
    chance, encoder = random.Random(1), RowEncoder(ORDERBOOK_DELTAS, Home.GATHERER)  # noqa: S311 - the same each time
    for start in range(0, rows, BATCH):
        yield encoder.encode(
            [
                DeltaRow(
                    T0 + n // 50 * 1000, f"KXBENCH-26DEC01-T{int(MARKETS * chance.random() ** 3)}", n % 2 == 0,
                    n % 999 * 1000, n, 0, 0, n, 1, T0,
                )
                for n in range(start, min(start + BATCH, rows))
            ]
        )  # fmt: skip


async def insert(connection: asyncpg.Connection, name: str, rows: int) -> None:
    """Fill a table with this key; say what it cost."""
    table = name.replace(" ", "_")
    await connection.execute(
        f"CREATE TABLE {table} (LIKE orderbook_deltas INCLUDING DEFAULTS, PRIMARY KEY ({KEYS[name]}))"
    )
    await connection.execute(f"CREATE INDEX ON {table} (ingest_xid)")
    columns = [column.name for column in ORDERBOOK_DELTAS.written_columns(Home.GATHERER)]
    await connection.execute("CHECKPOINT")
    before = await connection.fetchval("SELECT pg_current_wal_lsn()::text")
    spent = 0.0
    for batch in batches(rows):
        started = time.perf_counter()
        await connection.copy_to_table(table, source=BytesIO(batch), columns=columns, format="binary")
        spent += time.perf_counter() - started
    log = await connection.fetchval("SELECT pg_current_wal_lsn() - $1::text::pg_lsn", before)
    size = await connection.fetchval("SELECT pg_relation_size(($1 || '_pkey')::regclass)", table)
    _say(f"{name}: {rows / spent:,.0f} rows/s, {log / rows:.0f} bytes of log and {size / rows:.0f} of key a row")


async def read(connection: asyncpg.Connection, what: str, table: str) -> None:
    """How long one market's whole day and its last minute take, in the middle of twenty."""
    for span, seconds in (("day", 86_400), ("last second", 1)):
        last = await connection.fetchval(f"SELECT max(exchange_ts) FROM {table}")  # noqa: S608 - ours
        times = []
        for number in range(20):
            started = time.perf_counter()
            ticker = f"KXBENCH-26DEC01-T{number * 37}"
            bounds = await connection.fetchrow(
                "SELECT $1::timestamptz - $2 * interval '1 second' AS low", last, seconds
            )
            await connection.fetchrow(READ.format(table=table), ticker, bounds["low"], last)
            times.append(time.perf_counter() - started)
        _say(f"  one market's {span}, {what}: {median(times) * 1000:.1f} ms")


async def close(connection: asyncpg.Connection, rows: int) -> None:
    """Build the index that a closed partition gets."""
    await connection.execute("VACUUM ANALYZE time_first")
    await read(connection, "time first, hot", "time_first")
    before, started = await connection.fetchval("SELECT pg_current_wal_lsn()::text"), time.perf_counter()
    await connection.execute(CLOSING_INDEX)
    spent = time.perf_counter() - started
    log = await connection.fetchval("SELECT pg_current_wal_lsn() - $1::text::pg_lsn", before)
    size = await connection.fetchval("SELECT pg_relation_size('closing')")
    _say(
        f"index at closing: {rows / spent:,.0f} rows/s, {log / rows:.0f} bytes of log, {size / rows:.0f} of index a row"
    )
    await read(connection, "time first, closed", "time_first")
    await connection.execute("VACUUM ANALYZE ticker_first")
    await read(connection, "ticker first", "ticker_first")


async def run(url: str, rows: int) -> None:
    """Measure everything once; the second table does not find the cache warmer than the first."""
    connection = await asyncpg.connect(url)
    for name in KEYS:
        await insert(connection, name, rows)
    await close(connection, rows)
    await connection.close()


def main(rows: int) -> None:
    """Measure on an embedded server that syncs to disk."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            server.start()
            server.create_database("bench")
            migrate(server.url("bench"), Home.GATHERER)
            asyncio.run(run(server.url("bench"), rows))
        finally:
            server.delete()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*arguments(__doc__, rows=2_000_000))
