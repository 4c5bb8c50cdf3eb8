"""Rows of sessions and gaps that come after an hour's coverage was computed: the hour is marked, and computed again.

Done in the transaction that merges them, before its insert and in its turn (`coverage`). Kept out: computing.
"""

from collections.abc import Mapping

import asyncpg

from kalshi_platform.core.schema import CAPTURE_GAPS, CAPTURE_SESSIONS, Table

_MARK = """
UPDATE coverage_hours SET is_stale = true
WHERE NOT is_stale AND hour + interval '1 hour' > (
    SELECT min({since}) FROM {staged} AS came LEFT JOIN {table} AS known USING ({key})
)
"""
_SINCE: Mapping[str, str] = {
    CAPTURE_SESSIONS.name: "CASE WHEN known.sid IS NULL THEN came.started_at "
    "WHEN came.ended_at IS DISTINCT FROM known.ended_at THEN least(came.ended_at, known.ended_at) END",
    CAPTURE_GAPS.name: "CASE WHEN (known.from_at, known.until_at, known.healed_by) "
    "IS DISTINCT FROM (came.from_at, came.until_at, came.healed_by) THEN came.from_at END",
}
"""From when on a row changes what was known; nothing where it changes nothing."""


async def mark_stale_hours(production: asyncpg.Connection, table: Table, staged: str) -> None:
    """Mark the computed hours that the staged rows may change; other tables mark none.

    Args:
        production: In the merge's transaction, before its insert.
        table: Which table.
        staged: Name of its staging table.
    """
    since = _SINCE.get(table.name)
    if since is not None:
        key = ", ".join(table.key)
        await production.execute(_MARK.format(since=since, staged=staged, table=table.name, key=key))
