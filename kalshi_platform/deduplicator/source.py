"""Reading a gatherer: which transactions are finished for good, and their rows as bytes.

Why this cursor cannot skip a row: each row carries the id of the transaction that wrote it. `xmin` of a snapshot is
the oldest transaction that still runs; every smaller id has ended, so its rows are visible to that snapshot now or
never, and no later transaction can get an id below it. Therefore [cursor, xmin) is complete when it is read and never
changes afterwards. It holds for one cluster, timeline and database, which is why these are part of the cursor, and
for one history: the cursor stands right behind a batch, its witness, and a source without that batch was restored to
an earlier moment. docs/cursor.md goes through every case. Measured with 8 writers: 0 rows lost, against 39 % with
`received_at >` (ecosystem.md part 2, D2).

Kept out: production, and what to choose (`window`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from io import BytesIO

import asyncpg

from kalshi_platform.core.errors import IntegrityError
from kalshi_platform.core.schema import STREAM_TABLES, Home, Table
from kalshi_platform.database.partition_list import partitions_of
from kalshi_platform.deduplicator.shards import WHOLE, Shard
from kalshi_platform.deduplicator.window import Batch, Gate, Window, Witness, choose

_MOST_BATCHES = 2000

_WRITTEN_US = "(extract(epoch FROM written_at) * 1000000)::bigint"
_KNOWN = f"""
    EXISTS (SELECT FROM ingest_batches
            WHERE table_name = $1 AND ingest_xid = $2::text::xid8 AND {_WRITTEN_US} = $3::bigint)
"""
_KNOWS = f"SELECT {_KNOWN}"
_GATE = f"""
WITH gate AS MATERIALIZED (
    SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin, pg_snapshot_xmax(pg_current_snapshot()) AS xmax,
           $1::text IS NULL OR {_KNOWN} AS has_witness,
           EXISTS (SELECT FROM unnest($4::text[]) AS name, LATERAL (
                       SELECT ingest_xid FROM ingest_batches WHERE table_name = name ORDER BY ingest_xid DESC LIMIT 1
                   ) AS newest WHERE newest.ingest_xid >= pg_snapshot_xmax(pg_current_snapshot())) AS is_ahead
)
SELECT gate.xmin::text::bigint AS xmin, gate.xmax::text::bigint AS xmax, gate.has_witness, gate.is_ahead,
"""  # noqa: S608 - ours
_FINISHED = f"""{_GATE}
       batch.ingest_xid::text::bigint AS ingest_xid, batch.row_count, batch.min_ts, batch.max_ts, batch.heard_until,
       {_WRITTEN_US} AS written_us
FROM gate LEFT JOIN LATERAL (
    SELECT * FROM ingest_batches
    WHERE table_name = $5 AND ingest_xid >= $6::text::xid8 AND ingest_xid < gate.xmin
    ORDER BY ingest_xid LIMIT $7
) AS batch ON true
ORDER BY batch.ingest_xid
"""  # noqa: S608 - ours
_NEWEST = f"""{_GATE}
       batch.table_name, batch.ingest_xid::text::bigint AS ingest_xid, {_WRITTEN_US} AS written_us
FROM gate LEFT JOIN LATERAL (
    SELECT newest.* FROM unnest($4::text[]) AS name, LATERAL (
        SELECT * FROM ingest_batches WHERE table_name = name AND ingest_xid < gate.xmin
        ORDER BY ingest_xid DESC LIMIT 1
    ) AS newest
    ORDER BY newest.ingest_xid DESC LIMIT 1
) AS batch ON true
"""  # noqa: S608 - ours
_SPAN = """
SELECT count(*) AS rows, min(xid) AS first, max(xid) AS last FROM (
    SELECT ingest_xid::text::bigint AS xid FROM {table}
    WHERE ingest_xid >= $1::text::xid8 AND ingest_xid < $2::text::xid8 ORDER BY ingest_xid LIMIT $3
) AS part
"""
_IS_REPLICA = "SELECT EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = 'ingest_batches'::regclass)"
_OWN_NAME = "SELECT gatherer_id FROM capture_sessions ORDER BY started_at DESC LIMIT 1"
_STREAM_NAMES = [table.name for table in STREAM_TABLES]


async def next_window(
    source: asyncpg.Connection, table: Table, first_xid: int, most_rows: int, witness: Witness | None = None
) -> Window:
    """The finished transactions from `first_xid` on, as many as hold about `most_rows` rows.

    Args:
        source: The gatherer's database.
        table: Which table.
        first_xid: The cursor.
        most_rows: Bound of one merge; a transaction that is larger is taken whole.
        witness: The last batch that was merged; where the source lacks it, the window begins at 0.
    """
    if table.time_column is None:
        window = await _next_unlogged(source, table, first_xid, most_rows, witness)
    else:
        window = await _next_batches(source, table, first_xid, most_rows, witness)
    return await next_window(source, table, 0, most_rows) if window is None else window


async def _next_batches(
    source: asyncpg.Connection, table: Table, first_xid: int, most_rows: int, witness: Witness | None
) -> Window | None:
    records = await source.fetch(_FINISHED, *_parts(witness), [table.name], table.name, str(first_xid), _MOST_BATCHES)
    gate = _gate(records[0])
    if not gate.reaches(first_xid):
        return None
    batches = [
        Batch(one["ingest_xid"], one["row_count"], one["min_ts"], one["max_ts"], one["heard_until"], one["written_us"])
        for one in records
        if one["ingest_xid"] is not None
    ]
    return choose(gate, table.name, first_xid, batches, most_rows, _MOST_BATCHES)


async def _next_unlogged(
    source: asyncpg.Connection, table: Table, first_xid: int, most_rows: int, witness: Witness | None
) -> Window | None:
    """Of a table without a log of its batches: up to the newest finished batch of any stream, which is the witness."""
    record = await source.fetchrow(_NEWEST, *_parts(witness), _STREAM_NAMES)
    assert record is not None  # noqa: S101 - the gate has one row
    gate = _gate(record)
    if not gate.reaches(first_xid):
        return None
    if record["ingest_xid"] is None or record["ingest_xid"] < first_xid:
        return Window(first_xid, first_xid, 0, None, None, None, witness, is_full=False, held_by=gate.held_by)
    end = record["ingest_xid"] + 1
    span = await source.fetchrow(_SPAN.format(table=table.name), str(first_xid), str(end), most_rows + 1)
    assert span is not None  # noqa: S101 - an aggregate has one row
    is_full = span["rows"] > most_rows
    next_xid = max(span["last"], span["first"] + 1) if is_full else end
    newest = Witness(record["table_name"], record["ingest_xid"], record["written_us"])
    return Window(first_xid, next_xid, None, None, None, None, newest, is_full=is_full, held_by=gate.held_by)


@dataclass(frozen=True, slots=True)
class Copied:
    """A window's rows.

    Attributes:
        count: How many they are.
        rows: They, in binary COPY format.
        days: The UTC days that they lie in; none of a table that has no partitions.
        dropped: How many of them the gatherer had once, in partitions that are gone.
    """

    count: int
    rows: BytesIO = field(default_factory=BytesIO, compare=False)
    days: Collection[date] = ()
    dropped: int = 0


NO_ROWS = Copied(0)


async def copy_out(source: asyncpg.Connection, table: Table, window: Window, shard: Shard = WHOLE) -> Copied:
    """The window's rows in binary COPY format, with production's columns; Python looks at none.

    Of a shard, its rows only; the window's others are counted.

    Raises:
        IntegrityError: Where the window's rows are not as many as the gatherer's own record of its batches says.
    """
    columns = ", ".join(column.name for column in table.written_columns(Home.PRODUCTION))
    within, times = _within(table, window)
    rows = BytesIO()

    async def keep(piece: bytes) -> None:  # asyncpg would write to a file in another thread
        rows.write(piece)

    query = f"SELECT {columns} FROM {within}"  # noqa: S608 - all values are ours, none is text from outside
    if shard.condition:
        query = f"{query} AND {shard.condition}"
    status = await source.copy_from_query(query, *times, output=keep, format="binary")
    copied = int(status.split()[-1])
    found = await _count(source, within, times, shard, copied) if shard.condition else copied
    if window.rows not in (None, found) and not await _was_dropped(source, table, window, found):
        raise IntegrityError(
            f"{table.name}: transactions [{window.first_xid}, {window.next_xid}) hold {found} rows, "
            f"but the gatherer recorded {window.rows}; the cursor stays where it is: rows were added or deleted by "
            "hand, or files are damaged; docs/cursor.md says what to do where counts do not agree"
        )
    rows.seek(0)
    dropped = 0 if window.rows is None else window.rows - found
    return Copied(copied, rows, await _days(source, table, window), dropped)


async def refuse_replica(source: asyncpg.Connection) -> None:
    """Make sure that rows carry ids of the server that holds them; those of a logical replica come in another order.

    Raises:
        IntegrityError: Where a subscription writes this database.
    """
    if await source.fetchval(_IS_REPLICA):
        raise IntegrityError(
            "this database is a logical replica: its rows carry the transaction ids of another server, and arrive in "
            "another order; name the original, or a physical standby of it, in KALSHI_GATHERERS"
        )


async def own_name(source: asyncpg.Connection) -> str | None:
    """The name under which a gatherer notes that it listens; None before it has noted anything."""
    name: str | None = await source.fetchval(_OWN_NAME)
    return name


async def knows(source: asyncpg.Connection, witness: Witness) -> bool:
    """Whether a gatherer has a batch that was merged; else it was restored to an earlier moment."""
    return bool(await source.fetchval(_KNOWS, *_parts(witness)))


def _within(table: Table, window: Window) -> tuple[str, tuple[datetime | None, ...]]:
    """A window's rows, as what stands behind FROM, and its parameters."""
    rows = f"{table.name} WHERE ingest_xid >= '{window.first_xid}'::xid8 AND ingest_xid < '{window.next_xid}'::xid8"
    if table.time_column is None:
        return rows, ()
    return f"{rows} AND {table.time_column} BETWEEN $1 AND $2", (window.min_ts, window.max_ts)  # skips partitions


async def _days(source: asyncpg.Connection, table: Table, window: Window) -> Collection[date]:
    """The days of a window's rows: where they lie far apart, not those between, each of which would get a partition."""
    if window.min_ts is None or window.max_ts is None:
        return ()
    if window.max_ts.date() - window.min_ts.date() <= timedelta(days=1):
        return {window.min_ts.date(), window.max_ts.date()}
    within, times = _within(table, window)
    query = f"SELECT DISTINCT ({table.time_column} AT TIME ZONE 'UTC')::date FROM {within}"  # noqa: S608 - ours
    return [record[0] for record in await source.fetch(query, *times)]


async def _count(
    source: asyncpg.Connection, within: str, times: tuple[datetime | None, ...], shard: Shard, copied: int
) -> int:
    """How many rows a window has, of all shards; what is finished does not change between two statements."""
    query = f"SELECT count(*) AS every, count(*) FILTER (WHERE {shard.condition}) AS own FROM {within}"  # noqa: S608
    counts = await source.fetchrow(query, *times)
    assert counts is not None  # noqa: S101 - an aggregate has one row
    if counts["own"] != copied:
        raise IntegrityError(f"{copied} rows of shard {shard} were copied, but it has {counts['own']}; trying again")
    return int(counts["every"])


async def _was_dropped(source: asyncpg.Connection, table: Table, window: Window, found: int) -> bool:
    """Whether rows are fewer because the gatherer has dropped old partitions, which it does only with what was merged.

    Asked when a gatherer is read from its beginning once more.
    """
    partitions = await partitions_of(source, table)
    if window.min_ts is None or window.rows is None or found > window.rows:
        return False
    return not any(partition.start <= window.min_ts < partition.end for partition in partitions)


def _gate(record: asyncpg.Record) -> Gate:
    if record["is_ahead"]:
        raise IntegrityError(
            "its log of batches has transaction ids that its server has yet to give out: the rows came out of a dump; "
            "run `kalshi-platform migrate gatherer` on it, which gives them ids of this server"
        )
    return Gate(record["xmin"], record["xmax"], record["has_witness"])


def _parts(witness: Witness | None) -> tuple[str | None, str | None, int | None]:
    return (None, None, None) if witness is None else (witness.table, str(witness.xid), witness.written_us)
