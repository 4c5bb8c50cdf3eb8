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
ORDER BY starts
"""


@dataclass(frozen=True, slots=True)
class Partition:
    """Rows of one table with start <= time < end.

    Attributes:
        table: The table that it is part of.
        name: Its own name.
    """

    table: Table
    name: str
    start: datetime
    end: datetime


async def partitions_of(connection: asyncpg.Connection, table: Table) -> list[Partition]:
    """The partitions of a stream table, earliest first."""
    return [
        Partition(table, record["relname"], record["starts"], record["ends"])
        for record in await connection.fetch(_NATIVE, table.name)
    ]
