"""What one database of the platform says of itself: schema, kind of partitions, rights, encryption, and how far it is.

Each answer is asked for by itself and stays empty where we may not ask; a database that is away is an answer too.
Kept out: what of it is well or a problem.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from kalshi_platform.core.errors import PlatformError
from kalshi_platform.core.masking import masked
from kalshi_platform.core.schema import STREAM_TABLES, Home, Table
from kalshi_platform.database.partition_list import is_hypertable, partitions_of
from kalshi_platform.database.renumbering import has_foreign_ids
from kalshi_platform.database.roles import ROLES_OF
from kalshi_platform.database.urls import checked

_TIMEOUT_SECONDS = 5.0
_SERVER = """
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescale,
       pg_database_size(current_database()) AS bytes, current_user AS user_name,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted,
       to_regclass('public.alembic_version') IS NOT NULL AS is_migrated,
       coalesce((SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class
                 WHERE oid = to_regclass('public.trades')), false) AS is_owner,
       (SELECT CASE datlocprovider WHEN 'b' THEN 'C' WHEN 'i' THEN 'ICU' ELSE datcollate END
        FROM pg_database WHERE datname = current_database()) AS sorts_by
"""
_ROLES = "SELECT rolname FROM pg_roles WHERE rolname = ANY($1) AND pg_has_role(current_user, oid, 'MEMBER')"
_REVISION = "SELECT version_num FROM public.alembic_version"

_HEARTBEAT = """
SELECT extract(epoch FROM now() - max(newest.written_at))::float8 FROM unnest($1::text[]) AS name, LATERAL (
    SELECT written_at FROM ingest_batches WHERE table_name = name ORDER BY ingest_xid DESC LIMIT 1
) AS newest
"""
_CURSORS = """
SELECT gatherer_id, table_name, watermark, extract(epoch FROM now() - watermark)::float8 AS lag_seconds,
       extract(epoch FROM now() - updated_at)::float8 AS quiet_seconds, rows_read, rows_merged
FROM sync_progress ORDER BY gatherer_id, table_name
"""
_COVERAGE = """
SELECT channel, count(*) AS hours, sum(uncovered_markets) AS uncovered_markets,
       sum(uncovered_us)::float8 / 1000000 AS uncovered_seconds, max(hour) AS newest_hour
FROM coverage_hours WHERE hour >= now() - interval '1 day' GROUP BY channel ORDER BY channel
"""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """How one stream table is cut: TimescaleDB's chunks, or native partitions."""

    table: str
    is_hypertable: bool
    partitions: int
    compressed: int


@dataclass(frozen=True, slots=True)
class CursorState:
    """How far one gatherer's table is merged; lag of the watermark and time since the last move in seconds."""

    gatherer_id: str
    table: str
    watermark: datetime | None
    lag_seconds: float | None
    quiet_seconds: float
    rows_read: int
    rows_merged: int


@dataclass(frozen=True, slots=True)
class ChannelCoverage:
    """What of one channel nobody heard in the hours of the last day that were computed."""

    channel: str
    hours: int
    uncovered_markets: int
    uncovered_seconds: float
    newest_hour: datetime


@dataclass(frozen=True, slots=True)
class Survey:
    """One database at one moment.

    Attributes:
        address: Without its password.
        error: Why it cannot be asked; everything below is empty then.
        timescale: TimescaleDB's version; None where the database does not have the extension.
        is_migrated: Whether it has a schema of ours; `revision` stays empty where we may not ask which.
        is_owner: Whether our login may do what the tables' owner may.
        sorts_by: The locale by which it compares text; `C` is by bytes.
        roles: The platform's roles that our login is a member of.
        has_foreign_ids: A gatherer's: its rows came out of a dump, and wait to be renumbered.
        silence_seconds: A gatherer's: since its last write, heartbeats included.
    """

    home: Home
    address: str
    error: str | None = None
    version: str = ""
    version_number: int = 0
    timescale: str | None = None
    bytes: int = 0
    user: str = ""
    is_superuser: bool = False
    is_owner: bool = False
    is_encrypted: bool = False
    sorts_by: str = "C"
    is_migrated: bool = False
    revision: str | None = None
    roles: Sequence[str] = ()
    layouts: Sequence[TableLayout] = ()
    has_foreign_ids: bool = False
    silence_seconds: float | None = None
    cursors: Sequence[CursorState] = ()
    coverage: Sequence[ChannelCoverage] = ()


async def survey(url: str, home: Home) -> Survey:
    """Ask a database about itself; never raises for what is wrong with it."""
    address = masked(url)
    try:
        connection = await asyncpg.connect(checked(url), timeout=_TIMEOUT_SECONDS)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, PlatformError) as error:
        return Survey(home, address, error=_plain(error))
    try:
        return await _asked(connection, home, address)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return Survey(home, address, error=_plain(error))
    finally:
        connection.terminate()


async def _asked(connection: asyncpg.Connection, home: Home, address: str) -> Survey:
    server = await connection.fetchrow(_SERVER)
    assert server is not None  # noqa: S101 - the query has no FROM, so it has one row
    roles = await connection.fetch(_ROLES, [role.value for role in ROLES_OF[home]])
    revision = await _permitted(connection, _REVISION) if server["is_migrated"] else []
    is_ours = bool(revision) and str(revision[0][0]).startswith(home.value)
    of_gatherer, of_production = is_ours and home is Home.GATHERER, is_ours and home is Home.PRODUCTION
    names = [table.name for table in STREAM_TABLES]
    heartbeat = await _permitted(connection, _HEARTBEAT, names) if of_gatherer else []
    return Survey(
        home,
        address,
        version=server["version"].partition(" ")[0],
        version_number=server["version_number"],
        timescale=server["timescale"],
        bytes=server["bytes"],
        user=server["user_name"],
        is_superuser=server["is_superuser"],
        is_owner=server["is_owner"],
        is_encrypted=server["is_encrypted"],
        sorts_by=server["sorts_by"],
        is_migrated=server["is_migrated"],
        revision=revision[0][0] if revision else None,
        roles=sorted(record["rolname"] for record in roles),
        layouts=[await _layout(connection, table) for table in STREAM_TABLES] if is_ours else (),
        has_foreign_ids=bool(heartbeat) and await has_foreign_ids(connection),
        silence_seconds=heartbeat[0][0] if heartbeat else None,
        cursors=[CursorState(*one) for one in await _permitted(connection, _CURSORS)] if of_production else (),
        coverage=[ChannelCoverage(*one) for one in await _permitted(connection, _COVERAGE)] if of_production else (),
    )


async def _layout(connection: asyncpg.Connection, table: Table) -> TableLayout:
    found = await partitions_of(connection, table)
    return TableLayout(
        table.name, await is_hypertable(connection, table), len(found), sum(one.is_compressed for one in found)
    )


async def _permitted(connection: asyncpg.Connection, query: str, *values: object) -> list[asyncpg.Record]:
    """The answer, or nothing where our login may not ask."""
    try:
        return await connection.fetch(query, *values)
    except asyncpg.InsufficientPrivilegeError:
        return []


def _plain(error: BaseException) -> str:
    return f"no answer within {_TIMEOUT_SECONDS:.0f} s" if isinstance(error, TimeoutError) else str(error)
