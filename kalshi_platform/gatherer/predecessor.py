"""What an earlier process of this gatherer left open when it died: sessions that nobody ended, holes nobody closed.

A session ends where the last flush before this process says that all had been heard. Kept out: what is heard now.
"""

import asyncio
from collections.abc import Callable, Iterator

import asyncpg
import structlog

from kalshi_platform.core.units import datetime_from_us
from kalshi_platform.database.passing import DATABASE_FAILURES

AGAIN_SECONDS = 600.0
"""Rows of the dead process may come out of its spool long after this one has started."""

_END_SESSIONS = """
WITH heard AS MATERIALIZED (
    SELECT table_name, max(heard_until) AS until FROM ingest_batches WHERE heard_until < $1 GROUP BY table_name
)
UPDATE capture_sessions
SET ended_at = greatest(
        started_at,
        (
            SELECT coalesce(max(until), '-infinity')
            FROM heard
            WHERE table_name = CASE channel
                WHEN 'orderbook_delta' THEN 'orderbook_deltas' WHEN 'trade' THEN 'trades' WHEN 'ticker' THEN 'tickers'
                ELSE table_name
            END
        )
    ),
    ended_by = 'process died',
    ingest_xid = pg_current_xact_id()
WHERE ended_at IS NULL AND started_at < $1
"""
"""Each channel by its own table: what another had written says nothing of rows that died in memory."""

_END_GAPS = """
UPDATE capture_gaps
SET until_at = greatest(detected_at, $1), healed_by = 'unhealed', ingest_xid = pg_current_xact_id()
WHERE until_at IS NULL AND detected_at < $1
"""

_CONNECT_SECONDS = 5.0
_UPDATE_SECONDS = 600.0

_log = structlog.get_logger()


async def close_what_died(url: str, started_us: int) -> int:
    """End what is still open from before `started_us` (µs since 1970); returns how many sessions were."""
    started = datetime_from_us(started_us)
    # the deduplicator's cursor is only safe with synchronous_commit=on (design §4)
    connection = await asyncpg.connect(
        url, server_settings={"synchronous_commit": "on"}, timeout=_CONNECT_SECONDS, command_timeout=_UPDATE_SECONDS
    )
    try:  # each by itself, to be done again if need be: whoever stops must not wait for an end of a transaction
        ended = await connection.execute(_END_SESSIONS, started)
        await connection.execute(_END_GAPS, started)
    finally:
        connection.terminate()  # a database that hangs would not answer a good-bye
    return int(ended.rpartition(" ")[2])


async def keep_closing(url: str, started_us: int, retry_waits: Callable[[], Iterator[float]]) -> None:
    """Do so now and from time to time, until cancelled; a database that is away is waited for."""
    waits = retry_waits()
    while True:
        try:
            ended = await close_what_died(url, started_us)
        except DATABASE_FAILURES as error:  # read-only after a failover, or full: no reason to stop hearing
            _log.warning("cannot end what an earlier process left open, trying again", error=str(error))
            await asyncio.sleep(next(waits))
            continue
        if ended:
            _log.info("ended what an earlier process left open", sessions=ended)
        waits = retry_waits()
        await asyncio.sleep(AGAIN_SECONDS)
