"""Dropping partitions that are older than their policy, and only those whose rows are proven to be in the lake.

Nothing is dropped on anybody's word: every file is read again, its hash and rows compared with its proof, and the
partition is counted hour by hour while nobody can write to it. Kept out: how a file is read, which the caller brings.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from kalshi_platform.core.schema import Table
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.database.forgetting import witness_floor
from kalshi_platform.database.ordering import copy_name
from kalshi_platform.database.partition_list import Partition, partitions_of
from kalshi_platform.database.progress import make_durable
from kalshi_platform.database.proofs import Proof, note_dropped, proofs_between, unproven_hours

FaultOf = Callable[[Proof], str]
"""Reads a proof's file again: what is wrong with it, or nothing."""

_KEEP_DAYS = "SELECT table_name, keep_days FROM table_policies WHERE keep_days IS NOT NULL"
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '500ms'"
_CURSOR = """
SELECT next_xid::text::bigint AS next_xid FROM sync_progress
WHERE gatherer_id = $1 AND table_name = $2 AND source = $3
"""
_DROP_CHUNK = "SELECT drop_chunks($1::text::regclass, newer_than => $2::timestamptz, older_than => $3::timestamptz)"
_FORGET_BATCHES = """
DELETE FROM ingest_batches
WHERE table_name = $1 AND (max_ts < $2 OR row_count = 0 AND max_ts IS NULL AND written_at < $2)
AND ingest_xid < $3::text::xid8
"""
_CUT_BATCHES = """
UPDATE ingest_batches AS batch SET min_ts = $2,
    row_count = (SELECT count(*) FROM {table} AS row WHERE row.ingest_xid = batch.ingest_xid)
WHERE table_name = $1 AND min_ts < $2 AND max_ts >= $2
"""
_SHOWN = 3
_IN_USE = "it is being read or written; the next pass tries again"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one partition that is older than its policy.

    Attributes:
        name: The partition.
        rows: Rows that it held, where they were counted.
        kept_because: Why it was kept; empty where it was dropped.
    """

    name: str
    rows: int
    kept_because: str = ""

    @property
    def is_in_use(self) -> bool:
        """Whether somebody was reading or writing; the table's other partitions would fare no better now."""
        return self.kept_because == _IN_USE


async def due_partitions(connection: asyncpg.Connection, tables: Sequence[Table], now: datetime) -> list[Partition]:
    """The partitions all of whose rows are older than their table's policy."""
    keep_days = {record["table_name"]: record["keep_days"] for record in await connection.fetch(_KEEP_DAYS)}
    return [
        partition
        for table in tables
        if table.name in keep_days
        for partition in await partitions_of(connection, table)
        if partition.end <= now - timedelta(days=keep_days[table.name])
    ]


async def drop_proven(connection: asyncpg.Connection, partition: Partition, fault_of: FaultOf) -> Verdict:
    """Drop a partition of production if every hour of it is proven, and its files are what was proven.

    Needs the tables' owner. Waits at most half a second for readers and writers, so that nobody waits long for it.
    """
    proofs = await proofs_between(connection, partition.table, partition.start, partition.end)
    if faults := [fault for proof in proofs if (fault := fault_of(proof))]:
        return Verdict(partition.name, 0, _some(faults))

    async def objection(counts: Mapping[datetime, int]) -> str:
        return _unproven(unproven_hours(proofs, counts, partition.start, partition.end))

    async def note() -> None:
        await note_dropped(connection, partition.table, partition.start, partition.end)

    return await _drop_unless(connection, partition, objection, note)


async def drop_merged(
    connection: asyncpg.Connection,
    partition: Partition,
    gatherer_id: str,
    production: asyncpg.Connection,
    fault_of: FaultOf,
) -> Verdict:
    """Drop a gatherer's partition if production has merged every row of it, and every row there is proven as well.

    The record of its batches goes with it, so that a production that reads everything again misses nothing that is
    there; but for those by which the cursors know this database again. Drop the earliest partition first: batches are
    forgotten up to its end.

    Args:
        connection: To the gatherer's database, as the tables' owner.
        partition: What to drop.
        gatherer_id: Under which name production reads this database.
        production: To production, as anybody who may read its cursors and proofs.
        fault_of: Reads a proof's file again.
    """
    proofs = await proofs_between(production, partition.table, partition.start, partition.end)
    if faults := [fault for proof in proofs if (fault := fault_of(proof))]:
        return Verdict(partition.name, 0, _some(faults))
    source = await source_identity(connection)

    async def is_merged() -> bool:
        newest = await connection.fetchval(
            f"SELECT ingest_xid::text::bigint FROM {partition.qualified} ORDER BY ingest_xid DESC LIMIT 1"  # noqa: S608
        )
        cursor = await production.fetchrow(_CURSOR, gatherer_id, partition.table.name, source)
        return newest is None or (cursor is not None and cursor["next_xid"] > newest)

    # production's rows of a day take long to count, so that is done before nobody can write here. It is as safe: what
    # is dropped are the rows of `seen`, for the count under the lock must be the same, and production had merged those
    # before it was counted. A row that came since keeps the partition; one that another gatherer brought is not dropped
    seen = await _rows_of(connection, partition)
    if not await is_merged():
        return Verdict(partition.name, sum(seen.values()), f"production has not merged all of it from {gatherer_id}")
    if reason := await _unproven_of(production, partition, proofs, seen):
        return Verdict(partition.name, sum(seen.values()), reason)

    floor = 0

    async def objection(counts: Mapping[datetime, int]) -> str:
        nonlocal floor
        if counts != seen or not await is_merged():
            return _IN_USE
        floor = await witness_floor(production, gatherer_id, source) or 0
        await make_durable(production)  # floor and cursor
        return ""

    async def forget() -> None:
        await connection.execute(_FORGET_BATCHES, partition.table.name, partition.end, str(floor))
        await connection.execute(_CUT_BATCHES.format(table=partition.table.name), partition.table.name, partition.end)

    return await _drop_unless(connection, partition, objection, forget)


async def _unproven_of(
    production: asyncpg.Connection, partition: Partition, proofs: Sequence[Proof], counts: Mapping[datetime, int]
) -> str:
    """Which hours of a gatherer's partition are not proven; nothing where all are.

    An hour is not, either, where production has merged more of it since its file was made.
    """
    standing = [proof for proof in proofs if proof.dropped_at is None]
    start = min([partition.start, *(proof.window_start for proof in standing)])
    end = max([partition.end, *(proof.window_end for proof in standing)])
    held = await _rows_by_hour(production, partition.table, partition.table.name, start, end)
    late = unproven_hours(standing, held, start, end)
    return _unproven([hour for hour in counts if hour in late or not any(proof.covers(hour) for proof in proofs)])


async def _drop_unless(
    connection: asyncpg.Connection,
    partition: Partition,
    objection: Callable[[Mapping[datetime, int]], Awaitable[str]],
    afterwards: Callable[[], Awaitable[None]],
) -> Verdict:
    """Drop a partition unless there is an objection, which is heard while nobody can write to it.

    Args:
        connection: As the tables' owner, in no transaction.
        partition: What to drop.
        objection: Given the rows of each hour (by its start); says why the partition must stay, or nothing.
        afterwards: What must be written down in the same transaction.
    """
    try:
        async with connection.transaction():
            await connection.execute(_LOCK_TIMEOUT)
            await connection.execute(f"LOCK TABLE {partition.qualified} IN SHARE MODE")
            counts = await _rows_of(connection, partition)
            if reason := await objection(counts):
                return Verdict(partition.name, sum(counts.values()), reason)
            await _drop(connection, partition)
            await afterwards()
    except asyncpg.LockNotAvailableError:
        return Verdict(partition.name, 0, _IN_USE)
    return Verdict(partition.name, sum(counts.values()))


async def _drop(connection: asyncpg.Connection, partition: Partition) -> None:
    if partition.is_chunk:
        await connection.fetch(_DROP_CHUNK, partition.table.name, partition.start, partition.end)
        return
    await connection.execute(f"ALTER TABLE {partition.table.name} DETACH PARTITION {partition.name}")
    await connection.execute(f"DROP TABLE {partition.name}")
    await connection.execute(f"DROP TABLE IF EXISTS {copy_name(partition)}")  # one that has waited for its place


async def _rows_of(connection: asyncpg.Connection, partition: Partition) -> dict[datetime, int]:
    return await _rows_by_hour(connection, partition.table, partition.qualified, partition.start, partition.end)


async def _rows_by_hour(
    connection: asyncpg.Connection, table: Table, relation: str, start: datetime, end: datetime
) -> dict[datetime, int]:
    """How many rows of each hour, by its start, a table or a partition of it has with start <= time < end."""
    time = table.time_column
    records = await connection.fetch(
        f"SELECT date_trunc('hour', {time}, 'UTC') AS hour, count(*) AS rows FROM {relation} "  # noqa: S608
        f"WHERE {time} >= $1 AND {time} < $2 GROUP BY 1 ORDER BY 1",
        start,
        end,
    )
    return {record["hour"].astimezone(UTC): record["rows"] for record in records}


def _unproven(hours: Sequence[datetime]) -> str:
    if not hours:
        return ""
    return _some([f"{hour:%Y-%m-%d %H:00} is not proven to be in the lake" for hour in hours])


def _some(reasons: Sequence[str]) -> str:
    more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return "; ".join(reasons[:_SHOWN]) + more
