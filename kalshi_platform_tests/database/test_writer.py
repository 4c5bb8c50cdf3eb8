"""Writers: batches, claims, back-pressure, and databases that say no for a while."""

import asyncio
from collections.abc import Iterator, Sequence

import asyncpg
import pytest

from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Table
from kalshi_platform.database.writer import TableWriter, WriterRow
from kalshi_platform_tests.queries import fetch, value

T0 = 1_795_219_200_000_000
_COUNT = "SELECT count(*) FROM orderbook_deltas"


def _row(number: int) -> DeltaRow:
    return DeltaRow(T0 + number * 1000, "KXA", True, 500_000, 100, 0, 0, number, 1, T0)


class Witness:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.errors: list[Exception] = []

    def written(self, table: Table, rows: Sequence[WriterRow], new: int, queued: int) -> None:
        """Remember a batch."""
        self.batches.append(len(rows))

    def failed(self, table: Table, error: Exception) -> None:
        """Remember a failure."""
        self.errors.append(error)


def _writer(url: str, witness: Witness, heard: int | None = None) -> TableWriter:
    return TableWriter(url, ORDERBOOK_DELTAS, witness, lambda: heard, _waits)


async def test_rows_are_written_in_batches_with_a_record_of_each(gatherer_database: str) -> None:
    """The record counts what was new and bounds its times; only the last batch claims how far was heard."""
    witness = Witness()
    writer = _writer(gatherer_database, witness, heard=T0 + 99_000_000)
    for number in range(12_000):
        writer.add(_row(number))
    writer.close()
    await writer.run()
    assert witness.batches[:3] == [5000, 5000, 2000]
    records = await fetch(
        gatherer_database,
        "SELECT row_count, heard_until IS NOT NULL AS claims, max_ts - min_ts AS span FROM ingest_batches "
        "WHERE row_count > 0 ORDER BY ingest_xid",
    )
    assert [(record["row_count"], record["claims"]) for record in records] == [
        (5000, False),
        (5000, False),
        (2000, True),
    ]
    assert records[0]["span"].total_seconds() == pytest.approx(4.999)
    assert await value(gatherer_database, "SELECT count(DISTINCT ingest_xid) FROM orderbook_deltas") == 3


async def test_known_rows_change_nothing_and_leave_no_record(gatherer_database: str) -> None:
    """A replay of what is there already says nothing to the deduplicator."""
    for _ in range(2):
        writer = _writer(gatherer_database, Witness())
        for number in range(100):
            writer.add(_row(number))
        writer.close()
        await writer.run()
    assert await value(gatherer_database, _COUNT) == 100
    assert await value(gatherer_database, "SELECT count(*) FROM ingest_batches") == 1


async def test_a_quiet_writer_still_says_how_far_was_heard(gatherer_database: str) -> None:
    """Its heartbeat moves the watermark."""
    writer = _writer(gatherer_database, Witness(), heard=T0)
    work = asyncio.create_task(writer.run())
    async with asyncio.timeout(10):
        while await value(gatherer_database, "SELECT count(*) FROM ingest_batches WHERE row_count = 0") < 1:
            await asyncio.sleep(0.05)
    writer.close()
    await work


async def test_a_database_that_becomes_read_only_costs_no_row(gatherer_database: str) -> None:
    """As after a failover: the writer waits, tries again, and everything is there in the end."""
    name = gatherer_database.rsplit("/", 1)[1]
    await fetch(gatherer_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    witness = Witness()
    writer = _writer(gatherer_database, witness)
    work = asyncio.create_task(writer.run())
    for number in range(200):
        writer.add(_row(number))
    async with asyncio.timeout(20):
        while len(witness.errors) < 3:
            await asyncio.sleep(0.01)
    assert isinstance(witness.errors[0], asyncpg.ReadOnlySQLTransactionError)
    await fetch(f"{gatherer_database}?default_transaction_read_only=off", f"ALTER DATABASE {name} RESET ALL")
    writer.close()
    await asyncio.wait_for(work, 20)
    assert await value(gatherer_database, _COUNT) == 200


async def test_a_full_queue_asks_its_callers_to_wait(gatherer_database: str) -> None:
    """Above the high mark there is no room; below the low mark there is again."""
    writer = _writer(gatherer_database, Witness())
    for number in range(100_000):
        writer.add(_row(number))
    assert not writer.has_room
    assert writer.queued == 100_000
    work = asyncio.create_task(writer.run())
    await asyncio.wait_for(writer.room(), 30)
    assert 0 < writer.queued <= 50_000
    writer.close()
    await asyncio.wait_for(work, 60)
    assert await value(gatherer_database, _COUNT) == 100_000


def _waits() -> Iterator[float]:
    while True:
        yield 0.02
