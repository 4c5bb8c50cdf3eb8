"""The partitions that a database has, with the moments between which their rows lie.

Here belongs finding them: native partitions, and chunks where the table is TimescaleDB's. Kept out: making them
(`partitions`), finishing them (`closing`), dropping them (`retention`).
"""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from kalshi_platform.core.schema import Table

_NATIVE = """
SELECT c.relname, bound[1]::timestamptz AS starts, bound[2]::timestamptz AS ends
FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid JOIN pg_class AS p ON p.oid = inhparent,
     regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''(.+)''\\) TO \\(''(.+)''\\)') AS bound
WHERE p.relname = $1 AND p.relkind = 'p' AND p.relnamespace = 'public'::regnamespace
AND bound IS NOT NULL  -- somebody's own default partition is never finished, and never due
ORDER BY starts
"""
_CHUNKS = """
SELECT chunk_schema AS schema, chunk_name AS relname, range_start AS starts, range_end AS ends, is_compressed
FROM timescaledb_information.chunks
WHERE hypertable_schema = 'public' AND hypertable_name = $1 ORDER BY range_start
"""
_IS_HYPERTABLE = "SELECT relkind = 'r' FROM pg_class WHERE relname = $1 AND relnamespace = 'public'::regnamespace"


@dataclass(frozen=True, slots=True)
class Partition:
    """Rows of one table with start <= time < end.

    Attributes:
        table: The table that it is part of.
        name: Its own name.
        schema: Where it lies.
        is_chunk: Whether it is TimescaleDB's.
        is_compressed: Whether its rows are in TimescaleDB's columnstore.
    """

    table: Table
    name: str
    start: datetime
    end: datetime
    schema: str = "public"
    is_chunk: bool = False
    is_compressed: bool = False

    @property
    def qualified(self) -> str:
        """Its name with its schema."""
        return f"{self.schema}.{self.name}"


async def is_hypertable(connection: asyncpg.Connection, table: Table) -> bool:
    """Whether a stream table is TimescaleDB's."""
    return bool(await connection.fetchval(_IS_HYPERTABLE, table.name))


async def partitions_of(connection: asyncpg.Connection, table: Table) -> list[Partition]:
    """The partitions of a stream table, earliest first."""
    if await is_hypertable(connection, table):
        return [
            Partition(
                table,
                record["relname"],
                record["starts"],
                record["ends"],
                record["schema"],
                is_chunk=True,
                is_compressed=record["is_compressed"],
            )
            for record in await connection.fetch(_CHUNKS, table.name)
        ]
    return [
        Partition(table, record["relname"], record["starts"], record["ends"])
        for record in await connection.fetch(_NATIVE, table.name)
    ]
