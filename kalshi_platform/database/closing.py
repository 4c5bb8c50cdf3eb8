"""Finishing partitions to which nothing more will be added: their index by ticker, statistics, frozen rows.

A finished partition says so in its comment. Nobody is stopped meanwhile, and a late row is still welcome. Kept out:
when a partition is closed, which the watermark says.
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from kalshi_platform.core.schema import Table
from kalshi_platform.database.partition_list import Partition, partitions_of

_FINISHED = "Closed: indexed, analysed and frozen."
_FINISHED_NAMES = """
SELECT c.relname FROM pg_description JOIN pg_class AS c ON c.oid = objoid
WHERE classoid = 'pg_class'::regclass AND objsubid = 0 AND description = $1
"""
_MERGE_INDEX = """
SELECT gin_clean_pending_list(i.indexrelid) FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_am AS a ON a.oid = x.relam WHERE a.amname = 'gin' AND i.indrelid = $1::text::regclass
"""


async def close_partitions(
    connection: asyncpg.Connection, tables: Sequence[Table], marks: dict[str, datetime | None]
) -> list[str]:
    """Finish every partition that ends at or before its table's watermark; returns the names of those it finished.

    Needs the tables' owner, and no transaction. Whoever is killed here has done nothing that hinders the next call.
    """
    known = {record["relname"] for record in await connection.fetch(_FINISHED_NAMES, _FINISHED)}
    finished: list[str] = []
    for table in tables:
        mark = marks.get(table.name)
        for partition in await partitions_of(connection, table):
            if mark is not None and partition.end <= mark and not _is_done(partition, known):
                await _finish(connection, partition)
                finished.append(partition.name)
    return finished


def _is_done(partition: Partition, known: set[str]) -> bool:
    return partition.is_compressed or partition.name in known


async def _finish(connection: asyncpg.Connection, partition: Partition) -> None:
    await connection.execute(_MERGE_INDEX, partition.qualified)
    await connection.execute(f"VACUUM (FREEZE, ANALYZE) {partition.qualified}")
    await connection.execute(f"COMMENT ON TABLE {partition.qualified} IS '{_FINISHED}'")
