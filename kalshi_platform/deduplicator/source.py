"""Reading a gatherer: which transactions are finished for good, and their rows as bytes.

Why this cursor cannot skip a row: each row carries the id of the transaction that wrote it. `xmin` of a snapshot is
the oldest transaction that still runs; every smaller id has ended, so its rows are visible to that snapshot now or
never, and no later transaction can get an id below it. Therefore [cursor, xmin) is complete when it is read and never
changes afterwards. It holds while the gatherer commits synchronously (its writers say so on every connection) and for
one cluster, timeline and database, which is why these are part of the cursor. Measured with 8 writers: 0 rows lost,
against 39 % with `received_at >` (ecosystem.md part 2, D2).

Kept out: production.
"""

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import asyncpg

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import Home, Table

_MOST_BATCHES = 2000

_FINISHED = """
WITH gate AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin)
SELECT gate.xmin::text::bigint AS xmin, batch.ingest_xid::text::bigint AS ingest_xid, batch.row_count,
       batch.min_ts, batch.max_ts, batch.heard_until
FROM gate LEFT JOIN LATERAL (
    SELECT * FROM ingest_batches
    WHERE table_name = $1 AND ingest_xid >= $2::text::xid8 AND ingest_xid < gate.xmin
    ORDER BY ingest_xid LIMIT $3
) AS batch ON true
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Finished transactions that can be merged: ids from `first_xid` up to, not including, `next_xid`."""

    first_xid: int
    next_xid: int
    rows: int
    min_ts: datetime | None
    max_ts: datetime | None
    heard_until: datetime | None
    is_full: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say: no rows, and nothing heard."""
        return self.rows == 0 and self.heard_until is None


async def next_window(source: asyncpg.Connection, table: Table, first_xid: int, most_rows: int) -> Window:
    """The finished transactions from `first_xid` on, as many as hold about `most_rows` rows."""
    records = await source.fetch(_FINISHED, table.name, str(first_xid), _MOST_BATCHES)
    xmin = records[0]["xmin"]
    if xmin < first_xid:  # ids that were merged are not yet given out: the gatherer was restored to an earlier moment
        return await next_window(source, table, 0, most_rows)
    batches = [record for record in records if record["ingest_xid"] is not None]
    taken, rows = 0, 0
    while taken < len(batches) and (rows == 0 or rows + batches[taken]["row_count"] <= most_rows):
        rows += batches[taken]["row_count"]
        taken += 1
    is_full = taken < len(batches) or taken == _MOST_BATCHES
    chosen = batches[:taken]
    return Window(
        first_xid,
        chosen[-1]["ingest_xid"] + 1 if is_full else xmin,
        rows,
        min((batch["min_ts"] for batch in chosen if batch["min_ts"]), default=None),
        max((batch["max_ts"] for batch in chosen if batch["max_ts"]), default=None),
        max((batch["heard_until"] for batch in chosen if batch["heard_until"]), default=None),
        is_full,
    )


async def copy_out(source: asyncpg.Connection, table: Table, window: Window) -> BytesIO:
    """The window's rows in binary COPY format, with production's columns; Python does not look at them.

    Raises:
        IntegrityError: Where the rows are not as many as the gatherer's own record of its batches says.
    """
    columns = ", ".join(column.name for column in table.written_columns(Home.PRODUCTION))
    rows = BytesIO()
    # the time bound lets the gatherer skip partitions; all values are ours, none is text from outside
    status = await source.copy_from_query(
        f"SELECT {columns} FROM {table.name} "  # noqa: S608
        f"WHERE ingest_xid >= '{window.first_xid}'::xid8 AND ingest_xid < '{window.next_xid}'::xid8 "
        f"AND {table.time_column} BETWEEN $1 AND $2",
        window.min_ts,
        window.max_ts,
        output=rows,
        format="binary",
    )
    if int(status.split()[-1]) != window.rows:
        raise IntegrityError(
            f"{table.name}: transactions [{window.first_xid}, {window.next_xid}) hold {status.split()[-1]} rows, "
            f"but the gatherer recorded {window.rows}; the cursor stays where it is"
        )
    rows.seek(0)
    return rows
