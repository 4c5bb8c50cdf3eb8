"""Migrations: bringing a database to a revision of its branch, and asking which it carries.

A database is a gatherer's or production's and carries that one branch. Here belongs running Alembic and refusing
what it would make a mess of. Kept out: the DDL itself, which is frozen in the folder alembic.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from kalshi_platform.core.masking import masked
from kalshi_platform.core.schema import Home
from kalshi_platform.database.compression import CANNOT_COMPRESS, UPDATE_IT, fault_of_version
from kalshi_platform.database.errors import (
    DatabaseUnreachableError,
    OtherHomeError,
    OutdatedDatabaseError,
    RevisionError,
    UnknownRevisionError,
    UnsafeServerError,
)
from kalshi_platform.database.renumbering import FOREIGN, RENUMBER_IT, has_foreign_ids
from kalshi_platform.database.urls import checked, database_name

_ONE_AT_A_TIME = text("SELECT pg_advisory_lock(hashtext('kalshi_platform'), hashtext('migrate'))")
OLDEST_SERVER = 150_000
"""As PostgreSQL numbers its versions."""
UPGRADE_IT = "15 to 18 are supported: upgrade the server"
_SERVER = text("""
SELECT current_setting('server_version_num')::int, current_setting('server_version'),
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       current_setting('timescaledb.license', true)
""")
_LOCK_TIMEOUT = "SET lock_timeout = '1s'"
"""Others queue behind whoever waits for a table, writers too: for so long, then they have their turn."""
_IN_USE = asyncpg.LockNotAvailableError.sqlstate, asyncpg.DeadlockDetectedError.sqlstate
_PATIENCE_SECONDS, _PAUSE_SECONDS = 60.0, 0.5
_HOLDER = text("""
SELECT format('%s of %s (pid %s) has worked in one transaction since %s UTC',
              coalesce(nullif(application_name, ''), backend_type), coalesce(usename, 'the server'), pid,
              to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1
""")
_ALEMBIC = Lock()  # it keeps what it works on in globals of its modules

T = TypeVar("T")


def _unsaid(_line: str) -> None:
    """Nobody listens."""


def migrate(url: str, home: Home, revision: str = "head", say: Callable[[str], None] = _unsaid) -> None:
    """Bring a database up to a revision of its branch; an empty database becomes `home`'s.

    Args:
        url: The database, postgresql://…; the user must own its tables.
        home: Which kind of database it is or becomes.
        revision: `head`, or one revision.
        say: Told, once, for what it waits.

    Raises:
        UnknownRevisionError: Where a later version of the platform has migrated it.
        OtherHomeError: Where it is the other kind of database.
        UnsafeServerError: Where the server is too old, or has a TimescaleDB that loses rows and work to do.
    """

    def upgrade(connection: Connection) -> None:
        _refuse_server(connection, newest_revision(home) if revision == "head" else revision)
        _move(connection, home, lambda config: command.upgrade(config, _target(home, revision)), say)

    _run(_on(url, upgrade))


def downgrade(url: str, home: Home, revision: str = "base") -> None:
    """Bring a database down to an earlier revision; `base` leaves none of our tables and none of their rows.

    Raises:
        RevisionError: As in `migrate`.
    """

    def downgrade(connection: Connection) -> None:
        _move(connection, home, lambda config: command.downgrade(config, _target(home, revision)), _unsaid)

    _run(_on(url, downgrade))


def current_revision(url: str) -> str | None:
    """The revision that a database carries; None where it was never migrated."""
    return _run(_revision(url))


async def migrate_async(url: str, home: Home, revision: str = "head") -> None:
    """`migrate` for callers that run in an event loop, which goes on meanwhile."""
    await asyncio.to_thread(migrate, url, home, revision)


def newest_revision(home: Home) -> str:
    """The revision that this version works with."""
    newest = _scripts().get_revision(f"{home.value}@head")
    assert newest is not None  # noqa: S101 - each branch has revisions
    return newest.revision


async def check_revision(url: str, home: Home) -> None:
    """Make sure that a database carries exactly the schema that this version works with, and a gatherer's its own ids.

    Raises:
        OutdatedDatabaseError: Where it has none, or an earlier one, or rows out of a dump that were not renumbered.
        UnknownRevisionError: Where it has a later one.
        OtherHomeError: Where it is the other kind of database.
    """
    carried = await _revision(url)
    scripts = _scripts()
    if carried is not None:
        _refuse_stranger(scripts, carried, home)
    if carried != newest_revision(home):
        raise OutdatedDatabaseError(
            f"the database {database_name(url)!r} carries {carried or 'no schema'}, not the newest; "
            f"run `kalshi-platform migrate {home.value}`"
        )
    if home is Home.GATHERER:
        await _refuse_dump(url)


async def _refuse_dump(url: str) -> None:
    connection = await _connect(checked(url))
    try:
        is_dump = await has_foreign_ids(connection)
    finally:
        await connection.close()
    if is_dump:
        raise OutdatedDatabaseError(f"the database {database_name(url)!r}: {FOREIGN}; {RENUMBER_IT}")


def _run(work: Coroutine[None, None, T]) -> T:
    """Run to the end in a thread of its own, so that it also works where an event loop is running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _revision(url: str) -> str | None:
    """The revision that a database carries."""
    connection = await _connect(checked(url))
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
            return None
        return _the_one([record["version_num"] for record in await connection.fetch("TABLE alembic_version")])
    finally:
        await connection.close()


async def _on(url: str, work: Callable[[Connection], T]) -> T:
    """Do something over one connection of SQLAlchemy's to the database."""
    # asyncpg reads the address by itself: it knows TLS modes, and the password
    # does not pass through SQLAlchemy
    raw = await _connect(checked(url))

    async def connect() -> asyncpg.Connection:
        return raw

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()
        raw.terminate()


async def _connect(url: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(url)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnreachableError(f"cannot use the database at {masked(url)}: {error}") from error


def _refuse_server(connection: Connection, goal: str) -> None:
    number, version, timescale, timescale_license = connection.execute(_SERVER).one()
    if number < OLDEST_SERVER:
        raise UnsafeServerError(f"PostgreSQL {version} is too old; {UPGRADE_IT}")
    if timescale_license == CANNOT_COMPRESS or MigrationContext.configure(connection).get_current_heads() == (goal,):
        return  # whoever migrates before each start of a daemon goes on: refusing that would end what still works
    if fault := fault_of_version(timescale):
        raise UnsafeServerError(f"{fault}; {UPDATE_IT}")


def _move(connection: Connection, home: Home, work: Callable[[Config], None], say: Callable[[str], None]) -> None:
    """Run an Alembic command, one process at a time, on a database that may be moved."""
    connection.execute(_ONE_AT_A_TIME)  # until the connection ends
    connection.commit()
    carried = _the_one(MigrationContext.configure(connection).get_current_heads())
    connection.commit()
    if carried is not None:
        _refuse_stranger(_scripts(), carried, home)
    config = _config()
    config.attributes["connection"] = connection
    try:
        _patiently(connection, lambda: work(config), say)
    except CommandError as error:
        raise RevisionError(f"cannot migrate: {error}") from error
    except DBAPIError as error:
        hint = f". {_hindrance(connection)}. Let that end, or end it, and run this again" if _is_in_use(error) else ""
        raise RevisionError(f"cannot migrate: {error.orig}; nothing of the failed revision is left{hint}") from error


def _patiently(connection: Connection, work: Callable[[], None], say: Callable[[str], None]) -> None:
    """Do it again while a table that it needs for itself is in use: a reader of an hour must not stop writers."""
    connection.exec_driver_sql(_LOCK_TIMEOUT)
    connection.commit()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with _ALEMBIC:
                work()
        except DBAPIError as error:
            connection.rollback()
            if not _is_in_use(error) or time.monotonic() > deadline:
                raise
            say(f"{_hindrance(connection)}; waiting up to {_PATIENCE_SECONDS:.0f} s")
            connection.rollback()
            say = _unsaid
            time.sleep(_PAUSE_SECONDS)  # in which those who queued have their turn
        else:
            return


def _is_in_use(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _IN_USE


def _hindrance(connection: Connection) -> str:
    """What hinders it, and who most likely does."""
    oldest = connection.execute(_HOLDER).scalar()
    return "a table that it needs for itself is in use" + (f": {oldest}" if oldest else "")


def _the_one(carried: Sequence[str]) -> str | None:
    if len(carried) > 1:
        raise OtherHomeError(f"the database carries {' and '.join(carried)}; it must be one kind of database")
    return carried[0] if carried else None


def _refuse_stranger(scripts: ScriptDirectory, carried: str, home: Home) -> None:
    try:
        script = scripts.get_revision(carried)
    except CommandError:
        script = None
    if script is None:
        raise UnknownRevisionError(
            f"the database carries revision {carried}, which this version does not know: a later kalshi-platform has "
            "migrated it; update this installation, or go down with the later one first"
        )
    if home.value not in script.branch_labels:
        raise OtherHomeError(f"the database carries {carried}: it is no {home.value} database; check the address")


def _target(home: Home, revision: str) -> str:
    return f"{home.value}@{revision}" if revision in ("head", "base") else revision


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _folder() -> Path:
    """The migrations: inside an installed package, else at the root of a checkout."""
    package = Path(__file__).parents[1]
    return next(place for place in (package / "_alembic", package.parent / "alembic") if (place / "env.py").exists())
