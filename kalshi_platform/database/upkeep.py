"""What a daemon does for its database beside its work: partitions ahead of midnight, the index of recent rows.

Neither is needed for anything to be right: writers make a missing partition themselves, and rows that the index holds
on its list of new ones are found by reading that list. So a failure is said once a minute at most, and the next round
tries again. Kept out: what needs the tables' owner (`closing`, `retention`).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime

import asyncpg
import structlog

from kalshi_platform.core.schema import STREAM_TABLES, Home
from kalshi_platform.database.partitions import ensure_ahead
from kalshi_platform.database.passing import DATABASE_FAILURES

_INDEX = "SELECT kalshi_index_recent($1)"
_ROUND_SECONDS = 10.0
_AFTER_FAILURE_SECONDS = 60.0

_log = structlog.get_logger()


def _utc_day() -> date:
    return datetime.now(UTC).date()


async def keep_up(
    url: str, home: Home, stop: asyncio.Event, today: Callable[[], date] = _utc_day, seconds: float = _ROUND_SECONDS
) -> None:
    """Make partitions ahead when a day begins, and in production index recent rows every few seconds, until `stop`.

    Args:
        url: The database, as the daemon's own role.
        home: Which kind of database it is.
        stop: Ends it.
        today: The UTC day.
        seconds: Between rounds: how far the index lags behind the writers.
    """
    while not stop.is_set():
        try:
            await _rounds(url, home, stop, today, seconds)
        except DATABASE_FAILURES as error:
            _log.warning("upkeep failed, trying again", database=home.value, error=str(error))
            await _pause(stop, _AFTER_FAILURE_SECONDS)


async def _rounds(url: str, home: Home, stop: asyncio.Event, today: Callable[[], date], seconds: float) -> None:
    connection = await asyncpg.connect(url, server_settings={"application_name": "upkeep"}, command_timeout=60)
    done: date | None = None
    try:
        while not stop.is_set():
            if done != today():
                done = today()
                await ensure_ahead(connection, done)
            if home is Home.PRODUCTION:
                await _index_recent(connection)
            await _pause(stop, seconds)
    finally:
        connection.terminate()


async def _index_recent(connection: asyncpg.Connection) -> None:
    for table in STREAM_TABLES:
        with suppress(asyncpg.LockNotAvailableError):  # a vacuum is at work there, and does the same
            await connection.execute(_INDEX, table.name)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
