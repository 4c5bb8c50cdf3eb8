"""Reading one market out of production: what it just did on the open partition, and its whole day.

As many synthetic deltas as were asked for and as the disk has room for, 5 M an hour over 50,000 markets whose shares
fall as one over the rank. The last hour is open, as writers leave it; the others are closed, as `maintain` leaves them:
in the order of their markets. People read through `people.orderbook_deltas`. Prints the plans and, for markets of each
rank, three figures: until the server has the last row in the form in which it is sent, until all are at the client, and
until Python has made values of them. The second is judged, up to as many rows as half of the recorded markets ever had.

    python benchmarks/queries.py --rows 100000000
"""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from statistics import median

import asyncpg

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home
from kalshi_platform.database.closing import close_partitions
from kalshi_platform.database.migrations import migrate
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.database.statistics import better_statistics
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

MARKETS = 50_000
HOUR_ROWS = 5_000_000
BYTES_A_ROW = 220  # heap 101, key 77, index by ticker 4 to 30 while it is open
ROOM_BESIDE = 12 * 2**30  # WAL, sorting, the copy of an hour; and something for others
RANKS = (1, 3, 10, 30, 100, 200, 300, 1000, 3000, 10_000, 30_000, 50_000)
JUDGED_ROWS = 52_000  # the median market of the gold15m tape
RUNS, LONG_MS = 7, 5_000.0
BUDGET_RECENT_MS, BUDGET_DAY_MS = 10.0, 100.0
WRITERS = 2
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
SIZES = """
SELECT relname, pg_total_relation_size(oid) / reltuples FROM pg_class
WHERE relname LIKE $1 AND relkind = 'r' AND reltuples > $2 ORDER BY relname
"""
DAY = "SELECT * FROM people.orderbook_deltas WHERE ticker = $1 AND exchange_ts >= $2 AND exchange_ts < $3"


@dataclass(frozen=True, slots=True)
class Reading:
    """One market's figures, milliseconds: at the server, at the client, as values of Python."""

    rank: int
    rows: int
    server: float
    arrived: float
    decoded: float


def say(line: str) -> None:
    """A line, now: whoever watches wants to know how far it is."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def ticker(rank: int) -> str:
    """The market of a rank, 1 being the busiest."""
    return f"KXBENCHMARK-26NOV21-T{rank:05}"


async def fill(url: str, hours: int, day: datetime) -> int:
    """Hours of traffic; all but the last are closed as `maintain` does it."""
    connection = await asyncpg.connect(url)
    await ensure_partitions(connection, ORDERBOOK_DELTAS, [day.date()])
    await better_statistics(connection, [ORDERBOOK_DELTAS], day)  # as `maintain` does
    left = iter(range(hours))
    await asyncio.gather(*(_write(url, day, left) for _ in range(min(WRITERS, hours))))
    for hour in range(1, hours):
        started, mark = time.perf_counter(), day + timedelta(hours=hour)
        closed = await close_partitions(connection, [ORDERBOOK_DELTAS], {ORDERBOOK_DELTAS.name: mark})
        say(f"closed {', '.join(closed.finished)} in {time.perf_counter() - started:.1f} s")
    await connection.execute(
        f"ANALYZE orderbook_deltas_{day:%Y%m%d}_{hours - 1:02}"
    )  # as autovacuum does at every fiftieth
    for name, size in await connection.fetch(SIZES, f"orderbook_deltas_{day:%Y%m%d}_%", HOUR_ROWS * 0.9):
        say(f"  {name}: {size:.0f} bytes a row")
    rows: int = await connection.fetchval("SELECT count(*) FROM orderbook_deltas")
    await connection.close()
    return rows


async def _write(url: str, day: datetime, left: Iterator[int]) -> None:
    """One hour after another, until none is left."""
    connection = await asyncpg.connect(url)
    step, batch = timedelta(hours=1) / HOUR_ROWS, HOUR_ROWS // 20
    for hour in left:
        started = time.perf_counter()
        await connection.execute("SELECT setseed($1)", hour / 24)
        for start in range(0, HOUR_ROWS, batch):
            await connection.execute(FILL, start, start + batch, day + timedelta(hours=hour), step)
            with suppress(asyncpg.LockNotAvailableError):  # a vacuum does the same just now
                await connection.execute("SELECT kalshi_index_recent('orderbook_deltas')")
        say(f"wrote hour {hour}: {HOUR_ROWS / (time.perf_counter() - started):,.0f} rows/s")
    await connection.close()


async def read(
    connection: asyncpg.Connection, query: str, ranks: Sequence[int], start: datetime, end: datetime
) -> list[Reading]:
    """Each market's figures, medians of warm runs; of fewer where millions of rows take long."""
    readings: list[Reading] = []
    for rank in ranks:
        arguments = (ticker(rank), start, end)

        async def at_the_server(arguments: tuple[object, ...] = arguments) -> float:
            explain = f"EXPLAIN (ANALYZE, TIMING OFF, SERIALIZE BINARY, FORMAT JSON) {query}"
            plan = json.loads(await connection.fetchval(explain, *arguments))
            return float(plan[0]["Planning Time"]) + float(plan[0]["Execution Time"])

        async def arrived(arguments: tuple[object, ...] = arguments) -> float:
            started = time.perf_counter()
            await connection.copy_from_query(query, *arguments, output=BytesIO(), format="binary")
            return (time.perf_counter() - started) * 1000

        async def decoded(arguments: tuple[object, ...] = arguments) -> float:
            started = time.perf_counter()
            await connection.fetch(query, *arguments)
            return (time.perf_counter() - started) * 1000

        rows = len(await connection.fetch(query, *arguments))
        figures = [await _median(one) for one in (at_the_server, arrived, decoded)]
        readings.append(Reading(rank, rows, *figures))
    return readings


async def _median(one: Callable[[], Awaitable[float]]) -> float:
    times: list[float] = [await one()]
    while (len(times) <= RUNS and sum(times) < LONG_MS) or len(times) < 2:
        times.append(await one())
    return median(times[1:])


async def show(connection: asyncpg.Connection, query: str, rank: int, start: datetime, end: datetime) -> None:
    """The plan of one market's query, with its buffers."""
    plan = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {query}", ticker(rank), start, end)
    lines = [str(row[0]) for row in plan]
    shown = [*lines[:24], f"  … {len(lines) - 28} lines …", *lines[-4:]] if len(lines) > 30 else lines
    say(f"  the plan of rank {rank}:")
    say("\n".join(f"    {line}" for line in shown))


def verdict(name: str, readings: Sequence[Reading], budget: float) -> bool:
    """Print every market's figures; true where those of as many rows as are judged are within the budget."""
    say(f"{name}:\n  rank      rows   server ms  at client ms  in Python ms")
    for one in readings:
        say(f"  {one.rank:>6} {one.rows:>8} {one.server:>10.1f} {one.arrived:>13.1f} {one.decoded:>13.1f}")
    judged = [one for one in readings if one.rows <= JUDGED_ROWS]
    worst = max(one.arrived for one in judged)
    is_good = worst <= budget
    much = len(readings) - len(judged)
    aside = f" ({much} markets of more than {JUDGED_ROWS:,} rows are shown, not judged)" if much else ""
    say(f"{name}: at the client after {worst:.1f} ms at the worst, budget {budget:.0f} ms: "
        f"{'ok' if is_good else 'ABOVE'}{aside}")  # fmt: skip
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
        for rank in (30, 1000):
            await show(connection, query, rank, start, end)
    await connection.close()
    return good


def main() -> bool:
    """Measure on one embedded server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000, help="how many, if the disk has room")
    parser.add_argument("--folder", type=Path, default=None, help="where the server lies; a temporary folder else")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever stops it does not want to keep the database
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        room = max(0, shutil.disk_usage(folder).free - ROOM_BESIDE) // BYTES_A_ROW
        hours = min(max(2, min(options.rows, room) // HOUR_ROWS), 24)
        say(f"{hours} hours of {HOUR_ROWS:,} rows; the disk has room for {room:,}")
        day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        server = EmbeddedPostgres(Path(folder) / "postgres", settings=SETTINGS)
        try:
            server.start()
            server.create_database("production")
            url = server.url("production")
            migrate(url, Home.PRODUCTION)
            rows = asyncio.run(fill(url, hours, day))
            say(f"{rows:,} deltas of {MARKETS:,} markets in {hours} hours, the last one open")
            return asyncio.run(judge(url, hours, day))
        finally:
            server.delete()


if __name__ == "__main__":
    sys.exit(not main())
