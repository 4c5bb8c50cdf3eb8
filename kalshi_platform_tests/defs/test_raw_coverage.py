"""Coverage in the lake: what production reckoned is what readers are told, and no more than it reckoned."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from kalshi_platform.core.schema import ORDERBOOK_SNAPSHOTS
from kalshi_platform.defs.build import build_defs
from kalshi_platform.defs.lake import raw_key
from kalshi_platform.defs.raw_coverage import COVERAGE_ASSETS
from kalshi_platform.lake.datasets import COVERAGE, Period
from kalshi_platform.lake.footer import read_footer
from kalshi_platform.lake.holes import coverage_of
from kalshi_platform.lake.layout import HOUR, Lake
from kalshi_platform.lake.questions import coverage
from kalshi_platform.lake.reader import connect

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MIDNIGHT = Period.DAY.floor(NOON)
DAY = "2026-11-20"
UNCOVERED = COVERAGE["uncovered_intervals"]


def reckoned(note: Any, hour: datetime, channel: str = "orderbook_delta") -> None:
    """The deduplicator has reckoned an hour of a channel, to which one gatherer listens from ten to the hour on."""
    note(
        "coverage_hours", hour=hour, channel=channel, markets=2, uncovered_markets=0, uncovered_us=0,
        gatherers="gatherer-1", behind="{}", is_stale=False,
    )  # fmt: skip


def listening(note: Any, since: datetime, channel: str = "orderbook_delta") -> None:
    """A gatherer listens to a channel."""
    note(
        "capture_sessions", started_at=since, gatherer_id="gatherer-1", connection="c", channel=channel, ticker="KXA",
        sid=1,
    )  # fmt: skip


def test_readers_are_told_what_was_reckoned(
    resources: dict[str, Any], instance: dg.DagsterInstance, note: Any, lake: Lake
) -> None:
    """The interval by itself; the file ends where the first channel is not reckoned yet."""
    for channel in ("orderbook_delta", "trade"):
        listening(note, NOON - timedelta(minutes=10), channel)
        reckoned(note, NOON - HOUR, channel)
        reckoned(note, NOON, channel)
    reckoned(note, NOON + HOUR)  # trades are an hour behind
    hole = {"from_at": NOON + timedelta(minutes=5), "until_at": NOON + timedelta(minutes=6)}
    note("uncovered_intervals", hour=NOON, channel="orderbook_delta", ticker="KXA", **hole)
    done = dg.materialize(COVERAGE_ASSETS, resources=resources, instance=instance, partition_key=DAY)
    assert done.success
    footer = read_footer(lake, UNCOVERED, MIDNIGHT)
    assert footer is not None
    assert (footer.source_rows, footer.window_end) == (1, NOON + HOUR)
    with connect(lake) as connection:
        found = coverage(connection, "KXA", NOON, NOON + HOUR).fetchall()
        assert found == [("orderbook_delta", "KXA", hole["from_at"], hole["until_at"])]
        assert coverage_of(connection, lake, "KXA", NOON, NOON + timedelta(minutes=59)).is_known
        assert not coverage_of(connection, lake, "KXA", NOON, NOON + HOUR).is_known


def test_a_day_of_which_nothing_is_reckoned_is_not_called_heard(
    resources: dict[str, Any], instance: dg.DagsterInstance, lake: Lake
) -> None:
    """An empty file that reaches nowhere."""
    assert dg.materialize(COVERAGE_ASSETS, resources=resources, instance=instance, partition_key=DAY).success
    with connect(lake) as connection:
        assert not coverage_of(connection, lake, "KXA", NOON, NOON).is_known


def test_today_and_yesterday_are_asked_for_every_hour(resources: dict[str, Any], instance: dg.DagsterInstance) -> None:
    """Once an hour each; what the lake has nothing of is made up for as soon as it has."""
    defs, clock, cursor = build_defs(resources), NOON, None

    def tick(minutes: int) -> set[str | None]:
        nonlocal clock, cursor
        clock += timedelta(minutes=minutes)
        result = dg.evaluate_automation_conditions(
            defs, instance, dg.AssetSelection.all(), evaluation_time=clock, cursor=cursor
        )
        cursor = result.cursor
        return set(result.get_requested_partitions(raw_key_of_coverage()))

    def raw_key_of_coverage() -> dg.AssetKey:
        return dg.AssetKey(["raw", "coverage_hours"])

    assert [tick(15), tick(10)] == [set(), set()]
    for day in (DAY, "2026-11-19", "2026-11-01"):
        instance.report_runless_asset_event(dg.AssetMaterialization(raw_key(ORDERBOOK_SNAPSHOTS), partition=day))
    both = {DAY, "2026-11-19"}
    asked = [tick(5) for _ in range(25)]  # two hours and five minutes
    assert [one for one in asked if one] == [both] * 3
