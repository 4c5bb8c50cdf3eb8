"""One merge: a window's rows and the cursor behind them, in one transaction on production.

A crash at any point leaves either both or neither. Production may commit asynchronously: rows and cursor vanish
together, and are read again. Kept out: when to merge, and from whom.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import BytesIO

import asyncpg

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import Table
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.partitions import PartitionKeeper
from kalshi_platform.deduplicator.conflicts import note_conflicts
from kalshi_platform.deduplicator.late import mark_stale_hours
from kalshi_platform.deduplicator.window import Window, Witness

_READ = """
SELECT source, next_xid::text::bigint AS next_xid, watermark, witness FROM sync_cursors
WHERE gatherer_id = $1 AND table_name = $2
"""
_LOCK = f"{_READ} FOR UPDATE"
_MOVE = """
INSERT INTO sync_cursors AS old (gatherer_id, table_name, source, next_xid, watermark, rows_read, rows_merged, witness)
VALUES ($1, $2, $3, $4::text::xid8, $5, $6, $7, $8)
ON CONFLICT (gatherer_id, table_name) DO UPDATE SET
    source = excluded.source, next_xid = excluded.next_xid, witness = excluded.witness,
    watermark = greatest(old.watermark, excluded.watermark),
    rows_read = old.rows_read + excluded.rows_read, rows_merged = old.rows_merged + excluded.rows_merged,
    updated_at = now()
"""
_EXPECT = """
INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, rows_read, rows_merged)
SELECT gatherer_id, table_name, '', '0', 0, 0 FROM unnest($1::text[], $2::text[]) AS one (gatherer_id, table_name)
ON CONFLICT (gatherer_id, table_name) DO UPDATE SET updated_at = now()
"""


_BEGIN = """
INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, rows_read, rows_merged)
VALUES ($1, $2, '', '0', 0, 0) ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one gatherer's table is merged.

    Attributes:
        source: Cluster, timeline and database that `next_xid` belongs to; empty before the first merge.
        next_xid: First transaction not yet merged.
        witness: The last batch that was merged, by which the source is known again.
    """

    source: str
    next_xid: int
    watermark: datetime | None
    witness: Witness | None = None

    def on(self, source: str) -> "Cursor":
        """This cursor as it applies to `source`: another cluster or database is read from its beginning."""
        return self if source == self.source else Cursor(self.source, 0, self.watermark)


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did.

    Attributes:
        new: Rows that production did not have.
        conflicts: Rows that it had with another content, and that were not noted before.
    """

    new: int
    conflicts: int = 0


async def expect_gatherers(production: asyncpg.Connection, gatherers: list[str], tables: list[str]) -> None:
    """Have a cursor for every gatherer that is configured, so that one that was never merged is waited for too.

    All of them count as heard of now: whoever does not come is waited for as long as anybody who falls silent.
    """
    await production.execute(_EXPECT, gatherers, tables)


class Merger:
    """Merges one gatherer's table over one connection to production.

    Args:
        production: A connection of this merger's own.
        gatherer_id: Whose rows they are.
        table: Which table.
    """

    def __init__(self, production: asyncpg.Connection, gatherer_id: str, table: Table, stage: Stage) -> None:
        self._production = production
        self._names = (gatherer_id, table.name)
        self._table = table
        self._stage = stage
        self._partitions = PartitionKeeper()

    async def cursor(self) -> Cursor:
        """Where the last merge ended; there is a row for it from now on, so that it can be locked."""
        record = await self._production.fetchrow(_READ, *self._names)
        if record is None:
            await self._production.execute(_BEGIN, *self._names)
        return _cursor(record)

    async def merge(self, expected: Cursor, source: str, window: Window, rows: BytesIO | None, count: int) -> Merged:
        """Insert a window's rows and move the cursor.

        Args:
            expected: The cursor that the window was chosen from.
            source: What the window was read from.
            window: What was read.
            rows: Its rows in binary COPY format; None where it has none.
            count: How many rows they are.

        Raises:
            IntegrityError: Where somebody else has moved the cursor meanwhile; nothing is changed then.
        """
        if window.min_ts is not None and window.max_ts is not None:
            await self._partitions.ensure(self._production, self._table, _days(window.min_ts, window.max_ts))
        async with self._production.transaction():
            found = _cursor(await self._production.fetchrow(_LOCK, *self._names))
            if found != expected:
                raise IntegrityError(f"the cursor of {self._names} was moved by another deduplicator; reading it again")
            merged = Merged(0) if rows is None else await self._insert(window, rows)
            witness = str(window.witness) if window.witness else None
            await self._production.execute(
                _MOVE, *self._names, source, str(window.next_xid), window.heard_until, count, merged.new, witness
            )
        return merged

    async def _insert(self, window: Window, rows: BytesIO) -> Merged:
        await self._stage.load(self._production, rows)
        await self._stage.take_turn(self._production)
        await mark_stale_hours(self._production, self._table, self._stage.staged)
        new = await self._stage.insert_loaded(self._production)
        conflicts = await note_conflicts(self._production, self._table, self._stage.staged, self._names[0], window)
        return Merged(new, conflicts)


def _cursor(record: asyncpg.Record | None) -> Cursor:
    if record is None:
        return Cursor("", 0, None)
    return Cursor(record["source"], record["next_xid"], record["watermark"], Witness.of(record["witness"]))


def _days(first: datetime, last: datetime) -> set[date]:
    count = (last.date() - first.date()).days
    return {first.date() + timedelta(days=day) for day in range(count + 1)}
