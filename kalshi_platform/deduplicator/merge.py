"""One merge: a window's rows and the cursor behind them, in one transaction on production.

A crash at any point leaves either both or neither. Production may commit asynchronously: rows and cursor vanish
together, and are read again. Kept out: when to merge, and from whom.
"""

import time
from dataclasses import dataclass, field, replace
from functools import partial

import asyncpg

from kalshi_platform.core.schema import TRADES, Home, Table
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.partitions import PartitionKeeper
from kalshi_platform.deduplicator.conflicts import note_conflicts
from kalshi_platform.deduplicator.cursors import Cursor, CursorRow
from kalshi_platform.deduplicator.late import mark_stale_hours
from kalshi_platform.deduplicator.shards import WHOLE, Shard
from kalshi_platform.deduplicator.source import Copied, knows
from kalshi_platform.deduplicator.window import Window


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did.

    Attributes:
        new: Rows that production did not have.
        conflicts: Rows that it had with another content, and that were not noted before.
        turn_seconds: For how long nobody else could insert into the table.
    """

    new: int
    conflicts: int = 0
    turn_seconds: float = field(default=0.0, compare=False)


class Merger:
    """Merges one gatherer's table over one connection to production.

    Args:
        production: A connection of this merger's own.
        gatherer_id: Whose rows they are.
        table: Which table.
        shard: Which part of it.
    """

    def __init__(self, production: asyncpg.Connection, gatherer_id: str, table: Table, shard: Shard = WHOLE) -> None:
        self._production = production
        self._gatherer_id = gatherer_id
        self._table = table
        # one trade id may come under two markets, and so to two shards: who comes later must see the other's
        part = "" if shard == WHOLE or table is TRADES else str(shard)
        self._stage = Stage(table, Home.PRODUCTION, part)
        self._cursor = CursorRow(production, gatherer_id, table, shard)
        self._partitions = PartitionKeeper()

    async def cursor(self, source: asyncpg.Connection) -> Cursor:
        """Where the last merge ended."""
        return await self._cursor.read(partial(knows, source))

    async def merge(self, expected: Cursor, source: str, window: Window, copied: Copied) -> Merged:
        """Insert a window's rows and move the cursor.

        Args:
            expected: The cursor that the window was chosen from.
            source: What the window was read from.
            window: What was read.
            copied: Its rows.

        Raises:
            CursorMovedError: Where somebody else has moved the cursor meanwhile; nothing is changed then.
        """
        if copied.count:
            await self._partitions.ensure(self._production, self._table, copied.days)
        merged, began = Merged(0), time.monotonic()
        async with self._production.transaction():
            await self._cursor.lock(expected)
            if copied.count:
                await self._stage.load(self._production, copied.rows)
                await self._stage.take_turn(self._production)
                began = time.monotonic()
                merged = await self._insert(window)
            await self._cursor.move(source, window, copied.count, merged.new)
        return replace(merged, turn_seconds=time.monotonic() - began)

    async def _insert(self, window: Window) -> Merged:
        await mark_stale_hours(self._production, self._table, self._stage.staged)
        new = await self._stage.insert_loaded(self._production)
        conflicts = await note_conflicts(self._production, self._table, self._stage.staged, self._gatherer_id, window)
        return Merged(new, conflicts)
