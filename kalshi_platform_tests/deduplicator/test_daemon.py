"""The whole daemon while production is away, one gatherer is gone for good and another's clock is wrong."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kalshi_platform.core.records import SessionRow
from kalshi_platform.core.schema import CAPTURE_SESSIONS, CAPTURE_TABLES, STREAM_TABLES, Home
from kalshi_platform.database.migrations import migrate_async
from kalshi_platform.deduplicator import daemon
from kalshi_platform.deduplicator.daemon import Deduplicator
from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.embedded_postgres import EmbeddedPostgres
from kalshi_platform_tests.deduplicator.rows import T0, deltas, until_read, write
from kalshi_platform_tests.queries import fetch, value

OUTAGE_SECONDS = float(os.environ.get("KALSHI_TEST_OUTAGE_SECONDS", "3"))
"""How long production is away; what must hold is five minutes."""

_HOUR_US = 3_600_000_000
_SKEW_US = 2_000_000
_OURS = "FROM pg_stat_activity WHERE datname = current_database()"
_WAITING = f"SELECT count(*) {_OURS} AND application_name = 'announcing gatherers' AND wait_event = 'advisory'"
_MERGING = f"SELECT count(*) {_OURS} AND application_name LIKE 'merge %'"


@pytest.fixture
def own_server(roomy_place: Path | None) -> Iterator[EmbeddedPostgres]:
    """A production server that a test may stop."""
    with tempfile.TemporaryDirectory(prefix="kalshi-tests-", dir=roomy_place) as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "postgres", settings={"fsync": "off"})
        try:
            with server:
                yield server
        finally:
            server.delete()


@asynccontextmanager
async def deduplicating(sources: dict[str, str], production: str, **settings: Any) -> AsyncIterator[Deduplicator]:
    """The daemon at work while the block runs."""
    one = Deduplicator(
        Settings(
            gatherers=",".join(f"{name}={url}" for name, url in sources.items()),
            production_database_url=production,
            metrics_port=0,
            **settings,
        )
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.run(stop))
        try:
            yield one
        finally:
            stop.set()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that health will say."""
    async with asyncio.timeout(40):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_nothing_is_lost_while_production_and_a_gatherer_are_away(
    new_gatherer_database: Callable[[], str], own_server: EmbeddedPostgres
) -> None:
    """Gatherers go on writing; one is gone for good, one has its clock 2 s behind and then set right."""
    own_server.create_database("production")
    production = own_server.url("production")
    await migrate_async(production, Home.PRODUCTION)
    living = {"gatherer-1": new_gatherer_database(), "gatherer-2": new_gatherer_database()}
    sources = {**living, "gatherer-3": "postgresql://nobody@127.0.0.1:1/none"}
    port = own_server.port
    async with deduplicating(sources, production, silence_seconds=2.0) as one:
        await _write(living, 0, 500, skew_us=_SKEW_US)
        await until_read(living, production)
        await until(lambda: _behind(one) == _SKEW_US / 1e6)  # one clock is behind, and health shows by how much
        assert any(text.startswith("gatherer-2 is 2.0 s behind") for text in one.health()["warnings"])
        own_server.stop()
        await until(lambda: not one.health()["healthy"])
        health = one.health()
        assert health["role"] == "production does not answer"
        (problem,) = health["problems"]
        assert "nothing is lost" in problem
        assert {part["state"] for part in health["gatherers"].values()} == {"waits for production"}
        written = await _write_for(OUTAGE_SECONDS, living)
        own_server._asked_port = port
        own_server.start()
        await _write(living, written, 500, skew_us=0)
        await until(lambda: bool(one.health()["healthy"]))
        await until_read(living, production)
        await until(lambda: one.health()["watermarks"]["orderbook_deltas"] is not None)
        await until(lambda: _behind(one) == 0)
        (gone,) = one.health()["warnings"]
        assert gone.startswith("gatherer-3 is not merged (ConnectionRefusedError")
        states = {name: part["state"] for name, part in one.health()["gatherers"].items() if "deltas" in name}
        assert states.pop("gatherer-3/orderbook_deltas") == "gone: nobody waits for it"
        assert all(state.startswith(("merging", "silent")) for state in states.values()), states
    total = written + 500
    assert await value(production, "SELECT count(*) FROM orderbook_deltas") == total
    assert await value(production, "SELECT sum(rows_merged)::int FROM sync_cursors") == total
    assert await value(production, "SELECT count(*) FROM merge_conflicts") == 0


async def _write(sources: dict[str, str], first: int, count: int, skew_us: int) -> None:
    """Both gatherers hear the same; the second's clock is so much behind."""
    for number, url in enumerate(sources.values()):
        late = skew_us * number
        rows = [row._replace(received_at=T0 - late) for row in deltas(first, count, gatherer=number)]
        await write(url, rows, heard=T0 + (first + count) * 1000 - late)


def _behind(one: Deduplicator) -> float | None:
    """By how many seconds health shows the second gatherer behind the first."""
    parts = one.health()["gatherers"]
    marks = [parts[f"gatherer-{number}/orderbook_deltas"]["watermark"] for number in (1, 2)]
    return None if None in marks else (marks[0] - marks[1]).total_seconds()


async def _write_for(seconds: float, sources: dict[str, str]) -> int:
    """Write until the time is over; returns how many rows there are then."""
    end = asyncio.get_running_loop().time() + seconds
    written = 500
    while asyncio.get_running_loop().time() < end:
        await _write(sources, written, 200, skew_us=_SKEW_US)
        written += 200
        await asyncio.sleep(0.2)  # the pace of traffic, not a wait for anything
    return written


@pytest.mark.slow
async def test_nothing_is_merged_before_all_gatherers_are_announced(
    gatherer_database: str, production_database: str
) -> None:
    """Else readers of the cursors would take the first that is merged for all that live, and close hours too early."""
    await write(gatherer_database, deltas(0, 10))
    sources = {"gatherer-1": gatherer_database, "gatherer-2": "postgresql://nobody@127.0.0.1:1/none"}
    holder = await asyncpg.connect(production_database)
    await holder.execute("SELECT pg_advisory_lock(hashtext('kalshi_cursors'), hashtext('gatherer-2 book_differences'))")
    async with deduplicating(sources, production_database):
        async with asyncio.timeout(40):
            while not await holder.fetchval(_WAITING):
                await asyncio.sleep(0.05)
        assert await holder.fetchval(_MERGING) == 0
        await holder.close()
        await until_read({"gatherer-1": gatherer_database}, production_database)
    announced = "SELECT count(*) FROM sync_cursors WHERE gatherer_id = 'gatherer-2'"
    assert await value(production_database, announced) == len(STREAM_TABLES) + len(CAPTURE_TABLES)


@pytest.mark.slow
async def test_a_production_that_only_reads_is_named(gatherer_database: str, production_database: str) -> None:
    """The address of a standby, say, which gives out locks: the lead is had, and nothing can be merged."""
    await write(gatherer_database, deltas(0, 10))
    owner, name = await asyncpg.connect(production_database), production_database.rpartition("/")[2]
    await owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with deduplicating({"gatherer-1": gatherer_database}, production_database) as one:
        await until(lambda: any("ReadOnlySQLTransactionError" in text for text in one.health()["problems"]))
        assert one.health()["problems"][0].startswith("production does not take the list of gatherers")
        await owner.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await until(lambda: bool(one.health()["healthy"]))
    await owner.close()


@pytest.mark.slow
async def test_what_keeps_coverage_from_being_worked_out_is_named(
    gatherer_database: str, production_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are merged all the same; once it can be, it is."""
    monkeypatch.setattr(daemon, "_COVERAGE_SECONDS", 0.1)
    await fetch(production_database, "ALTER TABLE capture_sessions RENAME COLUMN channel TO stream")
    async with deduplicating({"gatherer-1": gatherer_database}, production_database) as one:
        await write(gatherer_database, deltas(0, 10), heard=T0 + 2 * _HOUR_US)
        await until(lambda: any("UndefinedColumnError" in text for text in one.health()["problems"]))
        await until_read({"gatherer-1": gatherer_database}, production_database)
        (problem,) = one.health()["problems"]
        assert problem.startswith("what nobody heard is not worked out")
        await fetch(production_database, "ALTER TABLE capture_sessions RENAME COLUMN stream TO channel")
        await until(lambda: bool(one.health()["healthy"]))


@pytest.mark.slow
async def test_two_daemons_share_the_work(gatherer_database: str, production_database: str) -> None:
    """Each says which part is its own, and that nobody merges the other while it is alone."""
    sources = {"gatherer-1": gatherer_database}
    rows = [row._replace(ticker=f"KX-{n % 50}") for n, row in enumerate(deltas(0, 1000))]
    await write(gatherer_database, rows, heard=T0 + 1_000_000)
    async with deduplicating(sources, production_database, deduplicator_shard="1/2") as one:
        await until(lambda: "shard 2/2 is merged by nobody: start its deduplicator" in one.health()["problems"])
        assert one.health()["shard"] == "1/2"
        async with deduplicating(sources, production_database, deduplicator_shard="2/2") as two:
            await until_read(sources, production_database)
            await until(lambda: bool(one.health()["healthy"] and two.health()["healthy"]))
            merged = [{loop.table.name for loop in each.loops} for each in (one, two)]
    assert merged[0] - merged[1] == {table.name for table in CAPTURE_TABLES}
    assert await value(production_database, "SELECT count(*) FROM orderbook_deltas") == 1000


@pytest.mark.slow
async def test_coverage_follows_the_watermark_by_itself(gatherer_database: str, production_database: str) -> None:
    """The daemon computes an hour once everybody was merged beyond it, and says how many markets nobody heard."""
    session = SessionRow(T0 + 60_000_000, "gatherer-1", "c", "orderbook_delta", "KXA", 1)
    await write(
        gatherer_database,
        [session._replace(ended_at=T0 + 120_000_000, ended_by="disconnected")],
        table=CAPTURE_SESSIONS,
    )
    await write(gatherer_database, deltas(0, 10), heard=T0 + 2 * _HOUR_US + 1)
    async with deduplicating({"gatherer-1": gatherer_database}, production_database) as one:
        async with asyncio.timeout(40):
            while await value(production_database, "SELECT count(*) FROM coverage_hours") < 2:
                await asyncio.sleep(0.05)
        await until(lambda: _uncovered(one) == 1)
    rows = await fetch(
        production_database,
        "SELECT extract(epoch FROM until_at - from_at)::int FROM uncovered_intervals ORDER BY from_at",
    )
    assert [row[0] for row in rows] == [3480, 3600]


@pytest.mark.slow
async def test_who_loses_the_lead_leaves_an_hour_in_the_middle(
    gatherer_database: str, production_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merging goes on at once, though an hour's coverage may take minutes; SIGTERM does not wait for it either."""
    monkeypatch.setattr(daemon, "_COVERAGE_SECONDS", 0.1)
    await write(
        gatherer_database, [SessionRow(T0, "gatherer-1", "c", "orderbook_delta", "KXA", 1)], table=CAPTURE_SESSIONS
    )
    await write(gatherer_database, deltas(0, 10), heard=T0 + 2 * _HOUR_US)
    gate = await asyncpg.connect(production_database)
    await gate.execute("BEGIN; LOCK TABLE markets")  # what is reckoned waits for it
    lead = f"SELECT min(pid) {_OURS} AND application_name LIKE 'deduplicator%lead'"
    reckoning = f"SELECT count(*) {_OURS} AND application_name = 'coverage' AND wait_event_type = 'Lock'"
    async with asyncio.timeout(30):
        async with deduplicating({"gatherer-1": gatherer_database}, production_database) as one:
            while not await value(production_database, reckoning):
                await asyncio.sleep(0.05)
            first = await value(production_database, lead)
            await fetch(production_database, f"SELECT pg_terminate_backend({first})")
            while await value(production_database, lead) in (first, None):
                await asyncio.sleep(0.05)
            await until(lambda: bool(one.health()["healthy"]))
        while await value(production_database, reckoning):  # the server has let go of it as well
            await asyncio.sleep(0.05)
    await gate.close()


def _uncovered(one: Deduplicator) -> float | None:
    name = "kalshi_deduplicator_uncovered_markets"
    return one.metrics.registry.get_sample_value(name, {"channel": "orderbook_delta"})
