"""Coverage of hours that the watermark has passed: what no gatherer heard, as rows.

An hour is computed once; again where sessions or gaps came later that may change it (`late`), and where a gatherer
was not merged to its end and has moved since. Sessions and gaps are merged meanwhile: only the beginning and the end
take turns with that, so that neither misses the other. Kept out: the reckoning itself, which the database function
`kalshi_coverage` does.
"""

from collections.abc import Mapping
from datetime import datetime

import asyncpg

OPENING_SECONDS = 5
"""A market that was first heard so soon after it opened was heard from its opening: its first book has what changed."""

CHANNEL_TABLES: Mapping[str, str] = {
    "orderbook_delta": "orderbook_deltas",
    "trade": "trades",
    "ticker": "tickers",
}
"""Channels whose coverage is computed, and the table that tells how far a gatherer has heard."""

_BEHIND = """
coalesce((SELECT jsonb_object_agg(gatherer_id, watermark) FROM sync_progress
          WHERE table_name = $2 AND (watermark IS NULL OR watermark < {hour} + interval '1 hour')), '{{}}')
"""
_NEXT = f"""
SELECT due.hour FROM generate_series(
    date_trunc('hour', (SELECT min(started_at) FROM capture_sessions WHERE channel = $1), 'UTC'),
    date_trunc('hour', $3::timestamptz, 'UTC') - interval '1 hour', interval '1 hour'
) AS due (hour) LEFT JOIN coverage_hours AS done ON done.hour = due.hour AND done.channel = $1
WHERE done.hour IS NULL OR done.is_stale OR done.behind <> {_BEHIND.format(hour="due.hour")}
ORDER BY done.computed_at NULLS FIRST, due.hour LIMIT 1
"""  # noqa: S608 - ours
_LOCK = "(hashtext('kalshi_coverage'), 0)"
_TRY, _RELEASE = f"SELECT pg_try_advisory_lock{_LOCK}", f"SELECT pg_advisory_unlock{_LOCK}"
"""One deduplicator reckons: who lost the lead may be at an hour still, and of two one would clear the other's mark."""

_TURNS = """
SELECT pg_advisory_xact_lock(hashtext('kalshi_merge'), hashtext(name))
FROM unnest(ARRAY['capture_gaps', 'capture_sessions']) AS name
"""
_CLAIM = """
UPDATE coverage_hours SET is_stale = false, behind = behind || '{"": null}' WHERE hour = $1 AND channel = $2
"""
"""From here on a mark means news; whoever dies meanwhile has left a gatherer of no name behind, and it is redone."""

_MERGED = "SELECT sum(rows_merged) FROM sync_cursors WHERE table_name IN ('capture_gaps', 'capture_sessions')"
_MARK = "UPDATE coverage_hours SET is_stale = true WHERE hour = $1 AND channel = $2"
# with the usual 4 MB, from about a million sessions on, the same reckoning took minutes instead of seconds
_IN_MEMORY = "SET LOCAL work_mem = '256MB'"
_FORGET = "DELETE FROM uncovered_intervals WHERE hour = $1 AND channel = $2"
_COMPUTE = f"""
WITH found AS MATERIALIZED (
    SELECT * FROM kalshi_coverage($1, $3::timestamptz, $3::timestamptz + interval '1 hour')
), firsts AS MATERIALIZED (
    SELECT ticker, min(started_at) AS heard_at FROM capture_sessions WHERE channel = $1 GROUP BY ticker
), pieces AS MATERIALIZED (
    SELECT found.ticker, lower(piece) AS from_at, upper(piece) AS until_at
    FROM found CROSS JOIN unnest(uncovered) AS piece LEFT JOIN firsts AS own ON own.ticker = found.ticker,
         LATERAL (SELECT least(own.heard_at, (SELECT heard_at FROM firsts WHERE ticker = '')) AS heard_at) AS one
    WHERE NOT coalesce(one.heard_at >= upper(piece)
                       AND one.heard_at - lower(piece) <= interval '{OPENING_SECONDS} seconds', false)
), kept AS (
    INSERT INTO uncovered_intervals (hour, channel, ticker, from_at, until_at)
    SELECT $3::timestamptz, $1, ticker, from_at, until_at FROM pieces
)
INSERT INTO coverage_hours (hour, channel, markets, uncovered_markets, uncovered_us, gatherers, behind, is_stale)
SELECT $3::timestamptz, $1, (SELECT count(*) FROM found), (SELECT count(DISTINCT ticker) FROM pieces),
       (SELECT coalesce(sum(extract(epoch FROM until_at - from_at) * 1000000), 0)::bigint FROM pieces),
       (SELECT coalesce(string_agg(DISTINCT name, ',' ORDER BY name), '') FROM found, unnest(gatherers) AS name),
       {_BEHIND.format(hour="$3::timestamptz")}, false
ON CONFLICT (hour, channel) DO UPDATE SET
    markets = excluded.markets, uncovered_markets = excluded.uncovered_markets,
    uncovered_us = excluded.uncovered_us, gatherers = excluded.gatherers, behind = excluded.behind,
    is_stale = coverage_hours.is_stale, computed_at = clock_timestamp()
"""  # noqa: S608 - ours
_RECENT = """
SELECT coalesce(max(uncovered_markets), 0) FROM coverage_hours
WHERE channel = $1 AND computed_at > now() - interval '1 hour'
"""


async def next_hour(production: asyncpg.Connection, channel: str, mark: datetime) -> datetime | None:
    """The hour of a channel that is to be computed next; None where all are right up to the watermark `mark`."""
    hour: datetime | None = await production.fetchval(_NEXT, channel, CHANNEL_TABLES[channel], mark)
    return hour


async def cover_hour(production: asyncpg.Connection, channel: str, hour: datetime) -> bool:
    """Compute an hour of a channel, and replace what was computed before; false where another is reckoning any.

    What is merged meanwhile marks an hour that is known; of a new one nobody could mark anything, so where anything was
    merged at all it counts as marked.
    """
    if not await production.fetchval(_TRY):
        return False
    try:
        await _reckon(production, channel, hour)
    finally:
        if not production.is_closed():
            await production.execute(_RELEASE)
    return True


async def _reckon(production: asyncpg.Connection, channel: str, hour: datetime) -> None:
    async with production.transaction():
        await production.execute(_TURNS)
        is_new = await production.execute(_CLAIM, hour, channel) == "UPDATE 0"
        merged = await production.fetchval(_MERGED)
    async with production.transaction():
        await production.execute(_IN_MEMORY)
        await production.execute(_FORGET, hour, channel)
        await production.execute(_COMPUTE, channel, CHANNEL_TABLES[channel], hour)
        if is_new:  # a known one could be waited for here by whoever has the turn and marks it
            await production.execute(_TURNS)
            if await production.fetchval(_MERGED) != merged:
                await production.execute(_MARK, hour, channel)


async def uncovered_markets(production: asyncpg.Connection, channel: str) -> int:
    """How many markets have an uncovered interval, in the worst of the hours that were computed within the last one.

    Not in the newest alone: behind an outage several are computed at once.
    """
    found: int = await production.fetchval(_RECENT, channel)
    return found
