"""The upper layers: what asks for them, by automation with a chosen clock, and what a run leaves in the lake."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import dagster as dg
import pyarrow.parquet as pq
import pytest

from kalshi_platform.core.catalogue import EventFacts, MarketFacts
from kalshi_platform.core.schema import (
    ORDERBOOK_DELTAS,
    ORDERBOOK_SNAPSHOTS,
    STREAM_TABLES,
    TICKERS,
    TRADES,
    Table,
)
from kalshi_platform.database.metadata import upsert
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.lake import RAW_ASSETS
from kalshi_platform.defs.layers import AGGREGATE_ASSETS, PROCESSED_ASSETS, aggregate_key
from kalshi_platform.defs.partitions import key_at
from kalshi_platform.defs.sensors.closed_hours import closed_hours
from kalshi_platform.defs.tables import production_key
from kalshi_platform.lake.datasets import AGGREGATES, PROCESSED, RAW, Period
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.defs.dagster_at_hand import planned, said_by_a_run

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVERYTHING = dg.AssetSelection.all()
DAY = "2026-11-20"


class Automation:
    """Dagster's automation with a chosen clock; what it asks for is done at once, unless told otherwise."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._defs = defs
        self._instance = instance
        self._cursor: Any = None
        self.clock = NOON
        self.passes = True
        self.tick(0)

    def report(self, key: dg.AssetKey, *partitions: str | None) -> None:
        """Partitions were written."""
        for partition in partitions:
            self._instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))

    def tick(self, minutes: float = 1) -> dict[str, set[str]]:
        """One evaluation, so much later; returns the partitions that are asked for by asset."""
        self.clock += timedelta(minutes=minutes)
        result = dg.evaluate_automation_conditions(
            self._defs, self._instance, EVERYTHING, evaluation_time=self.clock, cursor=self._cursor
        )
        self._cursor = result.cursor
        asked: dict[str, set[str]] = {}
        for key in self._defs.resolve_asset_graph().materializable_asset_keys:
            if partitions := {one for one in result.get_requested_partitions(key) if one}:
                asked[key.to_user_string()] = partitions
                self.report(key, *sorted(partitions))
                for partition in sorted(partitions):
                    self.check(key, partition, passed=self.passes)
        return asked

    def check(self, key: dg.AssetKey, partition: str, *, passed: bool) -> None:
        """The blocking checks of a partition came to an end, as they do in the run that wrote it."""
        graph = self._defs.resolve_asset_graph()
        for check in graph.get_check_keys_for_assets({key}):
            if graph.get(check).blocking:
                said_by_a_run(
                    self._instance,
                    dg.AssetCheckEvaluation(
                        asset_key=key, check_name=check.name, passed=passed, metadata={}, partition=partition
                    ),
                )

    def settle(self) -> dict[str, list[set[str]]]:
        """Ticks until nothing is asked for any more; returns what was, in order."""
        asked: dict[str, list[set[str]]] = {}
        for _ in range(12):
            found = self.tick()
            if not found:
                return asked
            for name, partitions in found.items():
                asked.setdefault(name, []).append(partitions)
        raise AssertionError(f"no end of asking: {asked}")


@pytest.fixture
def automation(resources: dict[str, Any], instance: dg.DagsterInstance) -> Automation:
    """At noon, with nothing reported yet."""
    return Automation(build_defs(resources), instance)


def hours(*numbers: int) -> set[str]:
    """Keys of hours of the day."""
    return {f"{DAY}-{number:02}:00" for number in numbers}


def test_an_hour_runs_through_all_layers(automation: Automation) -> None:
    """Raw, then processed, then the aggregates that are made of it; the day of an hour is reckoned anew."""
    automation.report(production_key(ORDERBOOK_DELTAS), f"{DAY}-10:00")
    asked = automation.settle()
    assert asked == {
        "raw/orderbook_deltas": [hours(10)],
        "processed/orderbook_deltas": [hours(10)],
        "aggregates/best_bid_offer": [hours(9, 10)],
        "aggregates/market_days": [{DAY}],
    }


def test_five_hours_of_downtime_are_asked_for_exactly_once(
    automation: Automation, resources: dict[str, Any], instance: dg.DagsterInstance, fill: Any, delta: Any,
    merged_until: Any,
) -> None:  # fmt: skip
    """The sensor knows from its cursor which hours closed meanwhile; automation asks for those and no others."""

    def sensor_tick(cursor: str | None) -> str | None:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"production": resources["production"]}
        )
        result = closed_hours(context)
        if isinstance(result, dg.SkipReason):
            return cursor
        assert isinstance(result, dg.SensorResult)
        for event in result.asset_events:
            instance.report_runless_asset_event(event)
        return result.cursor

    fill(ORDERBOOK_DELTAS, delta(0))
    merged_until(ORDERBOOK_DELTAS, NOON + HOUR)
    automation.clock = NOON + HOUR
    cursor = sensor_tick(None)
    assert automation.settle()["raw/orderbook_deltas"] == [hours(12)]
    merged_until(ORDERBOOK_DELTAS, NOON + 6 * HOUR + timedelta(minutes=4))  # Dagster is down for five hours
    automation.clock += 5 * HOUR
    cursor = sensor_tick(cursor)
    asked = automation.settle()
    missed = hours(13, 14, 15, 16, 17)
    assert asked["raw/orderbook_deltas"] == [missed]
    assert asked["processed/orderbook_deltas"] == [missed]
    assert asked["aggregates/best_bid_offer"] == [missed | hours(12)]
    assert asked["aggregates/market_days"] == [{DAY}]
    assert sensor_tick(cursor) == cursor
    assert automation.settle() == {}


def test_best_prices_wait_for_the_books_of_their_hour(automation: Automation) -> None:
    """Both are reported at once; beside the file of an hour ago the aggregate would fail, and stay away."""
    automation.report(production_key(ORDERBOOK_DELTAS), f"{DAY}-10:00")
    automation.report(production_key(ORDERBOOK_SNAPSHOTS), DAY)
    asked = automation.tick()
    assert {"raw/orderbook_deltas", "raw/orderbook_snapshots"} <= set(asked)
    assert "aggregates/best_bid_offer" not in asked
    assert automation.tick()["aggregates/best_bid_offer"] == hours(9, 10)  # 9 again: the books of its end are there
    automation.report(production_key(ORDERBOOK_SNAPSHOTS), DAY)  # the next hour's books ask for no best prices
    assert "aggregates/best_bid_offer" not in automation.settle()


def test_what_is_written_again_is_asked_for_again_above(automation: Automation) -> None:
    """Late rows: an old hour is reported again."""
    for _ in range(2):
        automation.report(production_key(TICKERS), f"{DAY}-03:00")
        asked = automation.settle()
        assert asked["processed/tickers"] == [hours(3)]
        assert asked["aggregates/candles_1m"] == [{DAY}]


def test_a_sync_of_markets_asks_for_no_history(automation: Automation) -> None:
    """Metadata comes every five minutes; only the state of today follows from it."""
    automation.report(production_key(TRADES), DAY)
    automation.settle()
    for name in ("series", "events", "markets"):
        automation.report(dg.AssetKey(["production", name]), None)
    assert {name.partition("/")[0] for name in automation.settle()} <= {"raw", "aggregates"}
    automation.report(dg.AssetKey(["production", "markets"]), None)
    assert automation.settle() == {}


def test_settlements_follow_the_state_of_the_day_and_of_the_next(automation: Automation) -> None:
    """A market settled in the last minutes of a day is first seen in the next day's state."""
    automation.report(dg.AssetKey(["raw", "markets"]), "2026-11-18")
    automation.check(dg.AssetKey(["raw", "markets"]), DAY, passed=True)
    assert automation.settle() == {"aggregates/settlements": [{"2026-11-17", "2026-11-18"}]}


def test_trades_of_years_ago_have_a_day_of_their_own(automation: Automation) -> None:
    """Backfilled days run through the layers although no hour of deltas or tickers is that old."""
    automation.report(production_key(TRADES), "2024-03-05")
    asked = automation.settle()
    assert asked["processed/trades"] == [{"2024-03-05"}]
    assert asked["aggregates/candles_1m"] == [{"2024-03-05"}]


def test_what_a_blocking_check_refuses_does_not_become_an_aggregate(automation: Automation) -> None:
    """The day waits for the hour to be written again and its checks to pass; an hour's own run stops by itself."""
    automation.passes = False
    automation.report(production_key(ORDERBOOK_DELTAS), f"{DAY}-10:00")
    assert "aggregates/market_days" not in automation.settle()
    automation.passes = True
    automation.report(production_key(ORDERBOOK_DELTAS), f"{DAY}-10:00")
    assert automation.settle()["aggregates/market_days"] == [{DAY}]


def test_a_refused_hour_that_was_exported_alone_is_not_enriched(automation: Automation) -> None:
    """A backfill of the raw layer: its checks are in another run than what follows from it."""
    key = dg.AssetKey(["raw", "tickers"])
    automation.report(key, f"{DAY}-10:00")
    automation.check(key, f"{DAY}-10:00", passed=False)
    assert automation.settle() == {}
    automation.report(key, f"{DAY}-10:00")
    automation.check(key, f"{DAY}-10:00", passed=True)
    asked = automation.settle()
    assert asked["processed/tickers"] == [hours(10)]
    assert asked["aggregates/candles_1m"] == [{DAY}]


def test_a_file_whose_checks_still_run_is_waited_for(automation: Automation, instance: dg.DagsterInstance) -> None:
    """A file is there before its verdict: for a busy hour, some looks of the automation earlier."""
    key, partition = dg.AssetKey(["raw", "tickers"]), f"{DAY}-10:00"
    for name in ("row_parity", "unique_keys", "possible_values"):
        planned(instance, dg.AssetCheckKey(key, name), partition)
    automation.report(key, partition)
    assert automation.settle() == {}
    automation.check(key, partition, passed=True)
    asked = automation.settle()
    assert asked["processed/tickers"] == [hours(10)]
    assert asked["aggregates/candles_1m"] == [{DAY}]


def test_a_refused_hour_holds_back_its_own_day_alone(automation: Automation) -> None:
    """Yesterday's hour failed its checks; today goes on, and its passing does not let yesterday through."""
    yesterday = "2026-11-19"
    automation.passes = False
    automation.report(production_key(ORDERBOOK_DELTAS), f"{yesterday}-10:00")
    assert "aggregates/market_days" not in automation.settle()
    automation.passes = True
    automation.report(production_key(ORDERBOOK_DELTAS), f"{DAY}-10:00")
    assert automation.settle()["aggregates/market_days"] == [{DAY}]
    automation.report(production_key(TICKERS), f"{yesterday}-10:00")
    assert "aggregates/market_days" not in automation.settle()


@pytest.fixture
def known(production_database: str) -> None:
    """Production knows one market, its event and so its series."""

    async def store() -> None:
        connection = await asyncpg.connect(production_database)
        await upsert(connection, [EventFacts(event_ticker="E", series_ticker="S", seen_at=NOON, object={})])
        market = MarketFacts(ticker="KXA", event_ticker="E", status="active", seen_at=NOON, object={})
        await upsert(connection, [market])
        await connection.close()

    asyncio.run(store())


def write(assets: Any, name: str, key: str, resources: Mapping[str, Any], instance: dg.DagsterInstance) -> Any:
    """Run one asset for one partition."""
    asset = next(one for one in assets if one.key.path[-1] == name)
    return dg.materialize(
        [asset], partition_key=key, resources=dict(resources), instance=instance, raise_on_error=False
    )


def test_runs_leave_enriched_rows_and_candles(
    resources: dict[str, Any], instance: dg.DagsterInstance, fill: Any, lake: Lake, known: None
) -> None:
    """From production to candles, with metadata and the same bytes on a second run."""
    rows = [
        {"exchange_ts": NOON + timedelta(seconds=n), "trade_id": UUID(int=n + 1), "ticker": ticker, "price": 560_000,
         "size": 100, "is_block_trade": False, "received_at": NOON}
        for n, ticker in enumerate(("KXA", "KXUNKNOWN", "KXA"))
    ]  # fmt: skip
    fill(TRADES, *rows)
    day = Period.DAY.floor(NOON)
    for _ in range(2):
        results = [
            write(RAW_ASSETS, "trades", DAY, resources, instance),
            write(RAW_ASSETS, "tickers", f"{DAY}-12:00", resources, instance),
            write(PROCESSED_ASSETS, "trades", DAY, resources, instance),
            write(AGGREGATE_ASSETS, "candles_1m", DAY, resources, instance),
        ]
        assert all(result.success for result in results)
    processed = pq.read_table(lake.path(PROCESSED["trades"], day), partitioning=None).to_pylist()
    assert [(row["ticker"], row["event_ticker"], row["series_ticker"]) for row in processed] == [
        ("KXA", "E", "S"), ("KXA", "E", "S"), ("KXUNKNOWN", None, None),
    ]  # fmt: skip
    (candle,) = (
        row
        for row in pq.read_table(lake.path(AGGREGATES["candles_1m"], day), partitioning=None).to_pylist()
        if row["ticker"] == "KXA"
    )
    assert (candle["open"], candle["volume"], candle["trades"]) == (Decimal("0.56"), Decimal(2), 2)
    records = instance.fetch_materializations(aggregate_key("candles_1m"), limit=5).records
    found = [record.asset_materialization for record in records]
    assert len(found) == 2
    assert len({one.metadata["sha256"].value for one in found if one}) == 1


def test_a_source_that_is_missing_is_said_and_not_tried_again(
    resources: dict[str, Any], instance: dg.DagsterInstance
) -> None:
    """An empty lake has no candles; the error says what to do."""
    result = write(AGGREGATE_ASSETS, "candles_1m", DAY, resources, instance)
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "export it first" in str(failure.step_failure_data.error)


def test_an_aggregate_that_cannot_be_made_takes_no_other_along(
    resources: dict[str, Any], instance: dg.DagsterInstance, lake: Lake
) -> None:
    """Of three days the first has no markets in the lake: the others are made, and known as made."""
    for day in (NOON, NOON + 24 * HOUR):
        for name in ("markets", "events"):
            write_partition(lake, RAW[name], Period.DAY.floor(day), [])
    asset = next(one for one in AGGREGATE_ASSETS if one.key == aggregate_key("settlements"))
    tags = {"dagster/asset_partition_range_start": "2026-11-19", "dagster/asset_partition_range_end": "2026-11-21"}
    result = dg.materialize([asset], tags=tags, resources=resources, instance=instance, raise_on_error=False)
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    error = str(failure.step_failure_data.error)
    assert "1 of 3 partitions failed, the others are made: 2026-11-19: " in error
    assert "export it first" in error
    assert len(lake.starts(AGGREGATES["settlements"])) == 2
    assert instance.get_materialized_partitions(asset.key) == {DAY, "2026-11-21"}


@pytest.mark.parametrize("table", STREAM_TABLES, ids=lambda table: table.name)
def test_processed_partitions_are_those_of_the_raw_layer(table: Table) -> None:
    """One key names one window in both."""
    assert key_at(PROCESSED[table.name], NOON) == key_at(table, NOON)
