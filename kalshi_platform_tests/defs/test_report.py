"""The daily report: a day's figures on one page, in the lake and in the asset's metadata."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, STREAM_TABLES, TRADES
from kalshi_platform.database.export import read_window
from kalshi_platform.defs.report import daily_report
from kalshi_platform.lake.datasets import RAW
from kalshi_platform.lake.layout import Lake
from kalshi_platform.lake.writer import write_partition
from kalshi_platform_tests.defs.dagster_at_hand import said_by_a_run

DAY = datetime(2026, 11, 20, tzinfo=UTC)
NOON = DAY + timedelta(hours=12)
HOUR = timedelta(hours=1)


def _report(resources: dict[str, Any], instance: dg.DagsterInstance) -> dict[str, Any]:
    result = dg.materialize([daily_report], partition_key="2026-11-20", resources=resources, instance=instance)
    (event,) = result.asset_materializations_for_node(daily_report.node_def.name)
    return {name: entry.value for name, entry in event.metadata.items()}


def _fill_day(production: str, lake: Lake, fill: Any, delta: Any, note: Any) -> None:
    """An hour and a half of two markets, heard by one gatherer, and a minute that nobody heard."""
    fill(ORDERBOOK_DELTAS, delta(0), delta(1), delta(2, ticker="KXB"), delta(3_600_000))
    trade = {"exchange_ts": NOON, "trade_id": UUID(int=1), "ticker": "KXB", "price": 1, "size": 250}
    fill(TRADES, trade | {"is_block_trade": False, "received_at": NOON})
    for table in STREAM_TABLES:
        dataset = RAW[table.name]
        for start in (NOON, NOON + HOUR) if table.name in ("orderbook_deltas", "tickers") else (DAY,):
            with read_window(production, table, start, dataset.end(start)) as batches:
                write_partition(lake, dataset, start, batches)
    note(
        "capture_sessions", started_at=NOON, gatherer_id="gatherer-1", connection="c", channel="trade", ticker="",
        sid=1, ended_at=NOON + HOUR, ended_by="stopped",
    )  # fmt: skip
    note(
        "coverage_hours", hour=NOON, channel="trade", gatherers="gatherer-1", behind="{}", is_stale=False, markets=1,
        uncovered_markets=1, uncovered_us=60_000_000,
    )  # fmt: skip
    note("uncovered_intervals", hour=NOON, channel="trade", ticker="", from_at=NOON, until_at=NOON + HOUR / 60)
    note(
        "sync_cursors", gatherer_id="gatherer-1", table_name="trades", source="1/1/1", next_xid=1, rows_read=3,
        rows_merged=1,
    )  # fmt: skip


def test_a_day_is_one_page(
    resources: dict[str, Any], instance: dg.DagsterInstance, production_database: str, lake: Lake, fill: Any,
    delta: Any, note: Any,
) -> None:  # fmt: skip
    """Figures, pictures, tables and checks; nothing on it comes from elsewhere."""
    _fill_day(production_database, lake, fill, delta, note)
    facts = _report(resources, instance)
    assert facts["messages"] == 5
    assert facts["markets"] == 2
    assert facts["uncovered_seconds"] == 60
    page = Path(facts["path"]).read_text()
    assert Path(facts["path"]) == Path(lake.root) / "reports" / "date=2026-11-20" / "report.html"
    assert "Friday, 20 November 2026" in page
    assert "5 messages of 2 markets, heard by one gatherer, until 2026-11-20 14:00 UTC." in page
    assert "What came after that is not in the lake yet" in page
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<img[^>]+>", "", page))
    assert re.search(r"KXA\s+3\s+0\s+0\.00", text)
    assert re.search(r"KXB\s+1\s+1\s+2\.50", text)
    assert re.search(r"trades\s+every market\s+2026-11-20 12:00\s+60\.0", text)
    assert re.search(r"trades\s+gatherer-1\s+3\s+1\s+66\.7%", text)
    assert page.count("<img ") == 2
    assert not re.findall(r"https?://", page)
    assert facts["report"].count("data:image/png;base64,") == 2
    assert len(facts["report"]) < 200_000


def test_a_day_of_which_nothing_is_known_is_a_page_too(resources: dict[str, Any], instance: dg.DagsterInstance) -> None:
    """The first morning after an installation."""
    facts = _report(resources, instance)
    assert facts["messages"] == 0
    assert "Nothing." in Path(facts["path"]).read_text()


def test_checks_of_the_day_are_on_it(resources: dict[str, Any], instance: dg.DagsterInstance) -> None:
    """Failing ones first, with what they found, escaped."""
    for key, passed in (("2026-11-18", False), ("2026-11-19", True)):  # which does not hide the one before
        said_by_a_run(
            instance, dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(["raw", "trades"]), check_name="coverage", passed=passed, metadata={},
                description="<b>3 rows</b> are missing", partition=key,
            )
        )  # fmt: skip
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    result = dg.materialize([daily_report], partition_key=today, resources=resources, instance=instance)
    (event,) = result.asset_materializations_for_node(daily_report.node_def.name)
    page = Path(str(event.metadata["path"].value)).read_text()
    assert "&lt;b&gt;3 rows&lt;/b&gt; are missing" in page
    assert event.metadata["checks_failed"].value == 1
