"""`kalshi-platform status` over a real pair of databases in which something happened, a lake, and a daemon."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from kalshi_platform.core.schema import Home
from kalshi_platform.database.migrations import newest_revision
from kalshi_platform.database.survey import survey
from kalshi_platform.service.http import serve_status
from kalshi_platform.service.settings import load_settings
from kalshi_platform.tools.status.facts import look
from kalshi_platform.tools.status.view import show_status

_BATCH = "INSERT INTO ingest_batches (table_name, row_count) VALUES ('trades', 0)"
_CURSOR = """
INSERT INTO sync_cursors (gatherer_id, table_name, source, next_xid, watermark, rows_read, rows_merged)
VALUES ('gatherer-1', 'trades', 's', '1', now() - interval '3 seconds', 3000, 1000)
"""
_COVERAGE = """
INSERT INTO coverage_hours (hour, channel, markets, uncovered_markets, uncovered_us, gatherers, behind, is_stale)
VALUES (date_trunc('hour', now()) - interval '1 hour', 'trade', 1, 1, 90000000, 'gatherer-1', '{}', false)
"""
_DAY = "SELECT kalshi_ensure_partition('trades', current_date)"


@pytest.fixture
async def platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gatherer_database: str, production_database: str
) -> Path:
    """Its folder; the environment names the rest."""
    for url, queries in ((gatherer_database, [_BATCH, _DAY]), (production_database, [_CURSOR, _COVERAGE])):
        connection = await asyncpg.connect(url)
        for query in queries:
            await connection.execute(query)
        await connection.close()
    hour = tmp_path / "lake" / "raw" / "orderbook_deltas" / "date=2026-11-21" / "hour=07"
    hour.mkdir(parents=True)
    (hour / "orderbook_deltas.parquet").touch()
    (tmp_path / "spool" / "gatherer-1").mkdir(parents=True)
    (tmp_path / "spool" / "gatherer-1" / "spool.sqlite").write_bytes(bytes(5000))
    monkeypatch.chdir(tmp_path)
    for name, value in (
        ("GATHERER_DATABASE_URL", gatherer_database), ("PRODUCTION_DATABASE_URL", production_database),
        ("LAKE_URL", str(tmp_path / "lake")), ("SPOOL_DIRECTORY", str(tmp_path / "spool")), ("METRICS_PORT", "1"),
    ):  # fmt: skip
        monkeypatch.setenv(f"KALSHI_{name}", value)
    return tmp_path


async def test_what_a_daemon_says_is_to_be_done_is_shown(platform: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only that it is not healthy."""
    report = {"healthy": False, "role": "active", "problems": ["do this"], "warnings": ["know that"]}
    with serve_status("127.0.0.1", 0, CollectorRegistry(), lambda: report) as port:
        monkeypatch.setenv("KALSHI_METRICS_PORT", str(port))
        status = await look(load_settings())
    shown = StringIO()
    show_status(status, Console(file=shown, width=80))
    told = shown.getvalue().partition("NOT healthy")[2].split("\n")[1:3]
    assert [line.strip("│ ") for line in told] == ["do this", "know that"]


async def test_what_is_seen(platform: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemon, databases, watermark, coverage, lake and spool, each as it is."""
    with serve_status("127.0.0.1", 0, CollectorRegistry(), lambda: {"healthy": True, "gatherer": "gatherer-1"}) as port:
        monkeypatch.setenv("KALSHI_METRICS_PORT", str(port))
        status = await look(load_settings())
    assert status.daemon is not None
    assert (status.daemon.name, status.daemon.is_healthy) == ("gatherer-1", True)
    gatherer, production = status.databases
    assert (gatherer.survey.revision, gatherer.newest) == (newest_revision(Home.GATHERER),) * 2
    assert gatherer.survey.silence_seconds is not None
    assert gatherer.survey.silence_seconds < 60
    trades = next(one for one in gatherer.survey.layouts if one.table == "trades")
    assert (trades.is_hypertable, trades.partitions > 0) == (False, True)
    (cursor,) = production.survey.cursors
    assert (cursor.gatherer_id, cursor.rows_read, cursor.rows_merged) == ("gatherer-1", 3000, 1000)
    assert cursor.lag_seconds == pytest.approx(3, abs=30)
    assert status.watermarks["trades"] == cursor.watermark
    (coverage,) = production.survey.coverage
    assert (coverage.channel, coverage.uncovered_markets, coverage.uncovered_seconds) == ("trade", 1, 90.0)
    newest = {one.name: one.newest for one in status.lake}
    assert newest["orderbook_deltas"] == datetime(2026, 11, 21, 7, tzinfo=UTC)
    assert next(disk.used for disk in status.disks if disk.purpose == "spool") == 5000
    assert status.problems == []


async def test_the_command(platform: Path) -> None:
    """Within 80 columns, without colour; JSON that holds the same; codes for what is away and what is not set."""
    done = await _run()
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    for expected in (
        "no daemon answers",
        "gatherer-1: writes",
        "native",
        "watermark of trades",
        "hour",
        "11-21 07:00:00",
    ):
        assert expected in done.stdout, done.stdout
    said: dict[str, Any] = json.loads((await _run("--json")).stdout)
    assert said["databases"][1]["survey"]["cursors"][0]["rows_read"] == 3000
    done = await _run(KALSHI_PRODUCTION_DATABASE_URL="postgresql://u:s3cret@127.0.0.1:1/k")
    assert done.returncode == 1
    assert "production" in done.stdout
    assert "s3cret" not in done.stdout + done.stderr
    done = await _run(KALSHI_PRODUCTION_DATABASE_URL="", KALSHI_GATHERER_DATABASE_URL="")
    assert done.returncode == 2


async def test_a_database_that_says_nothing_of_itself(production_database: str) -> None:
    """Away, empty, or of another kind: an answer each, never an error."""
    away = await survey("postgresql://u:s3cret@127.0.0.1:1/k", Home.PRODUCTION)
    assert away.error
    assert "s3cret" not in str(away)
    assert (await survey("nonsense", Home.PRODUCTION)).error
    empty = await survey(production_database.rpartition("/")[0] + "/postgres", Home.PRODUCTION)
    assert (empty.error, empty.revision, empty.is_migrated, empty.layouts) == (None, None, False, ())
    other = await survey(production_database, Home.GATHERER)
    assert (other.error, other.layouts) == (None, ())


async def _run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "kalshi_platform.cli", "status", *arguments],
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
