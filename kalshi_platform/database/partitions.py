"""Partitions of each stream table: one per UTC day or 24 of an hour, made before the first row of the day arrives.

The database function `kalshi_ensure_partition` makes them, as `table_policies` says, without stopping writers; callers
need no right to create tables. Here belongs asking for them, once per day. Kept out: finding them (`partition_list`)
and dropping them (`retention`).
"""

from collections.abc import Iterable
from datetime import date, timedelta

import asyncpg

from kalshi_platform.core.schema import STREAM_TABLES, Table

_ENSURE = "SELECT count(*) FILTER (WHERE kalshi_ensure_partition($1, day)) FROM unnest($2::date[]) AS day"


def partition_name(table: Table, day: date) -> str:
    """Name of a table's partition of one UTC day; those of an hour add `_07` and so on."""
    return f"{table.name}_{day:%Y%m%d}"


async def ensure_partitions(connection: asyncpg.Connection, table: Table, days: Iterable[date]) -> int:
    """Make the partitions of these UTC days where they are missing; returns for how many days it made some.

    Call it outside of a transaction. Inside one, others who make partitions of this table wait for its end, and a
    transaction that has touched the table before may not see a partition that somebody else has made since.
    """
    made: int = await connection.fetchval(_ENSURE, table.name, sorted(set(days)))
    return made


async def ensure_ahead(connection: asyncpg.Connection, today: date, days: int = 2) -> int:
    """Make the partitions of today and the days after it, of every stream table, so that midnight finds them there."""
    ahead = [today + timedelta(days=offset) for offset in range(days)]
    return sum([await ensure_partitions(connection, table, ahead) for table in STREAM_TABLES])


class PartitionKeeper:
    """Remembers which partitions are there, so that a hot path asks the database once per table and day.

    One keeper serves one database.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, date]] = set()

    async def ensure(self, connection: asyncpg.Connection, table: Table, days: Iterable[date]) -> None:
        """Make sure that the partitions of these UTC days are there."""
        unknown = [day for day in days if (table.name, day) not in self._known]
        if not unknown:
            return
        await ensure_partitions(connection, table, unknown)
        if not connection.is_in_transaction():  # else a rollback would take them away again
            self._known.update((table.name, day) for day in unknown)

    def forget(self) -> None:
        """Ask the database again: after partitions were dropped, or the database was replaced."""
        self._known.clear()
