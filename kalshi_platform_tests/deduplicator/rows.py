"""Gatherers with rows, and loops that merge them: what the deduplicator's tests share."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Table
from kalshi_platform.database.writer import TableWriter, WriterRow
from kalshi_platform.deduplicator.shards import WHOLE, Shard
from kalshi_platform.deduplicator.sync import Pace, SyncLoop
from kalshi_platform.service.metrics import DeduplicatorMetrics
from kalshi_platform_tests.queries import value

T0 = 1_795_219_200_000_000
"""A whole hour, µs since 1970."""

_DEADLINE = 20.0
_POLL = 0.02


class Silence:
    """A writer's listener that hears nothing; a test's database does not fail by itself."""

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """Say nothing."""

    def failed(self, table: Table, error: Exception) -> None:
        """End the test."""
        raise AssertionError(table.name) from error


def deltas(first: int, count: int, *, gatherer: int = 1) -> list[DeltaRow]:
    """Rows of one market: content by number, `seq` and receipt by gatherer."""
    return [
        DeltaRow(T0 + n * 1000, "KXA", True, 500_000, 100 + n % 7, 0, 0, gatherer * 10**6 + n, 1, T0 + gatherer)
        for n in range(first, first + count)
    ]


async def write(
    url: str, rows: Sequence[WriterRow], *, heard: int | None = None, table: Table = ORDERBOOK_DELTAS
) -> None:
    """Write rows as a gatherer does, in one or more batches."""
    writer = TableWriter(url, table, Silence(), lambda: heard, no_waits)
    for row in rows:
        writer.add(row)
    writer.close()
    await writer.run()


def sync_loops(
    sources: Mapping[str, str], production: str, *tables: Table, most_rows: int = 50_000, shard: Shard = WHOLE
) -> list[SyncLoop]:
    """Loops as the daemon makes them, without its pauses."""
    metrics = DeduplicatorMetrics()
    return [
        SyncLoop(name, url, production, table, Pace(0.01, most_rows), metrics, no_waits, lambda: 0.0, shard)
        for name, url in sources.items()
        for table in tables or (ORDERBOOK_DELTAS,)
    ]


@asynccontextmanager
async def running(loops: Sequence[SyncLoop]) -> AsyncIterator[None]:
    """Loops at work while the block runs."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for loop in loops:
            tasks.create_task(loop.run(stop))
        try:
            yield
        finally:
            stop.set()


async def until_read(sources: Mapping[str, str], production: str, *tables: Table) -> None:
    """Wait until production has read every row that the gatherers recorded."""
    deadline = asyncio.get_running_loop().time() + _DEADLINE
    for name, url in sources.items():
        for table in tables or (ORDERBOOK_DELTAS,):
            written = "SELECT coalesce(sum(row_count), 0)::bigint FROM ingest_batches WHERE table_name = $1"
            read = "SELECT coalesce(max(rows_read), 0) FROM sync_progress WHERE gatherer_id = $1 AND table_name = $2"
            while await value(url, written, table.name) != await value(production, read, name, table.name):
                assert asyncio.get_running_loop().time() < deadline, f"{name} is not read to its end"
                await asyncio.sleep(_POLL)


def no_waits() -> Iterator[float]:
    """Try again at once, and not too often."""
    for _ in range(1000):
        yield 0.01
