"""Every revision up and down on databases with rows, on the oldest and the newest PostgreSQL."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from kalshi_platform.core.schema import STREAM_TABLES, Home
from kalshi_platform.database import migrations
from kalshi_platform.database.errors import RevisionError
from kalshi_platform.database.migrations import current_revision, downgrade, migrate, migrate_async
from kalshi_platform_tests.database.test_migrations import HEADS, HOMES, ROOT, query

VALUES = {
    "text": "'x'",
    "integer": "7",
    "bigint": "7",
    "boolean": "true",
    "uuid": "'00000000-0000-0000-0000-000000000007'",
    "bytea": "'\\x07'",
    "jsonb": "'{\"a\": 1}'",
    "numeric": "7.5",
    "timestamp with time zone": "'2026-11-21 12:00:00.123456+00'",
    "integer[]": "'{1,2}'",
    "bigint[]": "'{3,4}'",
    "xid8": "'7'",
}
COLUMNS = """
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, NULL)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
AND c.relname NOT IN ('alembic_version', 'table_policies') ORDER BY c.relname, a.attnum
"""


def chain(home: Home) -> list[str]:
    """The revisions of a branch, first to last."""
    scripts = ScriptDirectory(str(ROOT / "alembic"))
    found = [script.revision for script in scripts.walk_revisions(head=HEADS[home], base="base")]
    return found[::-1]


def put_a_row_everywhere(url: str) -> dict[str, list[tuple[object, ...]]]:
    """One row with every column filled, in every table that is there; returns what now stands in each."""
    tables: dict[str, dict[str, str]] = {}
    for table, column, kind in query(url, COLUMNS):
        tables.setdefault(str(table), {})[str(column)] = VALUES[str(kind)]
    for table in STREAM_TABLES:
        query(url, f"SELECT kalshi_ensure_partition('{table.name}', '2026-11-21')")
    for name, row in tables.items():
        query(url, f"INSERT INTO {name} ({', '.join(row)}) VALUES ({', '.join(row.values())}) ON CONFLICT DO NOTHING")  # noqa: S608
    return {name: query(url, f"SELECT {', '.join(row)} FROM {name}") for name, row in tables.items()}  # noqa: S608


def standing(url: str, before: dict[str, list[tuple[object, ...]]]) -> set[str]:
    """The tables whose rows are what they were, to the last value; what a later revision added stands behind."""
    names = {str(row[0]) for row in query(url, COLUMNS)}
    return {name for name, rows in before.items() if name in names and _without_news(url, name, rows) == rows}


def _without_news(url: str, name: str, rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [tuple(row)[: len(rows[0])] for row in query(url, f"TABLE {name}")]


REMADE = {"capture_gaps", "sync_cursors"}
"""Tables whose rows a revision remakes: other columns, one cursor of several. Their rows have tests of their own."""


@pytest.mark.slow
@HOMES
def test_rows_outlive_every_way_up_and_down(new_empty_database: Callable[[], str], home: Home) -> None:
    """From each revision to the newest, then down one by one: what a revision knows of is not touched by the next."""
    revisions = chain(home)
    for start in range(len(revisions)):
        url = new_empty_database()
        migrate(url, home, revisions[start])
        before = put_a_row_everywhere(url)
        assert all(len(rows) == 1 for rows in before.values())
        migrate(url, home)
        assert current_revision(url) == revisions[-1]
        assert standing(url, before) >= set(before) - REMADE
        put_a_row_everywhere(url)
        for revision in revisions[-2::-1]:
            downgrade(url, home, revision)
            known = set(before) if revision == revisions[start] else set()
            assert standing(url, before) >= known - REMADE
        downgrade(url, home)
        assert query(url, COLUMNS) == []


@HOMES
def test_steps_leave_what_they_found(empty_database: str, home: Home) -> None:
    """Down to each revision and up again is the same schema, with policies, views and roles in place."""
    revisions = chain(home)
    migrate(empty_database, home)
    objects = (
        "SELECT oid::regclass::text, relkind::text, coalesce(array_to_string(relacl, ' '), '') FROM pg_class "
        "WHERE relnamespace IN ('public'::regnamespace, 'people'::regnamespace) ORDER BY 1"
    )
    before = query(empty_database, objects), query(empty_database, "TABLE table_policies")
    for revision in revisions[:-1]:
        downgrade(empty_database, home, revision)
        migrate(empty_database, home)
        assert (query(empty_database, objects), query(empty_database, "TABLE table_policies")) == before


@HOMES
async def test_writers_wait_and_lose_nothing(empty_database: str, home: Home) -> None:
    """While the newest revision is applied and taken back, a writer of deltas goes on without one error."""
    revisions = chain(home)
    await migrate_async(empty_database, home, revisions[0])
    writer = await asyncpg.connect(empty_database, command_timeout=20)
    day = datetime(2026, 11, 21, tzinfo=UTC)
    await writer.execute("SELECT kalshi_ensure_partition('orderbook_deltas', $1)", day.date())
    sid = ", sid" if home is Home.GATHERER else ""
    insert = (
        f"INSERT INTO orderbook_deltas (exchange_ts, ticker, side, price, size_delta, occurrence, position, seq, "  # noqa: S608
        f"received_at{sid}) SELECT $1, 'T' || n, true, 1, 1, $2, 0, 1, $1{', 1' if sid else ''} "
        "FROM generate_series(1, 100) AS n"
    )
    done = asyncio.Event()

    async def write() -> int:
        batches = 0
        while not done.is_set():
            await writer.execute(insert, day, batches)
            batches += 1
        return batches

    writing = asyncio.create_task(write())
    for _ in range(2):
        await migrate_async(empty_database, home)
        await asyncio.to_thread(downgrade, empty_database, home, revisions[0])
    done.set()
    batches = await writing
    assert batches > 10
    assert await writer.fetchval("SELECT count(*) FROM orderbook_deltas") == batches * 100
    await writer.close()


async def test_a_long_reader_stops_the_migration_and_nobody_else(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump holds every table: whoever writes goes on all the same, and the migration when the dump is done.

    Where that takes too long, the error says who it is, and nothing is left of the migration.
    """
    home = Home.PRODUCTION
    await migrate_async(empty_database, home, "production_0006")
    reader = await asyncpg.connect(empty_database, server_settings={"application_name": "pg_dump"})
    writer = await asyncpg.connect(empty_database, command_timeout=20)
    cursor = (
        "INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, rows_read, rows_merged) "
        "VALUES ($1, 'trades', 's', '1', 0, 0)"
    )
    async with reader.transaction():
        await reader.fetch("SELECT * FROM sync_cursors")
        monkeypatch.setattr(migrations, "_PATIENCE_SECONDS", 0.0)
        with pytest.raises(RevisionError, match=r"in use: pg_dump of .* \(pid \d+\)") as refused:
            await migrate_async(empty_database, home)
        assert "run this again" in str(refused.value)
        assert await asyncio.to_thread(current_revision, empty_database) == "production_0006"
        monkeypatch.undo()
        said: list[str] = []
        migrating = asyncio.create_task(asyncio.to_thread(migrate, empty_database, home, say=said.append))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        async with asyncio.timeout(20):
            while not await writer.fetchval(waiting):
                await asyncio.sleep(0.01)
        await writer.execute(cursor, "g")  # queued behind the migration
        assert not migrating.done()
        async with asyncio.timeout(20):
            while not said:
                await asyncio.sleep(0.01)
    await migrating
    assert len(said) == 1
    assert "pg_dump" in said[0]
    assert await asyncio.to_thread(current_revision, empty_database) == HEADS[home]
    assert await writer.fetchval("SELECT count(*) FROM sync_progress") == 1
    await writer.close()
    await reader.close()


@pytest.mark.parametrize(("home", "head"), HEADS.items())
def test_heads_are_the_ends_of_their_branches(home: Home, head: str) -> None:
    """The tests speak of the newest revisions."""
    scripts = ScriptDirectory(str(ROOT / "alembic"))
    assert head in scripts.get_heads()
    assert chain(home)[0] == f"{home.value}_0001"
