"""Writers: batches, claims, back-pressure, and databases that say no for a while."""

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from kalshi_platform.core.records import DeltaRow
from kalshi_platform.core.schema import ORDERBOOK_DELTAS, Table
from kalshi_platform.database.batching import WriterRow
from kalshi_platform.database.errors import ForeignRowsError, RowRefusedError, SpoolFullError
from kalshi_platform.database.renumbering import renumber
from kalshi_platform.database.spool import SMALLEST, Spool
from kalshi_platform.database.writer import TableWriter
from kalshi_platform_tests.queries import fetch, value
from kalshi_platform_tests.waiting import until

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


def _writer(url: str, witness: Witness, heard: int | None = None, spool: Spool | None = None) -> TableWriter:
    return TableWriter(url, ORDERBOOK_DELTAS, witness, lambda: heard, _waits, spool=spool)


async def _read_only(url: str) -> None:
    """Let a database refuse every write, as after a failover."""
    name = url.rsplit("/", 1)[1]
    await fetch(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")


async def _writable(url: str) -> None:
    name = url.rsplit("/", 1)[1]
    await fetch(f"{url}?default_transaction_read_only=off", f"ALTER DATABASE {name} RESET ALL")


async def _terminate_writers(url: str) -> None:
    await fetch(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'writer %' "
        "AND datname = current_database()",
    )


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


async def test_known_rows_among_new_ones_cost_nothing(gatherer_database: str) -> None:
    """Overlapping connections bring everything twice for a while: each row once, and the records count what was new."""
    witness = Witness()
    writer = _writer(gatherer_database, witness)
    for start in (0, 100, 50, 300):
        for number in range(start, start + 150):
            writer.add(_row(number))
    writer.close()
    await writer.run()
    assert witness.errors == []
    assert await value(gatherer_database, _COUNT) == 400
    assert await value(gatherer_database, "SELECT sum(row_count)::bigint FROM ingest_batches") == 400


async def test_a_quiet_writer_still_says_how_far_was_heard(gatherer_database: str) -> None:
    """Its heartbeat moves the watermark."""
    writer = _writer(gatherer_database, Witness(), heard=T0)
    work = asyncio.create_task(writer.run())
    await until(lambda: value(gatherer_database, "SELECT count(*) FROM ingest_batches WHERE row_count = 0"))
    writer.close()
    await work


async def test_a_database_that_becomes_read_only_costs_no_row(gatherer_database: str) -> None:
    """As after a failover: the writer waits, tries again, and everything is there in the end."""
    await _read_only(gatherer_database)
    witness = Witness()
    writer = _writer(gatherer_database, witness)
    work = asyncio.create_task(writer.run())
    for number in range(200):
        writer.add(_row(number))
    await until(lambda: len(witness.errors) >= 3)
    assert isinstance(witness.errors[0], asyncpg.ReadOnlySQLTransactionError)
    await _writable(gatherer_database)
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


_ORDER = "SELECT seq FROM orderbook_deltas ORDER BY ingest_xid, seq"
ROOMY = 256 * 2**20


async def test_while_the_database_is_away_rows_go_to_the_spool_and_come_back_in_order(
    tmp_path: Path, gatherer_database: str
) -> None:
    """Callers never wait meanwhile, and nothing claims what is not in the database."""
    witness = Witness()
    async with Spool(tmp_path, ROOMY) as spool:
        writer = _writer(gatherer_database, witness, heard=T0 + 99_000_000, spool=spool)
        work = asyncio.create_task(writer.run())
        writer.add(_row(0))
        await until(lambda: witness.batches)
        await _read_only(gatherer_database)
        await _terminate_writers(gatherer_database)
        claims = "SELECT count(*) FROM ingest_batches WHERE heard_until IS NOT NULL"
        before = await value(gatherer_database, claims)
        for number in range(1, 30_001):
            writer.add(_row(number))
        await until(lambda: writer.spooled == 30_000)
        assert writer.has_room
        assert writer.queued == 0
        await until(lambda: len(witness.errors) > 3)
        assert await value(gatherer_database, claims) == before
        await _writable(gatherer_database)
        for number in range(30_001, 31_001):
            writer.add(_row(number))
        await until(lambda: writer.spooled == 0 and writer.queued == 0)
        writer.close()
        await asyncio.wait_for(work, 20)
    written = [record["seq"] for record in await fetch(gatherer_database, _ORDER)]
    assert written == list(range(31_001))
    drained = await value(gatherer_database, "SELECT max(ingest_xid)::text FROM orderbook_deltas WHERE seq <= 30000")
    claimed = "SELECT ingest_xid::text::bigint AS xid FROM ingest_batches WHERE heard_until IS NOT NULL ORDER BY 1"
    later = [one["xid"] for one in (await fetch(gatherer_database, claimed))[before:]]
    assert all(xid > int(drained) for xid in later), (drained, later, before)


async def test_a_writer_stopped_during_an_outage_leaves_its_rows_to_the_next(
    tmp_path: Path, gatherer_database: str
) -> None:
    """Stopping does not wait for the database, and the next process drains first."""
    await _read_only(gatherer_database)
    async with Spool(tmp_path, ROOMY) as spool:
        writer = _writer(gatherer_database, Witness(), spool=spool)
        work = asyncio.create_task(writer.run())
        for number in range(500):
            writer.add(_row(number))
        writer.close()
        await asyncio.wait_for(work, 20)
        assert writer.spooled == 500
    await _writable(gatherer_database)
    async with Spool(tmp_path, ROOMY) as spool:
        writer = _writer(gatherer_database, Witness(), heard=T0, spool=spool)
        for number in range(500, 600):
            writer.add(_row(number))
        writer.close()
        await asyncio.wait_for(writer.run(), 20)
        assert writer.spooled == 0
    assert [record["seq"] for record in await fetch(gatherer_database, _ORDER)] == list(range(600))
    batches = await fetch(gatherer_database, "SELECT row_count, heard_until FROM ingest_batches ORDER BY ingest_xid")
    assert (batches[0]["row_count"] >= 500, batches[0]["heard_until"]) == (True, None)
    assert batches[-1]["heard_until"] is not None


async def test_draining_twice_adds_nothing(tmp_path: Path, gatherer_database: str) -> None:
    """As after a kill between the commit and the removal."""
    await _read_only(gatherer_database)
    async with Spool(tmp_path / "one", ROOMY) as spool:
        writer = _writer(gatherer_database, Witness(), spool=spool)
        for number in range(300):
            writer.add(_row(number))
        writer.close()
        await asyncio.wait_for(writer.run(), 20)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    await _writable(gatherer_database)
    for name in ("one", "two"):
        async with Spool(tmp_path / name, ROOMY) as spool:
            writer = _writer(gatherer_database, Witness(), spool=spool)
            writer.close()
            await asyncio.wait_for(writer.run(), 20)
            assert writer.spooled == 0
    assert await value(gatherer_database, _COUNT) == 300
    assert await value(gatherer_database, "SELECT sum(row_count)::bigint FROM ingest_batches") == 300


async def test_when_the_spool_is_full_callers_wait_and_nothing_is_dropped(
    tmp_path: Path, gatherer_database: str
) -> None:
    """The last line: back-pressure, and an error that names the setting."""
    await _read_only(gatherer_database)
    witness = Witness()
    async with Spool(tmp_path, SMALLEST) as spool:
        writer = _writer(gatherer_database, witness, spool=spool)
        work = asyncio.create_task(writer.run())
        number = 0
        while writer.has_room:
            for _ in range(1000):
                writer.add(_row(number))
                number += 1
            await asyncio.sleep(0)
        await until(lambda: any(isinstance(error, SpoolFullError) for error in witness.errors))
        assert 0 < writer.spooled < number
        assert writer.spooled + writer.queued <= number
        assert not writer.has_room
        await _writable(gatherer_database)
        await asyncio.wait_for(writer.room(), 30)
        writer.close()
        await asyncio.wait_for(work, 60)
        assert writer.spooled == 0
    assert await value(gatherer_database, _COUNT) == number


@pytest.mark.parametrize("is_spooled", [False, True], ids=["straight", "through the spool"])
async def test_a_row_that_the_database_refuses_stops_nobody(
    tmp_path: Path, gatherer_database: str, is_spooled: bool
) -> None:
    """It goes whole to the rejected messages with the reason; all the others go where they belong."""
    witness = Witness()
    poisoned = [
        _row(7)._replace(price=1_000_001),  # the database's check
        _row(8)._replace(ticker="KX\x00A"),  # text that PostgreSQL cannot hold
        _row(9)._replace(exchange_ts=T0 + 10**18),  # a day that has no partition
    ]
    if is_spooled:
        await _read_only(gatherer_database)
    async with Spool(tmp_path, ROOMY) as spool:
        writer = _writer(gatherer_database, witness, heard=T0, spool=spool)
        work = asyncio.create_task(writer.run())
        for number in range(1000):
            writer.add(_row(number))
            if number % 400 == 0:
                writer.add(poisoned[number // 400])
        if is_spooled:
            await until(lambda: writer.spooled == 1003)
            await _writable(gatherer_database)
        await until(lambda: len([e for e in witness.errors if isinstance(e, RowRefusedError)]) == 3)
        writer.close()
        await asyncio.wait_for(work, 30)
    assert [record["seq"] for record in await fetch(gatherer_database, _ORDER)] == list(range(1000))
    rejected = await fetch(gatherer_database, "SELECT reason, detail, raw FROM rejected_messages")
    assert {record["reason"] for record in rejected} == {"refused_by_database"}
    assert any("price_within_a_dollar" in record["detail"] for record in rejected)
    kept = [json.loads(record["raw"]) for record in rejected]
    assert sorted((one["seq"], one["ticker"]) for one in kept) == [(7, "KXA"), (8, "KX\x00A"), (9, "KXA")]
    assert next(one for one in kept if one["seq"] == 7)["price"] == 1_000_001


async def test_a_partition_that_was_dropped_is_no_fault_of_the_rows(gatherer_database: str) -> None:
    """It is made again; no row is rejected."""
    witness = Witness()
    writer = _writer(gatherer_database, witness)
    work = asyncio.create_task(writer.run())
    writer.add(_row(0))
    await until(lambda: witness.batches)
    await fetch(gatherer_database, "DROP TABLE orderbook_deltas_20261121")
    writer.add(_row(1))
    await until(lambda: len(witness.batches) == 2)
    writer.close()
    await asyncio.wait_for(work, 20)
    assert witness.errors == []
    assert await value(gatherer_database, _COUNT) == 1
    assert await value(gatherer_database, "SELECT count(*) FROM rejected_messages") == 0


@pytest.mark.slow
async def test_a_database_that_hangs_counts_as_away(tmp_path: Path, gatherer_database: str) -> None:
    """Somebody holds a lock for ever: after a while the rows go to disk, and callers never wait."""
    witness = Witness()
    blocker = await asyncpg.connect(gatherer_database)
    transaction = blocker.transaction()
    await transaction.start()
    await blocker.execute("LOCK TABLE orderbook_deltas IN ACCESS EXCLUSIVE MODE")
    async with Spool(tmp_path, ROOMY) as spool:
        writer = _writer(gatherer_database, witness, spool=spool)
        work = asyncio.create_task(writer.run())
        for number in range(100):
            writer.add(_row(number))
        await until(lambda: writer.spooled == 100)
        assert writer.has_room
        await transaction.rollback()
        await blocker.close()
        await until(lambda: writer.spooled == 0)
        writer.close()
        await asyncio.wait_for(work, 20)
    assert await value(gatherer_database, _COUNT) == 100


def _waits() -> Iterator[float]:
    while True:
        yield 0.02


async def test_a_dump_in_the_databases_place_gets_nothing_before_it_is_renumbered(
    tmp_path: Path, gatherer_database: str
) -> None:
    """Else a sound row meets the key of a batch that another server wrote, and would count as refused."""
    await fetch(
        gatherer_database,
        "INSERT INTO ingest_batches (table_name, row_count, ingest_xid) SELECT 'orderbook_deltas', 0, "
        "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + n + n / 500 * 1000000000)::text::xid8 "
        "FROM generate_series(1, 500) AS n",
    )
    witness = Witness()
    async with Spool(tmp_path, ROOMY) as spool:
        writer = _writer(gatherer_database, witness, spool=spool)
        work = asyncio.create_task(writer.run())
        for number in range(100):
            writer.add(_row(number))
        await until(lambda: writer.spooled == 100 or (not writer.queued and witness.batches))
        assert isinstance(witness.errors[0], ForeignRowsError)
        owner = await asyncpg.connect(gatherer_database)
        await renumber(owner, lambda _rows: None)
        await owner.close()
        await until(lambda: writer.spooled == 0)
        writer.close()
        await work
    assert await value(gatherer_database, _COUNT) == 100
    assert await value(gatherer_database, "SELECT count(*) FROM rejected_messages") == 0
