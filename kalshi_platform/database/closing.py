"""Finishing partitions to which nothing more will be added: index by ticker, statistics, frozen rows, their order.

A finished partition says so in its comment. Nobody is stopped meanwhile, and a late row is still welcome. Kept out:
when a partition is closed, which the watermark says, and how a large one is put in order (`ordering`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from kalshi_platform.core.schema import Table
from kalshi_platform.database.ordering import put_in_order
from kalshi_platform.database.partition_list import Partition, partitions_of

LARGE = 32 * 2**20
"""Bytes from which rows of one market lie too far apart in the order in which they came: 300,000 deltas."""

_FINISHED = "Closed: indexed, analysed and frozen."
_FINISHED_NAMES = """
SELECT c.relname FROM pg_description JOIN pg_class AS c ON c.oid = objoid
WHERE classoid = 'pg_class'::regclass AND objsubid = 0 AND description = $1
"""
_MERGE_INDEX = """
SELECT gin_clean_pending_list(i.indexrelid) FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_am AS a ON a.oid = x.relam WHERE a.amname = 'gin' AND i.indrelid = $1::text::regclass
"""
_SIZE = "SELECT pg_relation_size($1::text::regclass)"
_IN_USE = "a transaction is older, or rows still come"
_NEVER_IN_ORDER = asyncpg.InsufficientResourcesError, asyncpg.DependentObjectsStillExistError
"""No room for a copy, or somebody's view holds the partition fast: a copy each pass would be made in vain."""


class Closing(NamedTuple):
    """What became of partitions, by their names.

    Attributes:
        finished: Nothing is left to do with them.
        unsorted: Those among them that stay in the order of time, and why, where they should not.
        waiting: Those that the next call tries again, and why.
    """

    finished: list[str]
    unsorted: dict[str, str]
    waiting: dict[str, str]


async def close_partitions(
    connection: asyncpg.Connection,
    tables: Sequence[Table],
    marks: dict[str, datetime | None],
    large: int = LARGE,
) -> Closing:
    """Finish every partition that ends at or before its table's watermark.

    One that is in use, and must be put in order, is left to the next call, as is one with which the database fails:
    those behind it are finished all the same. Whoever is killed here has done nothing that hinders the next call.

    Args:
        connection: As the tables' owner, in no transaction.
        tables: Whose partitions.
        marks: By table, the watermark.
        large: Bytes of a partition from which it is put in order.

    Raises:
        PostgresError: Where the connection was lost over it.
    """
    known = {record["relname"] for record in await connection.fetch(_FINISHED_NAMES, _FINISHED)}
    closing = Closing([], {}, {})
    for table in tables:
        mark = marks.get(table.name)
        for partition in await partitions_of(connection, table):
            if mark is None or partition.end > mark or _is_done(partition, known):
                continue
            try:
                await _finish(connection, partition, large, closing)
            except asyncpg.PostgresError as error:
                if connection.is_closed():
                    raise
                closing.waiting[partition.name] = _said(error)
    return closing


def _is_done(partition: Partition, known: set[str]) -> bool:
    return partition.is_compressed or partition.name in known


async def _finish(connection: asyncpg.Connection, partition: Partition, large: int, closing: Closing) -> None:
    await connection.execute(_MERGE_INDEX, partition.qualified)
    size: int = await connection.fetchval(_SIZE, partition.qualified)
    is_sorted, hindrance = False, ""
    if size >= large and not partition.is_chunk:  # TimescaleDB's are put in order when they are compressed
        try:
            is_sorted = await put_in_order(connection, partition)
        except _NEVER_IN_ORDER as error:
            hindrance = _said(error)
        else:
            if not is_sorted:
                closing.waiting[partition.name] = _IN_USE
                return
    if not is_sorted:
        await connection.execute(f"VACUUM (FREEZE, ANALYZE) {partition.qualified}")
    await connection.execute(f"COMMENT ON TABLE {partition.qualified} IS '{_FINISHED}'")
    closing.finished.append(partition.name)
    if hindrance:
        closing.unsorted[partition.name] = hindrance


def _said(error: asyncpg.PostgresError) -> str:
    """On one line, without the server's hint, which would have dependent objects dropped as well."""
    return "; ".join(" ".join(part.split()) for part in (error.message, error.detail) if part)
