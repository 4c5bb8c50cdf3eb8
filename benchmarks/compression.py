"""TimescaleDB's columnstore on the recorded tape: bytes a row, and the same questions before and after.

Every delta of the nine gold15m markets (or of fewer), replayed through a gatherer, in production's hypertable of an
hour. Needs an empty database of a server that has TimescaleDB; without an installation `pglite/server.mjs` of the tests
is one (docs/operations.md), whose times are those of WebAssembly. Leaves the database empty, and exits non-zero where
an answer differs or the ratio is below its budget.

    KALSHI_TEST_TIMESCALE_URL=postgresql://… python benchmarks/compression.py [--markets 9]
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import asyncpg

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home
from kalshi_platform.database.migrations import current_revision, downgrade, migrate
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform.tools.replay import Replay

TAPE = Path(__file__).parents[2] / "shared" / "data" / "gold15m" / "events"
COLUMNS = [column.name for column in ORDERBOOK_DELTAS.columns_of(Home.PRODUCTION)]
INSERT = (
    f"INSERT INTO orderbook_deltas ({', '.join(COLUMNS)}) SELECT * FROM unnest($1::timestamptz[], $2::text[], "  # noqa: S608 - names of the schema
    "$3::bool[], $4::int[], $5::bigint[], $6::int[], $7::int[], $8::bigint[], $9::timestamptz[])"
)
READ = f"SELECT {', '.join(COLUMNS)} FROM orderbook_deltas ORDER BY exchange_ts, seq"  # noqa: S608 - names of the schema
PIECE = 10_000
COMPRESS = "SELECT compress_chunk(chunk) FROM show_chunks('orderbook_deltas') AS chunk"
STATS = """
SELECT sum(before_compression_table_bytes)::bigint AS heap, sum(before_compression_index_bytes)::bigint AS key,
       sum(before_compression_total_bytes)::bigint AS before, sum(after_compression_total_bytes)::bigint AS after
FROM hypertable_compression_stats('orderbook_deltas')
"""
BUSY = "(SELECT ticker FROM orderbook_deltas GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1)"
MIDDLE = f"""
SELECT min(exchange_ts) + (max(exchange_ts) - min(exchange_ts)) / 2 FROM orderbook_deltas WHERE ticker = {BUSY}
"""  # noqa: S608 - a constant
ONE = "FROM people.orderbook_deltas WHERE ticker = '{market}'"
QUESTIONS = {
    "a market's day, every row": f"SELECT * {ONE} ORDER BY exchange_ts, seq",
    "its newest hundred rows": f"SELECT * {ONE} ORDER BY exchange_ts DESC, position DESC LIMIT 100",
    "a minute of it": f"SELECT * {ONE} AND exchange_ts >= '{{middle}}' AND exchange_ts < timestamptz '{{middle}}' "
    "+ interval '1 minute' ORDER BY exchange_ts, seq",
    "sums of every market and side": "SELECT ticker, side, count(*), sum(size_delta), max(exchange_ts) "
    "FROM orderbook_deltas GROUP BY 1, 2 ORDER BY 1, 2",
}
BUDGET = 4.0


async def tape_rows(markets: int) -> list[asyncpg.Record]:
    """What production would have of the tape's first markets."""
    recorded = sorted(TAPE.rglob("*.ndjson.gz"))[:markets]
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", settings={"fsync": "off"})
        try:
            server.start()
            server.create_database("gatherer")
            url = server.url("gatherer")
            await asyncio.to_thread(migrate, url, Home.GATHERER)
            await Replay(url, "g", 3_600_000, lambda _path, _frames: None).run(recorded)
            connection = await asyncpg.connect(url)
            rows = await connection.fetch(READ)
            await connection.close()
            return list(rows)
        finally:
            server.delete()


async def prepare(url: str) -> None:
    """The extension; and PGlite lets nobody grant rights on itself before its own row was touched."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    await connection.fetch("CREATE EXTENSION IF NOT EXISTS timescaledb")
    if "emcc" in await connection.fetchval("SELECT version()"):
        await connection.fetch("UPDATE pg_database SET datistemplate = datistemplate WHERE datname = 'template1'")
    await connection.close()


async def ask(connection: asyncpg.Connection, question: str) -> tuple[list[asyncpg.Record], float]:
    """The answer, and the median of three times at the server, milliseconds."""
    answer = await connection.fetch(question)
    times = []
    for _ in range(3):
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {question}"))
        times.append(float(plan[0]["Execution Time"]))
    return answer, median(times)


async def measure(url: str, rows: Sequence[asyncpg.Record]) -> bool:
    """Fill, ask, compress, ask again."""
    connection = await asyncpg.connect(url, statement_cache_size=0)
    for start in range(0, len(rows), PIECE):
        await connection.execute(INSERT, *(list(column) for column in zip(*rows[start : start + PIECE], strict=True)))
    await connection.execute("ANALYZE orderbook_deltas")
    market = await connection.fetchval(f"SELECT {BUSY}")
    middle = await connection.fetchval(MIDDLE)
    asked = {name: text.format(market=market, middle=middle) for name, text in QUESTIONS.items()}
    before = {name: await ask(connection, question) for name, question in asked.items()}
    await connection.fetch(COMPRESS)
    after = {name: await ask(connection, question) for name, question in asked.items()}
    stats = await connection.fetchrow(STATS)
    assert stats is not None
    count, ratio = len(rows), stats["before"] / stats["after"]
    say = sys.stdout.write
    say(f"{await connection.fetchval('SELECT version()')}\n")
    say(f"{count:,} rows: {stats['before'] / count:.0f} bytes a row (heap {stats['heap'] / count:.0f}, indexes "
        f"{stats['key'] / count:.0f}) become {stats['after'] / count:.1f}: "
        f"ratio {ratio:.1f}, budget {BUDGET:.0f}\n")  # fmt: skip
    for name in asked:
        same = before[name][0] == after[name][0]
        say(f"  {name}: {len(after[name][0])} rows, {before[name][1]:.1f} ms before, {after[name][1]:.1f} ms after"
            f"{'' if same else ', ANOTHER ANSWER'}\n")  # fmt: skip
    for line in await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) {asked['a minute of it']}"):
        say(f"    {line[0]}\n")
    await connection.close()
    return ratio >= BUDGET and all(before[name][0] == after[name][0] for name in asked)


def main() -> bool:
    """Measure in the database that the environment names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markets", type=int, default=9, help="how many of the recorded ones")
    options = parser.parse_args()
    url = os.environ["KALSHI_TEST_TIMESCALE_URL"]
    rows = asyncio.run(tape_rows(options.markets))
    asyncio.run(prepare(url))
    migrate(url, Home.PRODUCTION)
    try:
        return asyncio.run(measure(url, rows))
    finally:
        if (carried := current_revision(url)) is not None:
            downgrade(url, Home(carried.partition("_")[0]))


if __name__ == "__main__":
    sys.exit(not main())
