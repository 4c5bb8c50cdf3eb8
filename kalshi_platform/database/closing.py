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


class Closing(NamedTuple):
    """Names of partitions: those that were finished, and those that wait for whoever uses them."""

    finished: list[str]
    waiting: list[str]


async def close_partitions(
    connection: asyncpg.Connection,
    tables: Sequence[Table],
    marks: dict[str, datetime | None],
    large: int = LARGE,
) -> Closing:
    """Finish every partition that ends at or before its table's watermark.

    One that is in use, and must be put in order, is left to the next call. Whoever is killed here has done nothing
    that hinders it.

    Args:
        connection: As the tables' owner, in no transaction.
        tables: Whose partitions.
        marks: By table, the watermark.
        large: Bytes of a partition from which it is put in order.
    """
    known = {record["relname"] for record in await connection.fetch(_FINISHED_NAMES, _FINISHED)}
    closing = Closing([], [])
    for table in tables:
        mark = marks.get(table.name)
        for partition in await partitions_of(connection, table):
            if mark is None or partition.end > mark or _is_done(partition, known):
                continue
            is_finished = await _finish(connection, partition, large)
            (closing.finished if is_finished else closing.waiting).append(partition.name)
    return closing


def _is_done(partition: Partition, known: set[str]) -> bool:
    return partition.is_compressed or partition.name in known


async def _finish(connection: asyncpg.Connection, partition: Partition, large: int) -> bool:
    await connection.execute(_MERGE_INDEX, partition.qualified)
    size: int = await connection.fetchval(_SIZE, partition.qualified)
    if size < large or partition.is_chunk:  # TimescaleDB's are put in order when they are compressed
        await connection.execute(f"VACUUM (FREEZE, ANALYZE) {partition.qualified}")
    elif not await put_in_order(connection, partition):
        return False
    await connection.execute(f"COMMENT ON TABLE {partition.qualified} IS '{_FINISHED}'")
    return True
