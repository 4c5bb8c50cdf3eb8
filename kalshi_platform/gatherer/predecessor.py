"""What an earlier process of this gatherer left open when it died: sessions that nobody ended, holes nobody closed.

A session ends where the last flush before this process says that all had been heard. Kept out: what is heard now.
"""

import asyncio
from collections.abc import Callable, Iterator

import asyncpg
import structlog

from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.passing import PASSING_FAILURES

AGAIN_SECONDS = 600.0
"""Rows of the dead process may come out of its spool long after this one has started."""

_END_SESSIONS = """
UPDATE capture_sessions
SET ended_at = greatest(
        started_at,
        (SELECT coalesce(max(heard_until), '-infinity') FROM ingest_batches WHERE heard_until < $1)
    ),
    ended_by = 'process died',
    ingest_xid = pg_current_xact_id()
WHERE ended_at IS NULL AND started_at < $1
"""
_END_GAPS = """
UPDATE capture_gaps
SET until_at = greatest(detected_at, $1), healed_by = 'unhealed', ingest_xid = pg_current_xact_id()
WHERE until_at IS NULL AND detected_at < $1
"""

_log = structlog.get_logger()


async def close_what_died(url: str, started_us: int) -> int:
    """End what is still open from before `started_us` (µs since 1970); returns how many sessions were."""
    started = datetime_from_us(started_us)
    # the deduplicator's cursor is only safe with synchronous_commit=on (design §4)
    connection = await asyncpg.connect(url, server_settings={"synchronous_commit": "on"})
    try:
        async with connection.transaction():
            ended = await connection.execute(_END_SESSIONS, started)
            await connection.execute(_END_GAPS, started)
    finally:
        await connection.close()
    return int(ended.rpartition(" ")[2])


async def keep_closing(url: str, started_us: int, retry_waits: Callable[[], Iterator[float]]) -> None:
    """Do so now and from time to time, until cancelled; a database that is away is waited for."""
    waits = retry_waits()
    while True:
        try:
            ended = await close_what_died(url, started_us)
        except PASSING_FAILURES:
            await asyncio.sleep(next(waits))
            continue
        if ended:
            _log.info("ended what an earlier process left open", sessions=ended)
        waits = retry_waits()
        await asyncio.sleep(AGAIN_SECONDS)
