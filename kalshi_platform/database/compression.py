"""TimescaleDB's compression, kept to what `table_policies` says. Without TimescaleDB nothing happens.

Its Apache edition has no columnstore: rows stay as they are there. Here belongs when chunks are compressed, and which
versions may be trusted with that. Kept out: how (the migrations say by which columns), and dropping chunks, which is
retention's.
"""

import re
from datetime import timedelta

import asyncpg

from kalshi_platform.core.schema import STREAM_TABLES
from kalshi_platform.database.errors import UnsafeServerError
from kalshi_platform.database.partition_list import is_hypertable

_OLDEST = (2, 18, 1)
_LOSES_ROWS = (
    "TimescaleDB {version} loses rows: an INSERT into a compressed chunk ends at the first row that is there already "
    "(timescale/timescaledb#7672, mended in 2.18.1)"
)
UPDATE_IT = (
    "install a later TimescaleDB and run ALTER EXTENSION timescaledb UPDATE, as the first thing in a new session"
)

CANNOT_COMPRESS = "apache"
"""The license of the edition that has no columnstore, and so loses nothing in it."""

_VERSION = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
_LICENSE = "SELECT current_setting('timescaledb.license', true)"
_WANTED = "SELECT compress_hours FROM table_policies WHERE table_name = $1"
_FOUND = """
SELECT (config ->> 'compress_after')::interval FROM timescaledb_information.jobs
WHERE proc_name IN ('policy_compression', 'policy_columnstore') AND hypertable_schema = 'public'
AND hypertable_name = $1
"""
_REMOVE = "SELECT remove_compression_policy($1::text::regclass, if_exists => true)"
_ADD = "SELECT add_compression_policy($1::text::regclass, $2::interval)"


def fault_of_version(version: str | None) -> str:
    """Why a version of TimescaleDB must not hold our rows, which come more than once; empty where it may."""
    if version is None or tuple(map(int, re.findall(r"\d+", version)[:3])) >= _OLDEST:
        return ""
    return _LOSES_ROWS.format(version=version)


async def apply_compression(connection: asyncpg.Connection) -> list[str]:
    """Make TimescaleDB's policies those of `table_policies`; returns the tables whose policy changed.

    Needs the tables' owner.

    Raises:
        UnsafeServerError: Where a table would be compressed by a TimescaleDB that loses rows.
    """
    if await connection.fetchval(_LICENSE) != "timescale":
        return []
    changed = []
    for table in STREAM_TABLES:
        if not await is_hypertable(connection, table):
            continue
        hours = await connection.fetchval(_WANTED, table.name)
        wanted = None if hours is None else timedelta(hours=hours)
        if await connection.fetchval(_FOUND, table.name) == wanted:
            continue
        if wanted is not None and (fault := fault_of_version(await connection.fetchval(_VERSION))):
            raise UnsafeServerError(f"{fault}; {UPDATE_IT}")
        await connection.execute(_REMOVE, table.name)
        if wanted is not None:
            await connection.execute(_ADD, table.name, wanted)
        changed.append(table.name)
    return changed
