"""Rows of a gatherer that came out of a dump get transaction ids of the server that holds them now.

The deduplicator reads ids in their order, below the oldest transaction that runs (docs/cursor.md). A dump brings the
ids of another server. Those that this one has passed already are read like any others; those that it has yet to give
out would wait until it has, and then meet its own. Kept out: the schema (`migrations`).
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from kalshi_platform.core.schema import CAPTURE_TABLES, STREAM_TABLES, Table

FOREIGN = "its rows came out of a dump, with transaction ids that this server has yet to give out"
RENUMBER_IT = "run `kalshi-platform migrate gatherer`, which gives them others"
"""What `has_foreign_ids` means, in words, and what to do."""

_PIECE_ROWS = 50_000
_PIECE_BATCHES = 1000

# ids of rows that can be seen are below xmax, unless another server gave them out
_AHEAD = "ingest_xid >= pg_snapshot_xmax(pg_current_snapshot())"
_ANY = f"""
SELECT EXISTS (SELECT FROM unnest($1::text[]) AS name, LATERAL (
    SELECT ingest_xid FROM ingest_batches WHERE table_name = name ORDER BY ingest_xid DESC LIMIT 1
) AS newest WHERE {_AHEAD})
"""  # noqa: S608 - ours
_NEXT = f"""
SELECT ingest_xid::text AS xid, row_count, min_ts, max_ts, heard_until FROM ingest_batches
WHERE table_name = $1 AND {_AHEAD} ORDER BY ingest_xid LIMIT {_PIECE_BATCHES}
"""  # noqa: S608 - ours
# TimescaleDB refuses to unpack more than 100,000 rows of compressed chunks in one transaction
_NO_LIMIT = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name = 'timescaledb.max_tuples_decompressed_per_dml_transaction'
"""
_ONE_AT_A_TIME = "SELECT pg_advisory_lock(hashtext('kalshi_platform'), hashtext('migrate'))"
_NEXT_ONE = "SELECT pg_advisory_unlock(hashtext('kalshi_platform'), hashtext('migrate'))"
_FORGET = "DELETE FROM ingest_batches WHERE table_name = $1 AND ingest_xid BETWEEN $2::text::xid8 AND $3::text::xid8"
_ROWS = """
UPDATE {table} SET ingest_xid = pg_current_xact_id()
WHERE ingest_xid BETWEEN $1::text::xid8 AND $2::text::xid8 AND {time} BETWEEN $3 AND $4
"""
_RECORD = "INSERT INTO ingest_batches (table_name, row_count, min_ts, max_ts, heard_until) VALUES ($1, $2, $3, $4, $5)"
_NOTES = f"UPDATE {{table}} SET ingest_xid = pg_current_xact_id() WHERE {_AHEAD}"  # noqa: S608 - ours


class _TakenError(Exception):
    """Somebody else has taken batches away meanwhile."""


class _Batches(NamedTuple):
    """Batches that become one."""

    number: int
    first: str
    last: str
    rows: int
    min_ts: datetime | None
    max_ts: datetime | None
    heard_until: datetime | None


async def has_foreign_ids(connection: asyncpg.Connection) -> bool:
    """Whether a gatherer's database has ids that its server has yet to give out."""
    return bool(await connection.fetchval(_ANY, [table.name for table in STREAM_TABLES]))


async def renumber(connection: asyncpg.Connection, on_piece: Callable[[int], None]) -> int:
    """Give every such row an id of this server, in the old order; returns how many rows of streams they were.

    Whoever is killed here goes on with the next call. Who comes while another is at it, or migrates, waits.

    Args:
        connection: To a gatherer's database that nobody writes to, as the tables' owner, in no transaction.
        on_piece: Told of the rows of each piece, once it is committed.
    """
    await connection.execute(_ONE_AT_A_TIME)
    try:
        return await _renumber_all(connection, on_piece) if await has_foreign_ids(connection) else 0
    finally:
        if not connection.is_closed():
            await connection.execute(_NEXT_ONE)


async def _renumber_all(connection: asyncpg.Connection, on_piece: Callable[[int], None]) -> int:
    renumbered = 0
    for table in CAPTURE_TABLES:
        await connection.execute(_NOTES.format(table=table.name))
    for table in STREAM_TABLES:
        while True:
            try:
                rows = await _renumber_piece(connection, table)
            except asyncpg.UniqueViolationError:
                continue  # its new id is one that a batch still has, which is thereby passed; try the next id
            except _TakenError:
                continue
            if rows is None:
                break
            renumbered += rows
            on_piece(rows)
    return renumbered


async def _renumber_piece(connection: asyncpg.Connection, table: Table) -> int | None:
    """About as many rows as the deduplicator merges at once; None where none are left."""
    async with connection.transaction():
        await connection.execute(_NO_LIMIT)
        batches = _together(await connection.fetch(_NEXT, table.name))
        if batches is None:
            return None
        forgotten = await connection.execute(_FORGET, table.name, batches.first, batches.last)
        if forgotten != f"DELETE {batches.number}":
            raise _TakenError
        if batches.min_ts is not None:
            update = _ROWS.format(table=table.name, time=table.time_column)
            await connection.execute(update, batches.first, batches.last, batches.min_ts, batches.max_ts)
        await connection.execute(_RECORD, table.name, *batches[3:])
    return batches.rows


def _together(records: Sequence[asyncpg.Record]) -> _Batches | None:
    taken: list[asyncpg.Record] = []
    rows = 0
    for record in records:
        if taken and rows + record["row_count"] > _PIECE_ROWS:
            break
        taken.append(record)
        rows += record["row_count"]
    if not taken:
        return None
    return _Batches(
        len(taken),
        taken[0]["xid"],
        taken[-1]["xid"],
        rows,
        min((one["min_ts"] for one in taken if one["min_ts"]), default=None),
        max((one["max_ts"] for one in taken if one["max_ts"]), default=None),
        max((one["heard_until"] for one in taken if one["heard_until"]), default=None),
    )
