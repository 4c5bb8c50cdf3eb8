from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, STREAM_TABLES, TRADES, Table
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.partitions import key_at
from kalshi_platform.defs.resources import default_resources
from kalshi_platform.defs.sensors import closed_hours as hours
from kalshi_platform.defs.sensors.closed_hours import closed_hours

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL = dg.AssetSelection.all()
"""What the sensor `automation` looks at."""

Tick = Callable[..., Any]


@pytest.fixture
def tick(resources: dict[str, Any], instance: dg.DagsterInstance) -> Tick:
    """Evaluates `closed_hours` once, from a cursor."""

    def ticked(cursor: str | None = None) -> Any:
        given = {"production": resources["production"]}
        return closed_hours(dg.build_sensor_context(instance=instance, cursor=cursor, resources=given))

    return ticked


def reported(result: Any) -> list[tuple[str, str | None]]:
    """Which hours of which assets a tick said are there."""
    assert isinstance(result, dg.SensorResult)
    return [(event.asset_key.to_user_string(), event.partition) for event in result.asset_events]


def test_hours_are_reported_from_the_first_row_to_the_watermark(
    tick: Tick, fill: Any, delta: Any, merged_until: Any
) -> None:
    """The hour in which the watermark stands is not over."""
    fill(ORDERBOOK_DELTAS, delta(-1), delta(5))
    merged_until(ORDERBOOK_DELTAS, NOON + HOUR + timedelta(minutes=59))
    assert reported(tick()) == [
        ("production/orderbook_deltas", "2026-11-20-11:00"),
        ("production/orderbook_deltas", "2026-11-20-12:00"),
    ]


def test_each_hour_is_reported_once_and_each_table_goes_its_own_way(
    tick: Tick, fill: Any, delta: Any, merged_until: Any
) -> None:
    """The cursor remembers every table's next hour, silent hours included."""
    fill(ORDERBOOK_DELTAS, delta(0))
    merged_until(ORDERBOOK_DELTAS, NOON + HOUR)
    first = tick()
    assert reported(first) == [("production/orderbook_deltas", "2026-11-20-12:00")]
    assert isinstance(tick(first.cursor), dg.SkipReason)
    trade = {"exchange_ts": NOON, "trade_id": "00000000-0000-0000-0000-000000000001", "ticker": "KXA", "price": 1}
    fill(TRADES, trade | {"size": 1, "is_block_trade": False, "received_at": NOON})
    merged_until(TRADES, NOON + HOUR)
    merged_until(ORDERBOOK_DELTAS, NOON + 3 * HOUR)
    assert sorted(reported(tick(first.cursor))) == [
        ("production/orderbook_deltas", "2026-11-20-13:00"),
        ("production/orderbook_deltas", "2026-11-20-14:00"),
        ("production/trades", "2026-11-20"),
    ]


def test_a_tick_reports_a_bounded_number_of_hours(
    tick: Tick, fill: Any, delta: Any, merged_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long absence the rest follows in the next ticks, none left out."""
    monkeypatch.setattr(hours, "_MOST_PER_TICK", 2)
    fill(ORDERBOOK_DELTAS, delta(0))
    merged_until(ORDERBOOK_DELTAS, NOON + 3 * HOUR)
    first = tick()
    second = tick(first.cursor)
    keys = [key for _, key in reported(first) + reported(second)]
    assert keys == ["2026-11-20-12:00", "2026-11-20-13:00", "2026-11-20-14:00"]


def test_without_a_closed_hour_it_says_how_far_the_record_has_come(tick: Tick, merged_until: Any) -> None:
    """A table without rows has no hour; a table without a watermark says so."""
    merged_until(ORDERBOOK_DELTAS, NOON + HOUR)
    result = tick()
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message is not None
    assert "orderbook_deltas 2026-11-20T13:00:00+00:00" in result.skip_message
    assert "trades unknown" in result.skip_message


def test_without_a_database_it_skips_in_plain_words(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A fresh clone has no production; that is not a failure every thirty seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KALSHI_PRODUCTION_DATABASE_URL", raising=False)
    given = {"production": default_resources()["production"]}
    result = closed_hours(dg.build_sensor_context(instance=instance, resources=given))
    assert isinstance(result, dg.SkipReason)
    assert "KALSHI_PRODUCTION_DATABASE_URL is not set" in str(result.skip_message)


def test_reported_hours_are_asked_for_once_and_again_when_reported_again(
    resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    """By automation with a chosen clock: exactly the reported hours, however long ago they were."""
    defs = build_defs(resources)
    key = dg.AssetKey(["raw", "orderbook_deltas"])

    def report(*partitions: str) -> None:
        for partition in partitions:
            source = dg.AssetKey(["production", "orderbook_deltas"])
            instance.report_runless_asset_event(dg.AssetMaterialization(source, partition=partition))

    def evaluate(now: datetime, cursor: Any) -> tuple[set[str], Any]:
        result = dg.evaluate_automation_conditions(defs, instance, ALL, evaluation_time=now, cursor=cursor)
        asked = result.get_requested_partitions(key)
        for partition in sorted(asked):  # what the runs would leave behind
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
        return asked, result.cursor

    clock = NOON + timedelta(minutes=1)
    asked, cursor = evaluate(clock, None)
    assert asked == set()
    report("2026-11-20-11:00")
    asked, cursor = evaluate(clock + timedelta(minutes=1), cursor)
    assert asked == {"2026-11-20-11:00"}
    missed = [f"2026-11-20-{hour}:00" for hour in range(12, 17)]
    report(*missed)
    asked, cursor = evaluate(clock + timedelta(hours=5), cursor)
    assert asked == set(missed)
    asked, cursor = evaluate(clock + timedelta(hours=5, minutes=1), cursor)
    assert asked == set()
    report("2026-11-20-11:00")
    asked, cursor = evaluate(clock + timedelta(hours=6), cursor)
    assert asked == {"2026-11-20-11:00"}


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_every_raw_asset_follows_its_table_alone(
    table: Table, resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    """An hour of one table, or its day so far, asks for nothing of the others."""
    defs = build_defs(resources)
    partition = key_at(table, NOON - 2 * HOUR)
    cursor = dg.evaluate_automation_conditions(defs, instance, ALL, evaluation_time=NOON).cursor
    source = dg.AssetKey(["production", table.name])
    instance.report_runless_asset_event(dg.AssetMaterialization(source, partition=partition))
    result = dg.evaluate_automation_conditions(defs, instance, ALL, evaluation_time=NOON, cursor=cursor)
    for other in STREAM_TABLES:
        asked = result.get_requested_partitions(dg.AssetKey(["raw", other.name]))
        assert asked == ({partition} if other is table else set())


def test_an_hour_that_begins_to_exist_asks_for_nothing(resources: dict[str, Any], instance: dg.DagsterInstance) -> None:
    """At the turn nothing is reported yet: no layer may ask for the hour before raw has it."""
    defs = build_defs(resources)
    wanted = dg.AssetSelection.groups("raw", "processed", "aggregates") - dg.AssetSelection.assets(
        *(dg.AssetKey(["raw", name]) for name in ("series", "events", "markets"))
    )
    cursor = None
    for clock in (NOON - timedelta(minutes=1), NOON + timedelta(seconds=20), NOON + timedelta(minutes=1)):
        result = dg.evaluate_automation_conditions(defs, instance, wanted, evaluation_time=clock, cursor=cursor)
        assert result.total_requested == 0
        cursor = result.cursor
