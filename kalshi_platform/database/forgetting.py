"""What a gatherer noted beside its streams, forgotten once it is old and merged; deletion in small pieces.

Sessions, gaps and differences of books stand in production; rejected frames are for people, and stay here as long.
Of the log of batches, heartbeats go: they have no rows, and later ones say more. Nothing here touches what a cursor
of the deduplicator's leans on (`witness_floor`; the argument is in docs/cursor.md). Kept out: streams (`retention`).
"""

from collections import Counter
from datetime import datetime, timedelta

import asyncpg

from kalshi_platform.core.schema import (
    BOOK_DIFFERENCES,
    CAPTURE_GAPS,
    CAPTURE_SESSIONS,
    REJECTED_MESSAGES,
    STREAM_TABLES,
)
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.database.progress import make_durable

_HEARTBEATS_KEPT = timedelta(days=1)
_PIECE = 10_000
"""Rows in one transaction: a long one would hold back what the deduplicator may read."""

_ENDS = {
    CAPTURE_SESSIONS.name: "ended_at",
    CAPTURE_GAPS.name: "until_at",
    BOOK_DIFFERENCES.name: "compared_at",
    REJECTED_MESSAGES.name: "received_at",
}
"""By table: the time after which a row says nothing more; one that is open has none, and stays."""

_LONGEST = """
SELECT CASE WHEN bool_and(keep_days IS NOT NULL) THEN max(keep_days) END FROM table_policies
"""
_CURSOR = """
SELECT next_xid::text::bigint FROM sync_progress WHERE gatherer_id = $1 AND table_name = $2 AND source = $3
"""
_FLOOR = """
SELECT min(split_part(witness, ' ', 2)::bigint) FROM sync_cursors
WHERE gatherer_id = $1 AND source = $2 AND witness IS NOT NULL
"""
_FORGET = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {table} WHERE {end} < $1 AND ($2::text IS NULL OR ingest_xid < $2::text::xid8) LIMIT $3
)) AND {end} < $1
"""
_NEXT_BATCHES = """
SELECT ingest_xid::text AS xid, row_count = 0 AS is_heartbeat, written_at < $4 AS is_old FROM ingest_batches
WHERE table_name = $1 AND ingest_xid > $2::text::xid8 AND ingest_xid < $3::text::xid8 ORDER BY ingest_xid LIMIT $5
"""
_FORGET_HEARTBEATS = "DELETE FROM ingest_batches WHERE table_name = $1 AND ingest_xid = ANY ($2::text[]::xid8[])"


async def witness_floor(production: asyncpg.Connection, gatherer_id: str, source: str) -> int | None:
    """The least transaction that a cursor of this gatherer's is known again by; None where none has merged anything.

    Batches from there on must stay: a source without its witness is taken for a restored one, and read from its
    beginning.
    """
    floor: int | None = await production.fetchval(_FLOOR, gatherer_id, source)
    return floor


async def forget_notes(
    connection: asyncpg.Connection, gatherer_id: str, production: asyncpg.Connection, now: datetime
) -> dict[str, int]:
    """Delete notes that are older than every stream's rows may become, and heartbeats of a day ago.

    Where a stream is kept for ever, so are the notes.

    Args:
        connection: To the gatherer's database, as the tables' owner, in no transaction.
        gatherer_id: Under which name production reads it.
        production: To production, as anybody who may read its cursors.
        now: The time.

    Returns:
        Rows by table, of those that lost any.
    """
    source = await source_identity(connection)
    forgotten: Counter[str] = Counter()
    merged = {
        name: await production.fetchval(_CURSOR, gatherer_id, name, source) or 0
        for name in _ENDS
        if name != REJECTED_MESSAGES.name
    }
    floor = await witness_floor(production, gatherer_id, source)
    await make_durable(production)
    keep_days: int | None = await connection.fetchval(_LONGEST)
    if keep_days is not None:
        for name, end in _ENDS.items():
            forgotten[name] = await _forget(connection, name, end, now - timedelta(days=keep_days), merged.get(name))
    if floor is not None:
        forgotten["ingest_batches"] = await _forget_heartbeats(connection, floor, now - _HEARTBEATS_KEPT)
    return {name: rows for name, rows in forgotten.items() if rows}


async def _forget(connection: asyncpg.Connection, table: str, end: str, before: datetime, merged: int | None) -> int:
    """Delete a table's rows that ended before a moment, and lie below the first transaction that is not merged."""
    query = _FORGET.format(table=table, end=end)
    below = None if merged is None else str(merged)
    forgotten, deleted = 0, _PIECE
    while deleted == _PIECE:
        status = await connection.execute(query, before, below, _PIECE)
        deleted = int(status.rpartition(" ")[2])
        forgotten += deleted
    return forgotten


async def _forget_heartbeats(connection: asyncpg.Connection, floor: int, before: datetime) -> int:
    forgotten = 0
    for table in STREAM_TABLES:
        after = "0"
        while True:
            batches = await connection.fetch(_NEXT_BATCHES, table.name, after, str(floor), before, _PIECE)
            old = [batch["xid"] for batch in batches if batch["is_heartbeat"] and batch["is_old"]]
            if old:
                await connection.execute(_FORGET_HEARTBEATS, table.name, old)
                forgotten += len(old)
            if len(batches) < _PIECE or not batches[-1]["is_old"]:
                break
            after = batches[-1]["xid"]
    return forgotten
