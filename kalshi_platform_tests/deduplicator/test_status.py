"""What the deduplicator says of itself."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from kalshi_platform.core.records import SessionRow
from kalshi_platform.core.schema import CAPTURE_SESSIONS, STREAM_TABLES, TRADES
from kalshi_platform.database import export
from kalshi_platform.deduplicator import advice
from kalshi_platform.deduplicator.cursors import expect
from kalshi_platform.deduplicator.shards import WHOLE
from kalshi_platform.deduplicator.standby import Role
from kalshi_platform.deduplicator.status import Status
from kalshi_platform.deduplicator.sync import SyncLoop
from kalshi_platform.service.metrics import DeduplicatorMetrics
from kalshi_platform_tests.deduplicator.rows import deltas, running, sync_loops, write
from kalshi_platform_tests.queries import fetch

NOW = 1_795_220_000.0
MARK = datetime.fromtimestamp(NOW - 1, UTC)
SILENCE, PATIENCE = 60.0, 30.0


def status_of(*names: str) -> tuple[Status, dict[str, list[SyncLoop]], DeduplicatorMetrics]:
    """Loops that never ran, all of them heard of now."""
    loops = sync_loops(dict.fromkeys(names, "postgresql://none"), "postgresql://none", *STREAM_TABLES, CAPTURE_SESSIONS)
    metrics = DeduplicatorMetrics()
    for loop in loops:
        loop.state.last_heard = NOW
    by_name = {name: [loop for loop in loops if loop.gatherer_id == name] for name in names}
    return Status(loops, metrics, WHOLE, SILENCE, PATIENCE), by_name, metrics


def works(loops: list[SyncLoop]) -> None:
    """These are merged up to a second ago."""
    for loop in loops:
        loop.state.connected, loop.state.watermark = True, MARK


def test_a_gatherer_that_was_never_merged_holds_the_watermark_back_for_a_while() -> None:
    """Nobody knows how far it has heard; gone for good, it is waited for no longer."""
    status, loops, _ = status_of("one", "two")
    works(loops["one"])
    assert status.watermarks(NOW)["trades"] is None
    for loop in loops["one"]:
        loop.state.last_heard = NOW + SILENCE + 1
    assert status.watermarks(NOW + SILENCE + 1) == {table.name: MARK for table in STREAM_TABLES}
    for loop in loops["two"]:
        loop.state.last_error = "OSError: no route"
    health, later = (status.health(Role.ACTIVE, moment) for moment in (NOW, NOW + SILENCE + 1))
    part = later["gatherers"]["two/trades"]
    assert (part["state"], part["watermark"]) == ("gone: nobody waits for it", None)
    assert health["gatherers"]["two/trades"]["state"] == "unreachable"
    to_do = "see to its database and its address; where it is gone for good, take it out of KALSHI_GATHERERS"
    assert health["warnings"] == [f"two is not merged (OSError: no route) and is waited for: {to_do}"]
    assert later["warnings"] == [f"two is not merged (OSError: no route) and nobody waits for it: {to_do}"]
    assert later["healthy"], "the others have what it has"


async def test_readers_of_the_cursors_wait_for_it_too(production_database: str) -> None:
    """Dagster and maintenance see every gatherer that is configured, until it was silent for too long."""
    connection = await asyncpg.connect(production_database)
    await expect(connection, "one", TRADES)
    await expect(connection, "two", TRADES)
    await connection.execute("UPDATE sync_cursors SET watermark = $1 WHERE gatherer_id = 'one'", MARK)
    assert export.watermark(production_database, [TRADES], SILENCE) == {"trades": None}
    await connection.execute(
        "UPDATE sync_cursors SET updated_at = now() - $1::interval WHERE gatherer_id = 'two'", timedelta(minutes=2)
    )
    assert export.watermark(production_database, [TRADES], SILENCE) == {"trades": MARK}
    await expect(connection, "two", TRADES)  # a restart waits anew, and forgets nothing
    assert export.watermark(production_database, [TRADES], SILENCE) == {"trades": None}
    await connection.close()
    assert (await fetch(production_database, "SELECT max(watermark) FROM sync_cursors"))[0][0] == MARK


def test_health_names_what_is_wrong() -> None:
    """A table that nobody delivers, and a transaction that holds rows back; a standby is well without any."""
    status, loops, _ = status_of("one")
    assert len(status.health(Role.ACTIVE, NOW)["problems"]) == len(STREAM_TABLES) + 1
    assert status.health(Role.STANDBY, NOW)["healthy"]
    assert not status.health(Role.CUT_OFF, NOW)["healthy"]
    works(loops["one"])
    assert status.health(Role.ACTIVE, NOW)["healthy"]
    loops["one"][0].state.horizon.saw(77, NOW - PATIENCE - 1)
    health = status.health(Role.ACTIVE, NOW)
    assert not health["healthy"]
    assert [problem.partition(":")[0] for problem in health["problems"]] == [
        "a transaction at one has held back its rows for 31 s; find it there and end it"
    ]
    assert "WHERE backend_xid = '77'" in health["problems"][0]
    assert health["gatherers"]["one/trades"]["state"] == "held back by a transaction at the gatherer"


def test_what_contradicts_itself_is_a_problem_and_not_a_gatherer_that_is_away() -> None:
    """Nobody makes up for it, and only a person can say what is right."""
    status, loops, _ = status_of("one", "two")
    works([*loops["one"], *loops["two"]])
    for loop in loops["two"][:2]:
        loop.state.connected, loop.state.defect = False, "its rows came out of a dump"
    health = status.health(Role.ACTIVE, NOW + SILENCE + 1)
    assert health["problems"] == ["two (trades, orderbook_deltas) is refused: its rows came out of a dump"]
    assert health["gatherers"]["two/trades"]["state"] == "refused: see problems"
    assert (health["healthy"], health["warnings"]) == (False, [])


async def test_a_gatherer_under_a_wrong_name_is_a_problem(gatherer_database: str, production_database: str) -> None:
    """Its rows would be merged and nothing of what it heard be covered: the likeliest mistake of the first day."""
    row = SessionRow(1_795_219_200_000_000, "gatherer-1", "c", "trade", "", 1)
    await write(gatherer_database, [row], table=CAPTURE_SESSIONS)
    await write(gatherer_database, deltas(0, 1))  # sessions are read up to a batch
    (loop,) = sync_loops({"one": gatherer_database}, production_database, CAPTURE_SESSIONS)
    async with running([loop]), asyncio.timeout(20):
        while not loop.state.own_name:
            await asyncio.sleep(0.01)
        (problem,) = advice.problems([loop], NOW, PATIENCE)
    assert problem.startswith("what KALSHI_GATHERERS calls one calls itself gatherer-1: ")
    loop.state.own_name = "one"
    assert not any("calls itself" in text for text in advice.problems([loop], NOW, PATIENCE))


def test_a_slow_clock_is_named() -> None:
    """By how much one is behind the others, until it is set right."""
    status, loops, _ = status_of("one", "two")
    works([*loops["one"], *loops["two"]])
    assert status.health(Role.ACTIVE, NOW)["warnings"] == []
    for loop in loops["two"]:
        loop.state.watermark = MARK - timedelta(seconds=2)
    health = status.health(Role.ACTIVE, NOW)
    assert [text.partition(":")[0] for text in health["warnings"]] == [
        "two is 2.0 s behind the others (orderbook_deltas, tickers, trades)"
    ]
    assert [health["gatherers"][f"{name}/trades"]["behind_seconds"] for name in ("one", "two")] == [0, 2]
    assert health["healthy"]


def test_who_does_not_merge_says_nothing_of_gatherers() -> None:
    """A standby has asked nobody; what a leader knew before it lost the lead is not what is."""
    status, loops, metrics = status_of("one")
    works(loops["one"])
    metrics.connected.labels("one", "trades").set(1)  # by the loop that merges
    metrics.uncovered.labels("trade").set(3)  # by the loop of coverage

    def said() -> dict[str, set[float]]:
        gauges = [one for one in metrics.registry.collect() if one.type == "gauge"]
        return {one.name.removeprefix("kalshi_deduplicator_"): {each.value for each in one.samples} for one in gauges}

    status.publish(Role.ACTIVE, NOW)
    assert all(said().values()), "every gauge has something to forget"
    assert said()["gatherers_connected"] == {1}
    for role in (Role.STANDBY, Role.REFUSED):
        status.publish(Role.ACTIVE, NOW)
        status.publish(role, NOW + 3600)
        left = {name: values for name, values in said().items() if values}
        assert left == {"active": {0}, "gatherers_connected": {0}}
    states = {role: status.health(role, NOW)["gatherers"]["one/trades"]["state"] for role in Role}
    assert states[Role.STANDBY] == "merged by another deduplicator"
    assert states[Role.CUT_OFF] == "waits for production"
    assert states[Role.ACTIVE] == "merging"


def test_gauges_tell_shares_rates_and_lags() -> None:
    """Two of three rows were there already; a hundred rows came in ten seconds."""
    status, loops, metrics = status_of("one", "two")
    works(loops["one"])
    status.publish(Role.ACTIVE, NOW - 10)
    loops["one"][0].state.rows_read, loops["one"][0].state.rows_merged = 90, 30
    loops["two"][0].state.rows_read = 10
    loops["two"][0].state.horizon.saw(5, NOW - 7)
    status.publish(Role.ACTIVE, NOW)

    def gauge(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"kalshi_deduplicator_{name}", labels)

    assert gauge("rows_per_second", table="trades") == 10
    assert gauge("duplicate_share", table="trades") == 0.7
    assert gauge("gatherers_connected") == 1
    assert gauge("gatherer_lag_seconds", gatherer="one", table="trades") == 1
    assert gauge("gatherer_lag_seconds", gatherer="two", table="trades") is None
    assert (gauge("horizon_age_seconds", gatherer="one"), gauge("horizon_age_seconds", gatherer="two")) == (0, 7)
    assert gauge("active", shard="1/1") == 1
