"""Passes again and again, as a service makes them."""

import asyncio

import asyncpg
import httpx
import pytest

from kalshi_platform.core.schema import Home
from kalshi_platform.lake.layout import Lake
from kalshi_platform.service.settings import Settings
from kalshi_platform.tools.maintenance_loop import maintain_until
from kalshi_platform.tools.scrape import scrape


async def test_the_command_passes_again_until_it_is_stopped(
    production: asyncpg.Connection, production_database: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what it did, survives a bad pass, and ends with the pause."""
    monkeypatch.setenv("KALSHI_LAKE_URL", lake.root)
    monkeypatch.setenv("KALSHI_METRICS_PORT", "0")
    stop, said = asyncio.Event(), asyncio.Queue[str]()
    blocked = "SELECT pg_advisory_lock(hashtext('kalshi_platform'), hashtext('maintain'))"
    await production.fetchval(blocked)
    settings = Settings()
    work = maintain_until(stop, Home.PRODUCTION, production_database, settings, 0.05, said.put_nowait)
    running = asyncio.create_task(work)
    port = int((await asyncio.wait_for(said.get(), 10)).removeprefix("metrics on port "))
    assert "this pass failed" in await asyncio.wait_for(said.get(), 10)
    async with httpx.AsyncClient() as client:
        health = await client.get(f"http://127.0.0.1:{port}/health")
    assert health.status_code == 503
    assert "another `kalshi-platform maintain`" in health.json()["error"]
    await production.fetchval(blocked.replace("advisory_lock", "advisory_unlock"))
    line = ""
    while not line.startswith("made "):
        line = await asyncio.wait_for(said.get(), 10)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200
    reading = await asyncio.to_thread(scrape, httpx.Client(), port)
    assert reading.total("kalshi_maintenance_passes_total", result="failed") >= 1
    assert reading.total("kalshi_maintenance_passes_total", result="done") >= 1
    assert reading.total("kalshi_maintenance_last_done_timestamp_seconds") > 0
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_whatever_a_database_says_the_service_goes_on(
    production: asyncpg.Connection, production_database: str, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw fails one pass after the other, until somebody mends its cause."""
    monkeypatch.setenv("KALSHI_LAKE_URL", lake.root)
    monkeypatch.setenv("KALSHI_METRICS_PORT", "0")
    stop, said = asyncio.Event(), asyncio.Queue[str]()
    await production.execute("ALTER TABLE table_policies RENAME TO somewhere_else")
    work = maintain_until(stop, Home.PRODUCTION, production_database, Settings(), 0.05, said.put_nowait)
    running = asyncio.create_task(work)
    for wanted in ("metrics on port", "this pass failed", "this pass failed"):
        assert (await asyncio.wait_for(said.get(), 10)).startswith(wanted)
    await production.execute("ALTER TABLE somewhere_else RENAME TO table_policies")
    line = ""
    while not line.startswith("made "):
        line = await asyncio.wait_for(said.get(), 10)
    stop.set()
    await asyncio.wait_for(running, 10)
