"""A real browser opens the UI on what was captured: lineage, a partition's page, checks.

Screenshots go to the folder that KALSHI_TEST_ARTEFACTS names, else to pytest's own. Needs Debian's chromium.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from kalshi_platform.core.schema import ORDERBOOK_DELTAS, ORDERBOOK_SNAPSHOTS
from kalshi_platform.database.partitions import ensure_partitions
from kalshi_platform_tests.defs.dagster_at_hand import DagsterAtHand, dagster_dev

pytestmark = pytest.mark.slow

_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
_KEY = "2026-11-20-12:00"
_ASSET = ("raw", "orderbook_deltas")
_SECONDS = 60_000


@pytest.fixture
def chromium() -> str:
    """The browser; a machine without one skips."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs a browser: `apt-get install chromium`")
    return found


@pytest.fixture
def artefacts(tmp_path: Path) -> Path:
    """Where screenshots go."""
    folder = Path(os.environ.get("KALSHI_TEST_ARTEFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    """A window of a laptop's size."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(_FLAGS))
        yield browser.new_page(viewport={"width": 1440, "height": 900})
        browser.close()


@pytest.fixture
def dagster(tmp_path: Path, production_database: str) -> Iterator[DagsterAtHand]:
    """A Dagster with one exported hour of markets that moved now and then."""
    asyncio.run(_fill(production_database))
    settings = {"KALSHI_PRODUCTION_DATABASE_URL": production_database, "KALSHI_LAKE_URL": str(tmp_path / "lake")}
    with dagster_dev(tmp_path / "dagster", settings) as running:
        backfill = running.launch_backfill(_ASSET, [_KEY])
        running.wait(lambda: running.backfill(backfill)["status"].startswith("COMPLETED"))
        yield running


async def _fill(url: str) -> None:
    """An hour that three gatherers heard whole, with the books at both of its ends."""
    connection = await asyncpg.connect(url)
    end, tickers = _NOON + timedelta(hours=1), [f"KXDEMO-T{number}" for number in range(7)]
    await ensure_partitions(connection, ORDERBOOK_DELTAS, {_NOON.date()})
    await ensure_partitions(connection, ORDERBOOK_SNAPSHOTS, {_NOON.date()})
    rows: list[tuple[Any, ...]] = []
    books = [dict.fromkeys(tickers, 50_000)]
    books.append(dict(books[0]))
    for number in range(3_000):
        moment = _NOON + timedelta(milliseconds=number * 1_150)
        change = 100 + number % 5
        rows.append((moment, tickers[number % 7], True, 560_000, change, 0, 0, number, moment))
        books[1][tickers[number % 7]] += change
    columns = ("exchange_ts", "ticker", "side", "price", "size_delta", "occurrence", "position", "seq", "received_at")
    await connection.copy_records_to_table("orderbook_deltas", records=rows, columns=columns)
    checkpoint = (
        "INSERT INTO orderbook_snapshots (snapshot_ts, ticker, source, gatherer_id, yes_prices, yes_sizes, no_prices, "
        "no_sizes, best_yes_bid, received_at) VALUES ($1, $2, 'checkpoint', '', '{560000}', $3, '{}', '{}', 560000, $1)"
    )
    for moment, book in zip((_NOON, end), books, strict=True):
        await connection.executemany(checkpoint, [(moment, ticker, [size]) for ticker, size in book.items()])
    session = (
        "INSERT INTO capture_sessions (gatherer_id, connection, channel, ticker, sid, started_at) "
        "VALUES ($1, 'orderbook-1', 'orderbook_delta', '', 1, $2)"
    )
    names = [f"gatherer-{number}" for number in (1, 2, 3)]
    await connection.executemany(session, [(name, _NOON - timedelta(minutes=5)) for name in names])
    await connection.execute(
        "INSERT INTO coverage_hours (hour, channel, markets, uncovered_markets, uncovered_us, gatherers, behind, "
        "is_stale) VALUES ($1, 'orderbook_delta', 7, 0, 0, $2, '{}', false)",
        _NOON,
        ",".join(names),
    )
    await connection.close()


def test_the_ui_shows_lineage_a_partition_and_checks(dagster: DagsterAtHand, page: Page, artefacts: Path) -> None:
    """What an operator looks at first; nothing covers it, and every page has what it is for."""
    asset = f"{dagster.address}/assets/{'/'.join(_ASSET)}"

    page.goto(f"{dagster.address}/asset-groups", timeout=_SECONDS)
    for group in ("exchange", "gatherers", "production", "raw"):
        expect(page.get_by_text(group, exact=True).first).to_be_visible(timeout=_SECONDS)
    page.wait_for_load_state("networkidle", timeout=_SECONDS)  # arrows come last
    page.screenshot(path=artefacts / "lineage.png")

    page.goto(f"{asset}?view=partitions&partition={_KEY.replace(':', '%3A')}", timeout=_SECONDS)
    expect(page.get_by_text("Materialized").first).to_be_visible(timeout=_SECONDS)
    expect(page.get_by_text("sha256").first).to_be_visible(timeout=_SECONDS)
    expect(page.get_by_text("3000").or_(page.get_by_text("3,000")).first).to_be_visible(timeout=_SECONDS)
    page.screenshot(path=artefacts / "partition.png")

    page.goto(f"{asset}?view=checks&checkDetail=replay", timeout=_SECONDS)
    for check in ("row_parity", "unique_keys", "possible_values", "replay", "coverage"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible(timeout=_SECONDS)
    expect(page.get_by_text("Passed").first).to_be_visible(timeout=_SECONDS)
    expect(page.get_by_text("checkpoints_compared").first).to_be_visible(timeout=_SECONDS)
    page.wait_for_load_state("networkidle", timeout=_SECONDS)  # icons come last
    page.screenshot(path=artefacts / "checks.png")
    page.get_by_text("Partitions", exact=True).last.click()
    expect(page.get_by_text(_KEY).first).to_be_visible(timeout=_SECONDS)
    page.screenshot(path=artefacts / "check_partitions.png")
