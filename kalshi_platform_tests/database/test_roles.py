import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg
import pytest

from kalshi_platform.core.catalogue import MarketFacts, SeriesFacts
from kalshi_platform.core.schema import TRADES, Home, tables_of
from kalshi_platform.database.bulk import Stage
from kalshi_platform.database.catalog import source_identity
from kalshi_platform.database.metadata import upsert
from kalshi_platform.database.migrations import check_revision, migrate_async
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform.database.roles import ROLES_OF, Role, create_login, scram_verifier

DAY = date(2026, 11, 21)
INSERT_TRADE = (
    "INSERT INTO trades (exchange_ts, trade_id, ticker, price, size, is_block_trade, received_at) "
    "VALUES ('2026-11-21 12:00+00', gen_random_uuid(), 'T', 1, 1, false, now())"
)
INSERT_CURSOR = (
    "INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, rows_read, rows_merged) "
    "VALUES ('g', 'trades', 's', '1', 0, 0)"
)
INSERT_GAP = (
    "INSERT INTO capture_gaps (detected_at, gatherer_id, connection, sid, channel, ticker, cause, expected_seq, "
    "seen_seq, markets, from_at) VALUES (now(), 'g', 'c', 1, 'trade', '', 'sequence', 1, 2, 3, now())"
)
MOVE_CURSOR = "UPDATE sync_cursors SET next_xid = '2', updated_at = now()"
ENSURE = "SELECT kalshi_ensure_partition('trades', '2026-11-22')"
NEVER = [
    "UPDATE trades SET size = 2",
    "DELETE FROM trades",
    "TRUNCATE trades",
    "DROP TABLE trades",
    "DROP TABLE trades_20261121",
    "DELETE FROM trades_20261121",
    "ALTER TABLE trades ADD COLUMN extra int",
    "ALTER TABLE trades DETACH PARTITION trades_20261121",
    "CREATE TABLE mine ()",
    "CREATE OR REPLACE FUNCTION kalshi_ensure_partition(table_name text, day date) RETURNS boolean "
    "LANGUAGE sql AS 'SELECT true'",
    "UPDATE alembic_version SET version_num = 'x'",
    "CREATE ROLE somebody",
    "SELECT pg_read_file('postgresql.conf')",
]

Login = Callable[[Role], Awaitable[asyncpg.Connection]]


@asynccontextmanager
async def logins(url: str, home: Home) -> AsyncIterator[Login]:
    """A migrated database with one partition, and a way to connect to it with the rights of one role."""
    await migrate_async(url, home)
    owner = await asyncpg.connect(url)
    await ensure_partitions(owner, TRADES, [DAY])
    sessions: list[asyncpg.Connection] = [owner]

    async def login(role: Role) -> asyncpg.Connection:
        await create_login(owner, f"member of {role}", "pass word", role)
        sessions.append(await asyncpg.connect(url, user=f"member of {role}", password="pass word"))
        return sessions[-1]

    try:
        yield login
    finally:
        for session in sessions[1:]:
            await session.close()
        for role in ROLES_OF[home]:
            await owner.execute(f'DROP ROLE IF EXISTS "member of {role}"')
        await owner.close()


async def refused(session: asyncpg.Connection, *statements: str) -> None:
    """Each of the statements is refused for want of a right."""
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await session.execute(statement)


async def can_read_all(session: asyncpg.Connection, home: Home) -> None:
    """Every table of the database can be read, and its revision."""
    for table in tables_of(home):
        await session.fetch(f"SELECT * FROM {table.name}")  # noqa: S608
    await session.fetch("SELECT * FROM alembic_version")


async def test_gatherer_adds_and_changes_nothing(empty_database: str) -> None:
    """It may add rows and partitions, and read; no row that stands is ever changed or removed."""
    async with logins(empty_database, Home.GATHERER) as login:
        gatherer = await login(Role.GATHERER)
        await gatherer.execute(INSERT_TRADE)
        assert await gatherer.fetchval(ENSURE) is True
        await gatherer.execute("INSERT INTO ingest_batches (table_name, row_count) VALUES ('trades', 1)")
        async with gatherer.transaction():
            assert await Stage(TRADES, Home.GATHERER).insert_new(gatherer, []) == 0  # staging in a temporary table
        await can_read_all(gatherer, Home.GATHERER)
        await gatherer.execute(INSERT_GAP)
        await gatherer.execute("UPDATE capture_gaps SET until_at = now(), healed_by = 'snapshots', ingest_xid = '9'")
        await gatherer.execute("UPDATE capture_sessions SET ended_at = now(), ended_by = 'stopped', ingest_xid = '9'")
        await refused(gatherer, *NEVER, "SELECT * FROM trades_20261121", "INSERT INTO trades_20261121 DEFAULT VALUES")
        await refused(
            gatherer,
            "UPDATE capture_gaps SET from_at = now()",
            "UPDATE capture_sessions SET started_at = now()",
            "UPDATE book_differences SET levels = 0",
            "DELETE FROM capture_gaps",
        )


async def test_sync_only_reads(empty_database: str) -> None:
    """It reads through the parents, the identity of the source, and may do nothing else."""
    async with logins(empty_database, Home.GATHERER) as login:
        gatherer, sync = await login(Role.GATHERER), await login(Role.SYNC)
        await gatherer.execute(INSERT_TRADE)
        await gatherer.execute(ENSURE)  # a partition that is younger than the grants
        assert await sync.fetchval("SELECT count(*) FROM trades") == 1
        await can_read_all(sync, Home.GATHERER)
        assert await source_identity(sync) == await source_identity(gatherer)
        await sync.fetchval("SELECT pg_snapshot_xmin(pg_current_snapshot())")
        await refused(sync, *NEVER, INSERT_TRADE, ENSURE, "INSERT INTO ingest_batches VALUES ('trades', '1', 1)")


async def test_deduplicator_merges_and_moves_cursors(empty_database: str) -> None:
    """It may add rows and partitions and move cursors; no row of the record is ever changed or removed."""
    async with logins(empty_database, Home.PRODUCTION) as login:
        dedup = await login(Role.DEDUP)
        await dedup.execute(INSERT_TRADE)
        assert await dedup.fetchval(ENSURE) is True
        assert await dedup.fetchval("SELECT kalshi_index_recent('trades')") is not None
        await dedup.execute(INSERT_CURSOR)
        await dedup.execute(MOVE_CURSOR)
        await dedup.fetch("SELECT * FROM sync_cursors FOR UPDATE")
        assert len(await dedup.fetch("SELECT * FROM sync_progress")) == 1
        assert (
            await dedup.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") is not None
        )  # who leads
        async with dedup.transaction():
            assert await Stage(TRADES, Home.PRODUCTION).insert_new(dedup, []) == 0
        await can_read_all(dedup, Home.PRODUCTION)
        await dedup.execute(INSERT_GAP)
        await dedup.execute("UPDATE capture_gaps SET until_at = now(), healed_by = 'snapshots'")
        await dedup.execute("UPDATE capture_sessions SET ended_at = now(), ended_by = 'stopped'")
        await dedup.execute("UPDATE coverage_hours SET is_stale = true")
        await dedup.execute("DELETE FROM uncovered_intervals")
        assert await dedup.fetch("SELECT * FROM kalshi_coverage('trade', now(), now())") == []
        await refused(
            dedup,
            *NEVER,
            "DELETE FROM sync_cursors",
            "UPDATE capture_gaps SET from_at = now()",
            "DELETE FROM capture_sessions",
            "DELETE FROM merge_conflicts",
            "UPDATE merge_conflicts SET kept = '{}'",
            "DELETE FROM coverage_hours",
        )


async def test_export_only_reads(empty_database: str) -> None:
    """It reads the record and may do nothing else."""
    async with logins(empty_database, Home.PRODUCTION) as login:
        dedup, export = await login(Role.DEDUP), await login(Role.EXPORT)
        await dedup.execute(INSERT_TRADE)
        assert await export.fetchval("SELECT count(*) FROM trades") == 1
        assert await export.fetch("SELECT * FROM sync_progress") == []
        await can_read_all(export, Home.PRODUCTION)
        await refused(export, *NEVER, INSERT_TRADE, ENSURE, INSERT_CURSOR, MOVE_CURSOR)


VIEWS = ["trades", "orderbook_deltas", "orderbook_snapshots", "tickers", "latest_book", "best_bid_offer"]
METADATA_VIEWS = ["series", "events", "markets", "market_statuses"]
MERGE_VIEWS = ["coverage_hours", "uncovered_intervals", "capture_gaps", "capture_sessions", "merge_conflicts"]


async def test_analyst_sees_views_and_nothing_else(empty_database: str) -> None:
    """Dollars and contracts, no table, no revision, no cursor; nothing can be changed through a view."""
    async with logins(empty_database, Home.PRODUCTION) as login:
        dedup, analyst = await login(Role.DEDUP), await login(Role.ANALYST)
        await dedup.execute(INSERT_TRADE)
        assert await analyst.fetchval("SELECT size FROM people.trades") == Decimal("0.01")
        for view in (*VIEWS, *METADATA_VIEWS, *MERGE_VIEWS, "book_differences"):
            await analyst.fetch(f"SELECT * FROM people.{view}")  # noqa: S608
        await analyst.fetch("SELECT * FROM people.book_at('T', now())")
        await refused(analyst, *NEVER, INSERT_TRADE, ENSURE, INSERT_CURSOR)
        await refused(analyst, *(f"SELECT * FROM public.{table.name}" for table in tables_of(Home.PRODUCTION)))  # noqa: S608
        await refused(
            analyst,
            "SELECT * FROM alembic_version",
            "SELECT kalshi_index_recent('trades')",
            "UPDATE people.trades SET ticker = 'X'",
            "INSERT INTO people.series (ticker, seen_at, object) VALUES ('S', now(), '{}')",
            "DELETE FROM people.trades",
            "CREATE VIEW people.mine AS SELECT 1",
        )


async def test_catalogue_fills_metadata_and_nothing_else(empty_database: str) -> None:
    """It describes markets; the record, the cursors and what may be dropped are not its own."""
    async with logins(empty_database, Home.PRODUCTION) as login:
        catalogue = await login(Role.CATALOGUE)
        seen = datetime(2026, 11, 21, tzinfo=UTC)
        market = MarketFacts(ticker="M", event_ticker="E", status="active", seen_at=seen, object={})
        assert (await upsert(catalogue, [SeriesFacts(ticker="S", seen_at=seen, object={})])).new == 1
        assert (await upsert(catalogue, [market])).new == 1
        await refused(catalogue, *NEVER, INSERT_TRADE, ENSURE, INSERT_CURSOR, "DELETE FROM series")
        await refused(catalogue, "SELECT * FROM trades", "SELECT * FROM lake_proofs", "SELECT * FROM people.trades")


@pytest.mark.parametrize("role", [Role.DEDUP, Role.EXPORT, Role.CATALOGUE, Role.ANALYST])
async def test_only_the_owner_says_what_may_be_dropped(empty_database: str, role: Role) -> None:
    """Proofs and policies decide over rows, so no daemon can write them."""
    async with logins(empty_database, Home.PRODUCTION) as login:
        await refused(
            await login(role),
            "INSERT INTO lake_proofs VALUES ('trades', now(), now(), 0, '', '', now())",
            "UPDATE lake_proofs SET row_count = 0",
            "UPDATE table_policies SET keep_days = 1",
            "DELETE FROM table_policies",
        )


async def test_members_may_ask_for_the_revision(empty_database: str) -> None:
    """A daemon checks the schema with no more rights than its role has."""
    async with logins(empty_database, Home.GATHERER) as login:
        await login(Role.SYNC)
        place = empty_database.rpartition("@")[2]
        await check_revision(f"postgresql://member%20of%20kalshi_sync:pass%20word@{place}", Home.GATHERER)


async def test_group_roles_have_no_login(gatherer_database: str) -> None:
    """Nobody can connect as a group role itself, and none may make roles or databases."""
    session = await asyncpg.connect(gatherer_database)
    found = await session.fetch(
        "SELECT * FROM pg_roles WHERE rolname = any($1) AND "
        "(rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)",
        [str(role) for role in Role],
    )
    assert found == []
    await session.close()


async def test_login_can_be_made_again(empty_database: str) -> None:
    """The second time it gets the new password; the server never saw either of them."""
    async with logins(empty_database, Home.GATHERER) as login:
        await login(Role.SYNC)
        await login(Role.SYNC)


def test_verifier_is_what_postgresql_stores() -> None:
    """The known answer of RFC 7677's example: user "user", password "pencil"."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert scram_verifier("pencil", salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    with pytest.raises(ValueError, match="printable ASCII"):
        scram_verifier("pässword", salt)
