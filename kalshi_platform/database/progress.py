"""How far production has been merged, as the view `sync_progress` says it: all shards of a gatherer's table together.

Kept out: the cursors themselves, which the deduplicator moves.
"""

from datetime import datetime

import asyncpg

from kalshi_platform.core.units import datetime_from_us

_WATERMARKS = """
WITH known AS (
    SELECT table_name, watermark, updated_at > now() - make_interval(secs => {silence}) AS is_live
    FROM sync_progress
), waited_for AS (
    SELECT * FROM known WHERE is_live
    UNION ALL
    SELECT * FROM known WHERE table_name NOT IN (SELECT table_name FROM known WHERE is_live)
)
SELECT table_name, CASE WHEN bool_and(watermark IS NOT NULL)
                        THEN (extract(epoch FROM min(watermark)) * 1000000)::bigint END
FROM waited_for GROUP BY table_name
"""


# a commit that waits for the disk takes with it whatever was written before; on a standby all that is seen was on disk
_SYNC = "SET LOCAL synchronous_commit = on"
_WRITE = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, 'kalshi_platform', '') END"


async def make_durable(production: asyncpg.Connection) -> None:
    """Return when all that production has committed so far would survive its crash.

    Merges commit without waiting for the disk, which costs nothing while gatherers have the rows. So whoever deletes at
    a gatherer on a cursor's word asks for this between reading the cursor and deleting.
    """
    async with production.transaction():
        await production.execute(_SYNC)
        await production.execute(_WRITE)


def watermarks_query(silence: float) -> str:
    """SQL for the name of each table and the time in µs up to which every live gatherer has been merged.

    The time is NULL where a gatherer is waited for of which nobody knows how far it has heard. One from which nothing
    was merged for `silence` seconds is not waited for, unless all are silent: it may be gone for good.
    """
    return _WATERMARKS.format(silence=float(silence))


async def merged_until(production: asyncpg.Connection, silence: float) -> dict[str, datetime | None]:
    """By table, the exchange time up to which every live gatherer has been merged by every shard."""
    records = await production.fetch(watermarks_query(silence))
    return {name: None if mark is None else datetime_from_us(mark) for name, mark in records}
