import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection
from sqlalchemy.ext.asyncio import create_async_engine

from kalshi_platform.core.schema import Home, tables_of
from kalshi_platform.database.compression import apply_compression, fault_of_version
from kalshi_platform.database.errors import (
    DatabaseUnreachableError,
    OtherHomeError,
    OutdatedDatabaseError,
    RevisionError,
    UnknownRevisionError,
    UnsafeServerError,
)
from kalshi_platform.database.migrations import check_revision, current_revision, downgrade, migrate, migrate_async
from kalshi_platform.database.tables import metadata
from kalshi_platform.database.urls import database_name, sqlalchemy_url
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres

HOMES = pytest.mark.parametrize("home", [Home.GATHERER, Home.PRODUCTION])
HEADS = {Home.GATHERER: "gatherer_0004", Home.PRODUCTION: "production_0007"}
ROOT = Path(__file__).parents[2]


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    """All rows of a statement."""

    async def fetch() -> list[tuple[object, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def differences(url: str, home: Home) -> list[object]:
    """What Alembic finds different between a database and the tables derived from the schema."""

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata(home)))

    async def run() -> list[object]:
        engine = create_async_engine(sqlalchemy_url(url))
        async with engine.connect() as connection:
            found = await connection.run_sync(compare)
        await engine.dispose()
        return found

    return asyncio.run(run())


@HOMES
def test_migrated_database_is_the_schema(empty_database: str, home: Home) -> None:
    """Tables, columns, types, defaults, keys and indexes; comments; partitions and checks."""
    migrate(empty_database, home)
    assert differences(empty_database, home) == []
    comments = query(
        empty_database,
        "SELECT relname, attname, col_description(attrelid, attnum), obj_description(attrelid, 'pg_class') "
        "FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 "
        "AND relname <> 'alembic_version' ORDER BY relname, attnum",
    )
    wanted = sorted(tables_of(home), key=lambda table: table.name)
    assert comments == [
        (table.name, column.name, column.comment, table.comment)
        for table in wanted
        for column in table.columns_of(home)
    ]
    partitioned = query(
        empty_database, "SELECT partrelid::regclass::text, pg_get_partkeydef(partrelid) FROM pg_partitioned_table"
    )
    assert sorted(partitioned) == [(t.name, f"RANGE ({t.time_column})") for t in wanted if t.time_column]


@HOMES
def test_checks_are_those_of_the_schema(empty_database: str, home: Home) -> None:
    """Every price lies between nothing and a dollar, under the name that the schema gives the rule."""
    migrate(empty_database, home)
    found = query(
        empty_database,
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'c' AND connamespace = 'public'::regnamespace",
    )
    wanted = {
        (table.name, str(check.name))
        for table in metadata(home).tables.values()
        for check in table.constraints
        if isinstance(check, CheckConstraint)
    }
    assert {(table, name) for table, name, _ in found} == wanted
    assert ("trades", "trades_price_within_a_dollar") in wanted
    prices = [str(rule) for _, name, rule in found if str(name).endswith("_within_a_dollar")]
    assert len(prices) >= 6
    assert all(">= 0" in rule and "<= 1000000" in rule for rule in prices)


@HOMES
def test_up_down_up_with_rows(empty_database: str, home: Home) -> None:
    """Down to nothing and up again works on a database with partitions and rows, and leaves nothing of ours."""
    for _ in range(2):
        migrate(empty_database, home)
        query(empty_database, "SELECT kalshi_ensure_partition('trades', '2026-11-21')")
        query(
            empty_database,
            "INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at) "
            "VALUES ('2026-11-21 12:00+00', gen_random_uuid(), 'T', 1, 1, false, now())",
        )
        assert current_revision(empty_database) == HEADS[home]
        downgrade(empty_database, home)
        assert current_revision(empty_database) is None
        left = query(
            empty_database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
        )
        assert left == [("alembic_version",), ("alembic_version_pkc",)]
        assert query(empty_database, "SELECT proname FROM pg_proc WHERE proname LIKE 'kalshi%'") == []


OLD_GAP = "'2026-11-21 12:00+00', 'orderbook-1', 7, 'orderbook_delta', 3, 6, 200"
OLD_COLUMNS = "detected_at, connection, sid, channel, expected_seq, seen_seq, markets"


def test_gaps_outlive_their_new_shape(empty_database: str) -> None:
    """gatherer_0002 remakes `capture_gaps`: its rows stay with their transactions; down, what it knew before stays."""
    migrate(empty_database, Home.GATHERER, "gatherer_0001")
    query(empty_database, f"INSERT INTO capture_gaps ({OLD_COLUMNS}) VALUES ({OLD_GAP})")  # noqa: S608
    before = query(empty_database, f"SELECT {OLD_COLUMNS}, ingest_xid FROM capture_gaps")  # noqa: S608
    migrate(empty_database, Home.GATHERER, "gatherer_0002")
    new = "SELECT gatherer_id, ticker, cause, from_at = detected_at, until_at, healed_by FROM capture_gaps"
    assert query(empty_database, new) == [("", "", "sequence", True, None, None)]
    for cause, ticker in (("sequence", ""), ("sequence", "A"), ("disconnected", "")):
        query(
            empty_database,
            f"INSERT INTO capture_gaps (gatherer_id, ticker, cause, from_at, {OLD_COLUMNS}) "  # noqa: S608
            f"VALUES ('g', '{ticker}', '{cause}', now(), {OLD_GAP.replace('12:00', '13:00')})",
        )
    downgrade(empty_database, Home.GATHERER, "gatherer_0001")
    kept = query(empty_database, f"SELECT {OLD_COLUMNS}, ingest_xid FROM capture_gaps ORDER BY 1")  # noqa: S608
    assert len(kept) == 2  # the two holes in a sequence of 13:00 are one where no market tells them apart
    assert kept[0] == before[0]


def test_cursors_outlive_shards(empty_database: str) -> None:
    """production_0007: up, every cursor is that of one shard; down, what is cut for several is read from 0."""
    migrate(empty_database, Home.PRODUCTION, "production_0006")
    columns = "gatherer_id, table_name, source, next_xid::text, watermark IS NULL, rows_read, witness"
    before = [("g1", "tickers", "s", "5", True, 9, "tickers 4 1"), ("g1", "trades", "s", "7", True, 10, "trades 6 1")]
    for gatherer, table, source, xid, _, rows, witness in before:
        values = f"'{gatherer}', '{table}', '{source}', '{xid}', {rows}, 0, '{witness}'"
        names = "gatherer_id, table_name, source, next_xid, rows_read, rows_merged, witness"
        query(empty_database, f"INSERT INTO sync_cursors ({names}) VALUES ({values})")  # noqa: S608 - ours
    migrate(empty_database, Home.PRODUCTION)
    assert query(empty_database, "SELECT DISTINCT shard, shards FROM sync_cursors") == [(1, 1)]
    progress = "SELECT gatherer_id, table_name, source, next_xid::text, rows_read FROM sync_progress ORDER BY 2"
    assert query(empty_database, progress) == [(*one[:4], one[5]) for one in before]
    query(empty_database, "UPDATE sync_cursors SET shards = 2, watermark = now() WHERE table_name = 'trades'")
    query(
        empty_database,
        "INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, rows_read, rows_merged, shard, shards) "
        "VALUES ('g1', 'trades', 's', '6', 3, 0, 2, 2), ('g1', 'tickers', '', '0', 1, 0, 2, 1)",
    )
    assert query(empty_database, progress) == [("g1", "tickers", "s", "5", 10), ("g1", "trades", "s", "6", 13)]
    downgrade(empty_database, Home.PRODUCTION, "production_0006")
    assert query(empty_database, f"SELECT {columns} FROM sync_cursors ORDER BY 2") == [  # noqa: S608 - ours
        ("g1", "tickers", "s", "5", True, 10, "tickers 4 1"),
        ("g1", "trades", "", "0", True, 13, None),
    ]
    assert query(empty_database, "SELECT * FROM kalshi_coverage('trade', now(), now())") == []


def test_downgrade_leaves_roles_that_others_need(new_empty_database: Callable[[], str]) -> None:
    """Roles belong to the cluster: they go only with the last database and member that use them."""
    first, second = new_empty_database(), new_empty_database()
    roles = "SELECT rolname FROM pg_roles WHERE rolname IN ('kalshi_dedup', 'kalshi_export', 'kalshi_analyst')"
    migrate(first, Home.PRODUCTION)
    migrate(second, Home.PRODUCTION)
    downgrade(first, Home.PRODUCTION)
    assert len(query(second, roles)) == 3
    query(second, "CREATE ROLE merging_person LOGIN IN ROLE kalshi_dedup")
    downgrade(second, Home.PRODUCTION)
    assert ("kalshi_dedup",) in query(second, roles)
    query(second, "DROP ROLE merging_person")


def test_several_migrations_at_once(new_empty_database: Callable[[], str]) -> None:
    """Databases of one cluster, and one database from several processes: all end migrated."""
    urls = [new_empty_database() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(migrate, url, Home.GATHERER) for url in urls * 2]:
            done.result()
    assert [current_revision(url) for url in urls] == [HEADS[Home.GATHERER]] * 4


async def test_migrating_below_a_running_loop(empty_database: str) -> None:
    """Both the synchronous and the asynchronous form work where an event loop runs; repeating changes nothing."""
    migrate(empty_database, Home.GATHERER)
    await migrate_async(empty_database, Home.GATHERER)
    await check_revision(empty_database, Home.GATHERER)


async def test_strange_databases_are_refused_in_plain_words(new_empty_database: Callable[[], str]) -> None:
    """Never migrated, the other kind, or migrated by a later version: each is said, and nothing is touched."""
    url = new_empty_database()
    with pytest.raises(OutdatedDatabaseError, match="migrate production"):
        await check_revision(url, Home.PRODUCTION)
    migrate(url, Home.PRODUCTION)
    for refused in (lambda: migrate(url, Home.GATHERER), lambda: downgrade(url, Home.GATHERER)):
        with pytest.raises(OtherHomeError, match="no gatherer database"):
            refused()
    with pytest.raises(OtherHomeError):
        await check_revision(url, Home.GATHERER)
    with pytest.raises(RevisionError, match="cannot migrate"):
        migrate(url, Home.PRODUCTION, "no_such_revision")
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = 'production_9999'")
    await connection.close()
    for refused in (lambda: migrate(url, Home.PRODUCTION), lambda: downgrade(url, Home.PRODUCTION)):
        with pytest.raises(UnknownRevisionError, match="production_9999, which this version does not know"):
            refused()
    with pytest.raises(UnknownRevisionError):
        await check_revision(url, Home.PRODUCTION)
    assert current_revision(url) == "production_9999"


LOSING = (
    "CREATE EXTENSION btree_gin",
    "UPDATE pg_extension SET extname = 'timescaledb', extversion = '2.17.2' WHERE extname = 'btree_gin'",
)
"""No server here has such a TimescaleDB, so the catalog says that it has."""


def test_a_timescaledb_that_loses_rows_is_refused(empty_database: str) -> None:
    """It is said with what to do, and nothing is made."""
    assert [fault_of_version(version) for version in (None, "2.18.1", "2.23.0-dev")] == ["", "", ""]
    for statement in LOSING:
        query(empty_database, statement)
    with pytest.raises(UnsafeServerError, match=r"2\.17\.2 loses rows.*ALTER EXTENSION"):
        migrate(empty_database, Home.GATHERER)
    assert query(empty_database, "SELECT to_regclass('trades')") == [(None,)]


@pytest.mark.parametrize("migrated", [Home.GATHERER, None])
def test_a_timescaledb_that_loses_rows_stops_nobody_for_nothing(empty_database: str, migrated: Home | None) -> None:
    """Whoever migrates before each start goes on capturing, and the Apache edition, which cannot compress, may stay."""
    if migrated is None:
        query(empty_database, f"ALTER DATABASE {database_name(empty_database)} SET timescaledb.license = 'apache'")
        to = "gatherer_0001"  # later ones would make hypertables, which btree_gin cannot
    else:
        migrate(empty_database, migrated)
        to = "head"
    for statement in LOSING:
        query(empty_database, statement)
    migrate(empty_database, Home.GATHERER, to)
    assert current_revision(empty_database) == (HEADS[Home.GATHERER] if to == "head" else to)


COMPRESSED = (
    "CREATE TABLE trades ()",
    "CREATE TABLE table_policies AS SELECT 'trades' AS table_name, 24 AS compress_hours",
    "CREATE SCHEMA timescaledb_information",
    'CREATE TABLE timescaledb_information.jobs AS SELECT \'{"compress_after": "1 day"}\'::jsonb AS config, '
    "'policy_compression' AS proc_name, 'public' AS hypertable_schema, 'trades' AS hypertable_name",
)
"""What TimescaleDB would show of one table with a policy."""


async def test_a_timescaledb_that_loses_rows_is_not_told_to_compress(empty_database: str) -> None:
    """Not in the first place; a policy that is there already stays as it is."""
    connection = await asyncpg.connect(empty_database, server_settings={"timescaledb.license": "timescale"})
    for statement in (*LOSING, *COMPRESSED):
        await connection.execute(statement)
    assert await apply_compression(connection) == []
    await connection.execute("DELETE FROM timescaledb_information.jobs")
    with pytest.raises(UnsafeServerError, match=r"2\.17\.2 loses rows.*ALTER EXTENSION"):
        await apply_compression(connection)
    await connection.close()


def test_a_server_that_is_too_old_is_refused(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made; no server here is, so the oldest one is raised above them."""
    monkeypatch.setattr("kalshi_platform.database.migrations.OLDEST_SERVER", 990_000)
    with pytest.raises(UnsafeServerError, match=r"PostgreSQL 1\d\.\d+.* is too old; 15 to 18"):
        migrate(empty_database, Home.GATHERER)
    assert query(empty_database, "SELECT to_regclass('alembic_version')") == [(None,)]


def test_awkward_password_works_unseen(cluster: EmbeddedPostgres, capfd: pytest.CaptureFixture[str]) -> None:
    """A percent sign, a colon, an at sign; and the errors of a wrong one do not repeat it."""
    cluster.create_database("awkward")
    query(cluster.url(), "CREATE ROLE awkward LOGIN SUPERUSER PASSWORD 'p%25w:d@/?#%'")
    url = f"postgresql://awkward:p%2525w%3Ad%40%2F%3F%23%25@127.0.0.1:{cluster.port}/awkward"
    migrate(url, Home.GATHERER)
    wrong = url.replace("awkward:p", "awkward:sesame")
    with pytest.raises(DatabaseUnreachableError, match="password authentication failed") as caught:
        migrate(wrong, Home.GATHERER)
    assert "sesame" not in repr(caught.value)
    assert "p%25w" not in "".join(capfd.readouterr())
    cluster.drop_database("awkward")
    query(cluster.url(), "DROP ROLE awkward")


def test_folder_alembic_does_not_hide_the_library() -> None:
    """From the root of the checkout, where the folder of the same name lies, `import alembic` finds the library."""
    script = "import alembic, alembic.config; print(alembic.__version__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1.")
    assert not (ROOT / "alembic" / "__init__.py").exists()


@pytest.mark.slow
def test_alembic_itself_reads_the_history_and_touches_no_database() -> None:
    """`alembic heads` shows both branches; `alembic upgrade` says how it is done instead."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    heads, upgrade = (
        subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        for arguments in (["heads"], ["upgrade", "gatherer@head"])
    )
    for home, head in HEADS.items():
        assert f"{head} ({home.value}) (head)" in heads.stdout
    assert "kalshi-platform migrate" in upgrade.stderr
