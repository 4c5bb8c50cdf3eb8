"""Series, events and markets in production: what is known now, and the history of statuses. Time never goes back.

What is newer wins, whatever comes last: first by the exchange's own stamp, then by when we were told (a market's stamp
does not move with its status, so both are needed); what has no stamp gives way to what has one. The history takes
changes in any order. Here belongs what Dagster and the registry call. Kept out: asking the exchange.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import asyncpg
import msgspec

from kalshi_platform.core.catalogue import EventFacts, MarketFacts, SeriesFacts, StatusSeen
from kalshi_platform.core.schema import EVENTS, MARKETS, SERIES, ColumnType, Table

T = TypeVar("T")
Facts = SeriesFacts | EventFacts | MarketFacts

_TABLE_OF: Mapping[type[Facts], Table] = {SeriesFacts: SERIES, EventFacts: EVENTS, MarketFacts: MARKETS}
_SQL_TYPES = {
    ColumnType.TEXT: "text",
    ColumnType.BOOL: "boolean",
    ColumnType.INT32: "integer",
    ColumnType.TIMESTAMP: "timestamptz",
    ColumnType.DECIMAL: "numeric",
    ColumnType.JSON: "jsonb",
}
_AT_ONCE = 5_000
_encoder = msgspec.json.Encoder(decimal_format="number")  # an object's numbers stay numbers, exactly
_BEGINNING = "'-infinity'"

_HISTORY = """
WITH told AS (
    SELECT ticker, seen_at, min(status) AS status, min(source) AS source
    FROM jsonb_to_recordset($1::text::jsonb) AS r(ticker text, status text, seen_at timestamptz, source text)
    GROUP BY ticker, seen_at
), known AS (
    SELECT ticker, seen_at, status, source, true AS is_new FROM told
    UNION ALL
    SELECT old.ticker, old.seen_at, old.status, old.source, false FROM market_statuses AS old
    WHERE old.ticker IN (SELECT ticker FROM told)
), ordered AS (
    SELECT *, lag(status) OVER (PARTITION BY ticker ORDER BY seen_at, is_new) AS before FROM known
)
INSERT INTO market_statuses (ticker, status, seen_at, source)
SELECT ticker, status, seen_at, source FROM ordered WHERE is_new AND before IS DISTINCT FROM status
ON CONFLICT DO NOTHING
"""


class Stored(NamedTuple):
    """What an upsert did.

    Attributes:
        changed: Rows that were newer than what was known, new ones included.
        new: Rows that were not known at all.
        statuses: Changes of status that the history did not have.
    """

    changed: int = 0
    new: int = 0
    statuses: int = 0


async def upsert(connection: asyncpg.Connection, facts: Sequence[Facts]) -> Stored:
    """Store what is newer than what is known; markets' statuses go into the history too, newer or not.

    Args:
        connection: To production, as a member of `kalshi_catalogue`.
        facts: All of one class, in any order, the same thing several times where it was seen so.

    Returns:
        How many series, events or markets changed, and how.
    """
    total = Stored()
    for some in _batches(facts):
        async with connection.transaction():
            changed, new = await _upsert(connection, some)
            seen = [_status_of(one) for one in some if isinstance(one, MarketFacts)]
            statuses = await record_statuses(connection, seen)
        total = Stored(total.changed + changed, total.new + new, total.statuses + statuses)
    return total


async def record_statuses(connection: asyncpg.Connection, seen: Sequence[StatusSeen]) -> int:
    """Note in which status markets were seen, for instance by lifecycle messages, in any order.

    Only changes are kept: a status that a market already had at that moment adds nothing. Returns how many changed.
    """
    changed = 0
    for some in _batches(seen):
        status = await connection.execute(_HISTORY, _json(some))
        changed += int(status.rpartition(" ")[2])
    return changed


async def _upsert(connection: asyncpg.Connection, facts: Sequence[Facts]) -> tuple[int, int]:
    (kind,) = {type(one) for one in facts}
    row = await connection.fetchrow(_upsert_sql(_TABLE_OF[kind]), _json(facts))
    return (row["changed"], row["new"]) if row else (0, 0)


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    return (things[start : start + _AT_ONCE] for start in range(0, len(things), _AT_ONCE))


def _upsert_sql(table: Table) -> str:
    names = [column.name for column in table.columns]
    key = table.key[0]
    columns = ", ".join(names)
    kinds = ", ".join(f"{column.name} {_SQL_TYPES[column.type]}" for column in table.columns)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name != key)
    stamp = f"coalesce({{}}.updated_ts, {_BEGINNING}), {{}}.seen_at"
    return (
        f"WITH stored AS (INSERT INTO {table.name} AS old ({columns}) "  # noqa: S608 - names of the schema
        f"SELECT DISTINCT ON ({key}) {columns} FROM jsonb_to_recordset($1::text::jsonb) AS r({kinds}) "
        f"ORDER BY {key}, coalesce(updated_ts, {_BEGINNING}) DESC, seen_at DESC "
        f"ON CONFLICT ({key}) DO UPDATE SET {changes} "
        f"WHERE ({stamp.format('excluded', 'excluded')}) > ({stamp.format('old', 'old')}) "
        "RETURNING old.xmax = 0 AS is_new) "  # a row that was there before carries the transaction that locked it
        "SELECT count(*) AS changed, count(*) FILTER (WHERE is_new) AS new FROM stored"
    )


def _status_of(market: MarketFacts) -> StatusSeen:
    return StatusSeen(ticker=market.ticker, status=market.status, seen_at=market.seen_at, source="rest")


def _json(rows: Sequence[object]) -> str:
    return _encoder.encode(rows).decode()
