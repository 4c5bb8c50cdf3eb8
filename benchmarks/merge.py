"""Merge of three gatherers with 66 % duplicates, against the bare COPY → staging → insert pipe without any cursor.

Its rate is told as well, because it has a budget: twenty times the 6,000 rows/s that the platform must carry.

Run: python benchmarks/merge.py
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from statistics import median

import asyncpg
from measure import ratio

from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Home, Table
from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.migrations import migrate
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.database.writer import TableWriter, WriterRow
from kalshi_platform.deduplicator.sync import Pace, SyncLoop
from kalshi_platform.service.metrics import DeduplicatorMetrics
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

T0 = 1_795_219_200_000_000
ROWS = 100_000
SOURCES = ("one", "two", "three")
LEAST_RATE = 20 * 6_000
RATES: list[float] = []
"""Rows a second of each of our rounds."""


class Nobody:
    """A writer's listener."""

    def written(self, table: Table, rows: list[WriterRow], new: int, queued: int) -> None:
        """Say nothing."""

    def failed(self, table: Table, error: Exception) -> None:
        """Give up."""
        raise error


def waits() -> Iterator[float]:
    """Try again at once."""
    while True:
        yield 0.0


async def fill(url: str) -> None:
    """What a gatherer holds."""
    writer = TableWriter(url, ORDERBOOK_DELTAS, Nobody(), lambda: None, waits)
    for n in range(ROWS):
        writer.add(DeltaRow(T0 + n // 10 * 1000, f"KXBENCH-T{n % 997}", n % 2 == 0, n % 999 * 1000, n, 0, 0, n, 1, T0))
    writer.close()
    await writer.run()


async def merge(urls: dict[str, str], production: str) -> int:
    """Our loops, until everything is read."""
    await _empty(production)
    loops = [
        SyncLoop(
            name, url, production, ORDERBOOK_DELTAS, Pace(0.001, 50_000), DeduplicatorMetrics(), waits, lambda: 0.0
        )
        for name, url in urls.items()
    ]
    stop, started = asyncio.Event(), time.perf_counter()
    connection = await asyncpg.connect(production)
    async with asyncio.TaskGroup() as tasks:
        for loop in loops:
            tasks.create_task(loop.run(stop))
        while await connection.fetchval("SELECT coalesce(sum(rows_read), 0) FROM sync_cursors") < ROWS * len(urls):
            await asyncio.sleep(0.01)
        RATES.append(ROWS * len(urls) / (time.perf_counter() - started))
        stop.set()
    assert await connection.fetchval("SELECT count(*) FROM orderbook_deltas") == ROWS
    await connection.close()
    return ROWS * len(urls)


async def pipe(urls: dict[str, str], production: str) -> int:
    """The same rows through the same statements, with nothing that makes it exact."""
    await _empty(production)
    await asyncio.gather(*(_pipe(url, production) for url in urls.values()))
    return ROWS * len(urls)


async def _pipe(url: str, production: str) -> None:
    source, target = await asyncpg.connect(url), await asyncpg.connect(production)
    stage = Stage(ORDERBOOK_DELTAS, Home.PRODUCTION)
    columns = ", ".join(column.name for column in ORDERBOOK_DELTAS.written_columns(Home.PRODUCTION))
    for start in range(0, ROWS, 50_000):
        first, last = datetime_from_us(T0 + start // 10 * 1000), datetime_from_us(T0 + (start + 50_000) // 10 * 1000)
        rows = BytesIO()

        async def keep(piece: bytes, rows: BytesIO = rows) -> None:
            rows.write(piece)

        query = f"SELECT {columns} FROM orderbook_deltas WHERE exchange_ts >= $1 AND exchange_ts < $2"  # noqa: S608
        await source.copy_from_query(query, first, last, output=keep, format="binary")
        rows.seek(0)
        async with target.transaction():
            await stage.insert_new_encoded(target, rows)
    await source.close()
    await target.close()


async def _empty(production: str) -> None:
    connection = await asyncpg.connect(production)
    await connection.execute("TRUNCATE orderbook_deltas, sync_cursors")
    await ensure_partitions(connection, ORDERBOOK_DELTAS, [datetime_from_us(T0).date()])
    await connection.close()


def main() -> bool:
    """Measure on one embedded server."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        try:
            server.start()
            for name in (*SOURCES, "production"):
                server.create_database(name)
                migrate(server.url(name), Home.PRODUCTION if name == "production" else Home.GATHERER)
            urls = {name: server.url(name) for name in SOURCES}
            for url in urls.values():
                asyncio.run(fill(url))
            is_fair = ratio(
                "merge of three sources, 66 % duplicates",
                lambda: asyncio.run(merge(urls, server.url("production"))),
                lambda: asyncio.run(pipe(urls, server.url("production"))),
                of="the bare pipe",
                budget=0.8,
            )
            rate = median(RATES)
            sys.stdout.write(f"{rate:,.0f} rows/s of the sources, budget {LEAST_RATE:,}\n")
            return is_fair and rate >= LEAST_RATE
        finally:
            server.delete()


if __name__ == "__main__":
    sys.exit(not main())
