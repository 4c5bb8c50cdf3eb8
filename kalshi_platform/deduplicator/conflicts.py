"""Copies of one row that do not agree: found in the merge's own transaction, kept with both versions.

A delta is its content, and so is a ticker update by its digest; they cannot disagree. A trade has one content under
one id, also where its two copies carry another time, a second apart at the most; a checkpoint has one book. What is
found means a corrupt book or a defect of the exchange's, and a person must look. Kept out: choosing who is right.
"""

from collections.abc import Mapping
from datetime import timedelta

import asyncpg

from kalshi_platform.core.schema import ORDERBOOK_SNAPSHOTS, TRADES, Table
from kalshi_platform.deduplicator.window import Window

_APART = timedelta(seconds=1)
_NOTE = """
INSERT INTO merge_conflicts (table_name, row_key, gatherer_id, ticker, kept, refused)
SELECT '{table}', jsonb_build_array({key})::text, $1, kept.ticker, to_jsonb(kept), to_jsonb(other)
FROM {staged} AS other JOIN {table} AS kept ON {match} AND kept.{time} BETWEEN $2 AND $3
WHERE {only} AND ({kept}) IS DISTINCT FROM ({other})
ON CONFLICT DO NOTHING
"""
_TRADE_SAYS = ("exchange_ts", "ticker", "price", "size", "taker_side", "is_block_trade")
_BOOK_SAYS = ("yes_prices", "yes_sizes", "no_prices", "no_sizes")
_BOOK_KEY = ("snapshot_ts", "ticker", "source", "gatherer_id")


def _statement(table: Table, key: tuple[str, ...], says: tuple[str, ...], only: str) -> str:
    return _NOTE.format(
        table=table.name,
        staged="{staged}",
        key=", ".join(f"kept.{name}" for name in key),
        match=" AND ".join(f"kept.{name} = other.{name}" for name in key),
        time=table.time_column,
        only=only,
        kept=", ".join(_said("kept", "other", name) for name in says),
        other=", ".join(_said("other", "kept", name) for name in says),
    )


def _said(one: str, another: str, name: str) -> str:
    """What one copy says; where it says nothing, it agrees: REST may not tell the taker's side of old trades."""
    return f"coalesce({one}.{name}, {another}.{name})" if name == "taker_side" else f"{one}.{name}"


_STATEMENTS: Mapping[str, str] = {
    TRADES.name: _statement(TRADES, ("trade_id",), _TRADE_SAYS, "true"),
    ORDERBOOK_SNAPSHOTS.name: _statement(ORDERBOOK_SNAPSHOTS, _BOOK_KEY, _BOOK_SAYS, "other.source = 'checkpoint'"),
}


async def note_conflicts(
    production: asyncpg.Connection, table: Table, staged: str, gatherer_id: str, window: Window
) -> int:
    """Keep every staged row whose copy in production says something else; returns how many were not known.

    Args:
        production: In the merge's transaction, after its insert.
        table: Which table; only some can disagree.
        staged: Name of its staging table.
        gatherer_id: Who brought the rows.
        window: Which rows they are.
    """
    statement = _STATEMENTS.get(table.name)
    if statement is None or window.min_ts is None or window.max_ts is None:
        return 0
    query = statement.format(staged=staged)
    status = await production.execute(query, gatherer_id, window.min_ts - _APART, window.max_ts + _APART)
    return int(status.rpartition(" ")[2])
