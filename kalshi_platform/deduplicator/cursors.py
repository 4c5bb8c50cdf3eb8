"""How far a gatherer's table is merged, as production keeps it: one row, or one for each shard.

The rows of one gatherer and table are cut for one number of shards at a time. Whoever comes with another number cuts
them anew, from the earliest of the old ones: what lies before it is merged, whatever the shard, and what is read again
is known. A merge that began with the old rows finds them gone. docs/cursor.md has the argument. Kept out: merging.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import Table
from kalshi_platform.deduplicator.shards import WHOLE, Shard
from kalshi_platform.deduplicator.window import Window, Witness


class CursorMovedError(IntegrityError):
    """Somebody else has moved the cursor, or cut it anew: it is read again."""


Knows = Callable[[Witness], Awaitable[bool]]

_COLUMNS = "source, next_xid::text::bigint AS next_xid, watermark, witness"
_READ = f"""
SELECT {_COLUMNS} FROM sync_cursors WHERE gatherer_id = $1 AND table_name = $2 AND shard = $3 AND shards = $4
"""  # noqa: S608 - ours
_LOCK = f"{_READ} FOR UPDATE"
_MOVE = """
UPDATE sync_cursors SET
    source = $5, next_xid = $6::text::xid8, watermark = greatest(watermark, $7), witness = $8,
    rows_read = rows_read + $9, rows_merged = rows_merged + $10, updated_at = now()
WHERE gatherer_id = $1 AND table_name = $2 AND shard = $3 AND shards = $4
"""
_ONE_CUTS = "SELECT pg_advisory_xact_lock(hashtext('kalshi_cursors'), hashtext($1 || ' ' || $2))"
_LOCK_ALL = f"""
SELECT shards, {_COLUMNS} FROM sync_cursors
WHERE gatherer_id = $1 AND table_name = $2 AND shard <= shards ORDER BY shard FOR UPDATE
"""  # noqa: S608 - ours
_CUT = """
INSERT INTO sync_cursors (gatherer_id, table_name, shard, shards, source, next_xid, watermark, witness,
                          rows_read, rows_merged)
SELECT $1, $2, number, $3::int, $4, $5::text::xid8, $6, $7, 0, 0 FROM generate_series(1, $3::int) AS number
ON CONFLICT (gatherer_id, table_name, shard) DO UPDATE SET
    shards = excluded.shards, source = excluded.source, next_xid = excluded.next_xid,
    watermark = excluded.watermark, witness = excluded.witness
"""
_RETIRE = """
UPDATE sync_cursors SET shards = $3, source = '', next_xid = '0', watermark = NULL, witness = NULL
WHERE gatherer_id = $1 AND table_name = $2 AND shard > $3
"""
_BEGIN = """
INSERT INTO sync_cursors (gatherer_id, table_name, shard, shards, source, next_xid, rows_read, rows_merged)
SELECT $1, $2, number, $3::int, '', '0', 0, 0 FROM generate_series(1, $3::int) AS number
WHERE NOT EXISTS (SELECT FROM sync_cursors WHERE gatherer_id = $1 AND table_name = $2)
"""
_TOUCH = "UPDATE sync_cursors SET updated_at = now() WHERE gatherer_id = $1 AND table_name = $2"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one gatherer's table is merged, or a shard of it.

    Attributes:
        source: Cluster, timeline and database that `next_xid` belongs to; empty before the first merge.
        next_xid: First transaction not yet merged.
        watermark: Exchange time up to which all that was heard is merged.
        witness: The last batch that was merged, by which the source is known again.
    """

    source: str
    next_xid: int
    watermark: datetime | None
    witness: Witness | None = None

    def on(self, source: str) -> "Cursor":
        """This cursor as it applies to `source`: another cluster or database is read from its beginning."""
        return self if source == self.source else Cursor(self.source, 0, self.watermark)


BEGINNING = Cursor("", 0, None)
"""Before anything was merged."""


def together(cursors: Sequence[Cursor], *, one_history: bool) -> Cursor:
    """How far all shards are merged: the earliest of their cursors, witness and all.

    Args:
        cursors: One for each shard.
        one_history: Whether the source has the witness of every one; else some have read what a restore has undone, and
            ids are not to be compared.
    """
    if not cursors:
        return BEGINNING
    marks = [cursor.watermark for cursor in cursors]
    watermark = None if None in marks else min(mark for mark in marks if mark is not None)
    earliest = min(cursors, key=lambda cursor: cursor.next_xid)
    if not one_history or any(cursor.source != earliest.source for cursor in cursors):
        return Cursor("", 0, watermark)
    return Cursor(earliest.source, earliest.next_xid, watermark, earliest.witness)


class CursorRow:
    """The cursor of one gatherer's table, or of one shard of it, over one connection to production."""

    def __init__(self, production: asyncpg.Connection, gatherer_id: str, table: Table, shard: Shard = WHOLE) -> None:
        self._production = production
        self._shard = shard
        self._names = (gatherer_id, table.name)
        self._key = (*self._names, shard.number, shard.of)

    async def read(self, knows: Knows) -> Cursor:
        """Where the last merge ended; there is a row for it from now on, so that it can be locked.

        Args:
            knows: Asks the source whether it has a batch; asked where the rows are cut for another number of shards.
        """
        record = await self._production.fetchrow(_READ, *self._key)
        if record is None:
            await self._cut(knows)
            record = await self._production.fetchrow(_READ, *self._key)
        return BEGINNING if record is None else _cursor(record)

    async def lock(self, expected: Cursor) -> None:
        """Hold the row until the transaction ends.

        Raises:
            CursorMovedError: Where it is not as expected.
        """
        record = await self._production.fetchrow(_LOCK, *self._key)
        if record is None or _cursor(record) != expected:
            raise CursorMovedError(f"the cursor of {self._names} was moved by another deduplicator; reading it again")

    async def move(self, source: str, window: Window, read: int, merged: int) -> None:
        """Put it behind a window, in the transaction that has locked it."""
        witness = str(window.witness) if window.witness else None
        await self._production.execute(
            _MOVE, *self._key, source, str(window.next_xid), window.heard_until, witness, read, merged
        )

    async def _cut(self, knows: Knows) -> None:
        """Cut the rows for as many shards as ours is one of, unless somebody has done so meanwhile."""
        async with self._production.transaction():
            await self._production.execute(_ONE_CUTS, *self._names)
            records = await self._production.fetch(_LOCK_ALL, *self._names)
            if len(records) == self._shard.of and all(one["shards"] == self._shard.of for one in records):
                return
            cursors = [_cursor(record) for record in records]
            known = [await knows(cursor.witness) for cursor in cursors if cursor.witness]
            start = together(cursors, one_history=all(known))
            witness = str(start.witness) if start.witness else None
            await self._production.execute(
                _CUT, *self._names, self._shard.of, start.source, str(start.next_xid), start.watermark, witness
            )
            await self._production.execute(_RETIRE, *self._names, self._shard.of)


async def expect(production: asyncpg.Connection, gatherer_id: str, table: Table, shard: Shard = WHOLE) -> None:
    """Have a cursor for a gatherer that is configured, so that one that was never merged is waited for too.

    It counts as heard of now: whoever does not come is waited for as long as anybody who falls silent.
    """
    names = (gatherer_id, table.name)
    async with production.transaction():
        await production.execute(_ONE_CUTS, *names)
        await production.execute(_BEGIN, *names, shard.of)
        await production.execute(_TOUCH, *names)


def _cursor(record: asyncpg.Record) -> Cursor:
    return Cursor(record["source"], record["next_xid"], record["watermark"], Witness.of(record["witness"]))
