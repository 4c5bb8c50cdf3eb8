"""Reading one market out of production: what it just did on the open partition, and its whole day.

As many synthetic deltas as were asked for and as the disk has room for, 5 M an hour over 50,000 markets whose shares
fall as one over the rank. The last hour is open, as writers leave it; the others are closed, as `maintain` leaves them.
People read through `people.orderbook_deltas`. Prints each rank's figures, until the last row is decoded and until the
server has it, and the plans. With `--covered`, closed hours get an index that holds whole rows (docs/operations.md).

    python benchmarks/queries.py --rows 100000000 [--covered]
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import asyncpg

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home
from kalshi_platform.database.closing import close_partitions
from kalshi_platform.database.migrations import migrate
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

MARKETS = 50_000
HOUR_ROWS = 5_000_000
BYTES_A_ROW = 320  # heap 109, key 78, index by ticker about 60, and room for sorting and WAL
RANKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 50_000)
RUNS, LONG_MS = 7, 10_000.0
BUDGET_RECENT_MS, BUDGET_DAY_MS = 10.0, 100.0
SETTINGS = {"shared_buffers": "2GB", "max_wal_size": "8GB", "effective_cache_size": "8GB", "random_page_cost": "1.1"}

FILL = f"""
INSERT INTO orderbook_deltas
SELECT at, 'KXBENCHMARK-26NOV21-T' || lpad((floor({MARKETS + 1} ^ random()))::int::text, 5, '0'), n % 2 = 0,
       (n * 7919 % 999 + 1) * 1000, n % 2000 * 100 + 1, 0, 0, n, at + interval '12 ms'
FROM generate_series($1::bigint, $2::bigint - 1) AS n,
     LATERAL (SELECT date_trunc('milliseconds', $3::timestamptz + n * $4::interval) AS at) AS moment
ON CONFLICT DO NOTHING
"""  # noqa: S608 - a constant
RECENT = """
SELECT * FROM people.orderbook_deltas WHERE ticker = $1 AND exchange_ts >= $2 AND exchange_ts < $3
ORDER BY exchange_ts DESC LIMIT 100
"""
COVER = """
CREATE INDEX CONCURRENTLY {name}_day ON {name} (ticker, exchange_ts)
INCLUDE (side, price, size_delta, occurrence, position, seq, received_at)
"""
DAY = "SELECT * FROM people.orderbook_deltas WHERE ticker = $1 AND exchange_ts >= $2 AND exchange_ts < $3"


@dataclass(frozen=True, slots=True)
class Reading:
    """One market's figures."""

    rank: int
    rows: int
    milliseconds: float
    server_milliseconds: float


def ticker(rank: int) -> str:
    """The market of a rank, 1 being the busiest."""
    return f"KXBENCHMARK-26NOV21-T{rank:05}"


async def fill(url: str, hours: int, day: datetime) -> int:
    """Hours of traffic; all but the last are closed as `maintain` does it."""
    connection = await asyncpg.connect(url)
    await ensure_partitions(connection, ORDERBOOK_DELTAS, [day.date()])
    await connection.execute("SELECT setseed(0.5)")
    step, batch = timedelta(hours=1) / HOUR_ROWS, HOUR_ROWS // 20
    for hour in range(hours):
        started = time.perf_counter()
        for start in range(0, HOUR_ROWS, batch):
            await connection.execute(FILL, start, start + batch, day + timedelta(hours=hour), step)
            with suppress(asyncpg.LockNotAvailableError):  # a vacuum does the same just now
                await connection.execute("SELECT kalshi_index_recent('orderbook_deltas')")
        sys.stdout.write(f"hour {hour}: {HOUR_ROWS / (time.perf_counter() - started):,.0f} rows/s\n")
        sys.stdout.flush()
    started = time.perf_counter()
    mark = day + timedelta(hours=hours - 1)
    closed = await close_partitions(connection, [ORDERBOOK_DELTAS], {ORDERBOOK_DELTAS.name: mark})
    sys.stdout.write(f"closed {len(closed)} partitions in {time.perf_counter() - started:.0f} s\n")
    await connection.execute(f"ANALYZE orderbook_deltas_{mark:%Y%m%d_%H}")  # as autovacuum does while it grows
    rows: int = await connection.fetchval("SELECT count(*) FROM orderbook_deltas")
    await connection.close()
    return rows


async def cover(url: str, hours: int, day: datetime) -> None:
    """An index that holds whole rows, on every hour that is closed."""
    connection = await asyncpg.connect(url)
    started = time.perf_counter()
    for hour in range(hours - 1):
        name = f"orderbook_deltas_{day:%Y%m%d}_{hour:02}"
        await connection.execute(COVER.format(name=name))
        await connection.execute(f"VACUUM {name}")
        size: str = await connection.fetchval(
            "SELECT pg_size_pretty(pg_relation_size($1::text::regclass))", f"{name}_day"
        )
    sys.stdout.write(f"covered in {time.perf_counter() - started:.0f} s, {size} an hour\n")
    await connection.close()


async def read(
    connection: asyncpg.Connection, query: str, ranks: Sequence[int], start: datetime, end: datetime
) -> list[Reading]:
    """Each market's median of several warm runs, result rows fetched; of fewer where millions of rows take long."""
    readings: list[Reading] = []
    for rank in ranks:
        times: list[float] = []
        rows: list[asyncpg.Record] = []
        while (len(times) <= RUNS and sum(times) < LONG_MS) or len(times) < 2:
            started = time.perf_counter()
            rows = await connection.fetch(query, ticker(rank), start, end)
            times.append((time.perf_counter() - started) * 1000)
        readings.append(
            Reading(rank, len(rows), median(times[1:]), await at_the_server(connection, query, rank, start, end))
        )
    return readings


async def at_the_server(connection: asyncpg.Connection, query: str, rank: int, start: datetime, end: datetime) -> float:
    """Milliseconds until the server has the last row, before anything is sent and decoded; median of warm runs."""
    times = []
    for _ in range(3):
        explain = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}"
        plan = json.loads(await connection.fetchval(explain, ticker(rank), start, end))
        times.append(float(plan[0]["Execution Time"]))
    return median(times)


async def show(connection: asyncpg.Connection, query: str, rank: int, start: datetime, end: datetime) -> None:
    """The plan of one market's query, with its buffers."""
    plan = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {query}", ticker(rank), start, end)
    lines = [str(row[0]) for row in plan]
    shown = [*lines[:24], f"  … {len(lines) - 28} lines …", *lines[-4:]] if len(lines) > 30 else lines
    sys.stdout.write("".join(f"    {line}\n" for line in shown))


def verdict(name: str, readings: Sequence[Reading], budget: float) -> bool:
    """Print every market's figures; true where those that a person can wait for are within the budget."""
    for one in readings:
        sys.stdout.write(
            f"  rank {one.rank:>6}: {one.rows:>8} rows {one.milliseconds:>9.2f} ms, "
            f"of which at the server {one.server_milliseconds:>9.2f} ms\n"
        )
    judged = [one for one in readings if one.rows <= 10_000]
    worst = max(one.milliseconds for one in judged)
    is_good = worst <= budget
    much = len(readings) - len(judged)
    aside = f" ({much} markets of more than 10,000 rows are shown, not judged)" if much else ""
    sys.stdout.write(f"{name}: worst {worst:.2f} ms, budget {budget:.0f} ms: {'ok' if is_good else 'ABOVE'}{aside}\n")
    return is_good


async def judge(url: str, hours: int, day: datetime) -> bool:
    """Both questions, with plans."""
    connection = await asyncpg.connect(url)
    end = day + timedelta(hours=hours)
    # each question is planned for its own values, as a person's session does
    await connection.execute("SET plan_cache_mode = force_custom_plan")
    good = True
    for name, query, start, budget in (
        ("last five minutes of one market", RECENT, end - timedelta(minutes=5), BUDGET_RECENT_MS),
        ("one market's day", DAY, day, BUDGET_DAY_MS),
    ):
        good &= verdict(name, await read(connection, query, RANKS, start, end), budget)
        await show(connection, query, 100, start, end)
    await connection.close()
    return good


def main() -> bool:
    """Measure on one embedded server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000, help="how many, if the disk has room")
    parser.add_argument("--folder", type=Path, default=None, help="where the server lies; a temporary folder else")
    parser.add_argument("--covered", action="store_true", help="an index of whole rows on closed hours")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        room = max(0, shutil.disk_usage(folder).free - 20 * 2**30) // BYTES_A_ROW
        hours = min(max(2, min(options.rows, room) // HOUR_ROWS), 24)
        day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        server = EmbeddedPostgres(Path(folder) / "postgres", settings=SETTINGS)
        try:
            server.start()
            server.create_database("production")
            url = server.url("production")
            migrate(url, Home.PRODUCTION)
            rows = asyncio.run(fill(url, hours, day))
            if options.covered:
                asyncio.run(cover(url, hours, day))
            sys.stdout.write(f"{rows:,} deltas of {MARKETS:,} markets in {hours} hours\n")
            return asyncio.run(judge(url, hours, day))
        finally:
            server.delete()


if __name__ == "__main__":
    sys.exit(not main())
